"""Every command explains itself, and quickly: nothing heavy is imported for it."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import click
import pytest
import typer.main

import commands.clibd
import commands.dashboard
import commands.results
import commands.sweep
from workloads.command_line import run_command

PROGRAMS = {
    "clibd": commands.clibd.app,
    "clibd-sweep": commands.sweep.app,
    "clibd-results": commands.results.app,
    "clibd-dashboard": commands.dashboard.app,
}
HEAVY = (
    "torch",
    "ray",
    "faiss",
    "umap",
    "matplotlib",
    "fastapi",
    "uvicorn",
    "jinja2",
    "scipy",
    "sklearn",
    "statsmodels",
    "optuna",
    "timm",
)


def commands_in(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], str]]:
    """A command and those within it, each with what it says of itself."""
    yield words, command.help or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_in((*words, name), inner)


COMMANDS = dict(pair for name, app in PROGRAMS.items() for pair in commands_in((name,), typer.main.get_command(app)))


def test_these_are_the_commands() -> None:
    assert {" ".join(words) for words in COMMANDS} >= {
        *(f"clibd {name}" for name in ("train", "evaluate", "open-set", "bzsl", "attention", "costs", "convert")),
        *(f"clibd data {name}" for name in ("download", "import", "partition", "prepare", "stats")),
        *(f"clibd-results {name}" for name in ("table", "compare", "figure")),
        "clibd-dashboard serve",
        "clibd-dashboard export",
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_says_what_it_does_and_what_it_takes(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [*words, "--help"])
    with pytest.raises(SystemExit) as end:
        run_command(PROGRAMS[words[0]])
    printed = capsys.readouterr()
    assert not end.value.code
    assert printed.err == ""
    assert "Usage:" in printed.out
    assert "--help" in printed.out
    assert len(COMMANDS[words].split()) >= 5
    assert " ".join(COMMANDS[words].split()[:5]) in " ".join(printed.out.split())


@pytest.mark.parametrize("module", ["commands.clibd", "commands.sweep", "commands.results", "commands.dashboard"])
def test_help_waits_for_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("words", [*((name,) for name in PROGRAMS), ("clibd", "sweep")], ids=" ".join)
def test_a_program_says_its_versions(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [*words, "--version"])
    with pytest.raises(SystemExit) as end:
        run_command(PROGRAMS[words[0]])
    assert not end.value.code
    said = capsys.readouterr().out
    assert [part.split()[0] for part in said.split(", ")] == ["clibd-ray", "Python", "torch", "ray"]
    assert all(metadata.version(name) in said for name in ("clibd-ray", "torch", "ray"))


@pytest.mark.parametrize("name", ["sweep", "results"])
def test_a_program_is_a_command_of_clibd_too(name: str) -> None:
    def inside(words: tuple[str, ...]) -> dict[tuple[str, ...], str]:
        return {known[len(words) :]: text for known, text in COMMANDS.items() if known[: len(words)] == words}

    assert inside(("clibd", name)) == inside((f"clibd-{name}",))
