"""Shells complete every program: commands, options, and the values of those that have a choice."""

import subprocess
import sys
from pathlib import Path

import pytest

import commands.clibd
import commands.dashboard
import commands.results
import commands.sweep

PROGRAMS = {
    "clibd": commands.clibd.app,
    "clibd-sweep": commands.sweep.app,
    "clibd-results": commands.results.app,
    "clibd-dashboard": commands.dashboard.app,
}
ROOT = Path(__file__).parents[1]
COMPLETED = (
    ("clibd da", "data"),
    ("clibd data ", "import"),
    ("clibd data partition --recipe ", "small"),
    ("clibd evaluate RUN --pro", "--prompts"),
    ("clibd evaluate RUN --prompts ", "photo"),
    ("clibd bzsl --search ", "published-defaults"),
    ("clibd sweep ba", "batch-size"),
    ("clibd-sweep batch-size --sc", "--scale"),
    ("clibd-sweep batch-size --scale ", "small"),
    ("clibd-results table --format ", "latex"),
    ("clibd-dashboard ex", "export"),
    ("clibd db ", "build"),
    ("clibd identify --rank ", "genus"),
    ("clibd identify --format ", "blast6"),
)


def completed(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a program tells bash that the last word of a line can become."""
    program = line.split()[0]
    words = line.split() + ([""] if line.endswith(" ") else [])
    monkeypatch.setenv(f"_{program.replace('-', '_').upper()}_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        PROGRAMS[program](prog_name=program)
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(("line", "word"), COMPLETED)
def test_a_word_is_completed(
    line: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert word in completed(line, monkeypatch, capsys)


def test_bash_itself_completes(tmp_path: Path) -> None:
    program = tmp_path / "clibd"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from commands.clibd import main\nsys.argv[0] = 'clibd'\nmain()\n"
    )
    program.chmod(0o755)
    script = (
        f'export PATH="{tmp_path}:$PATH"\n'
        'eval "$(_CLIBD_COMPLETE=source_bash clibd)"\n'
        "COMP_WORDS=(clibd data prep); COMP_CWORD=2; COMP_LINE='clibd data prep'; COMP_POINT=15\n"
        '_clibd_completion clibd\necho "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["prepare"], done.stderr
