"""The commands of docs/identify.md print what stands there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.clibd import app
from tests.identification.small_database import changed
from workloads.data.synthetic.insects import specimens

PAGE = Path(__file__).parents[2] / "docs" / "identify.md"


def shown() -> Iterator[tuple[str, str]]:
    """Each command that is set behind `$`, and what stands below it."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def asked() -> str:
    """The records that the page describes."""
    drawn = [str(one["barcode"]) for one in specimens(500, 7) if one["species"]]
    other = str(next(iter(specimens(3, 99)))["barcode"])
    records = {"a": changed(drawn[0], 3, 0), "b": drawn[1][:300], "c": other, "d": drawn[2][:60]}
    return "".join(f">{name}\n{barcode}\n" for name, barcode in records.items())


def test_the_page_shows_what_the_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("asked.fasta").write_text(asked())
    pairs = list(shown())
    assert len(pairs) == 6
    for command, output in pairs:
        program, *words = shlex.split(command)
        if program == "cat":
            printed = Path(words[0]).read_text()
        else:
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.stderr
            printed = done.stdout
        assert printed == output, command
