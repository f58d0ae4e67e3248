"""What is printed is text, whatever stands in a user's files: nothing vanishes, nothing commands a terminal."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import commands.clibd
import commands.sweep
from results.figures.picture import drawn_files, entitle, plain_style
from results.render import render_sheets
from results.sheet import Cell, Sheet
from workloads.command_line import PlainConsole, counting, run_command
from workloads.errors import MissingPathError
from workloads.printed_text import escaped, in_a_line, remark, say
from workloads.storage import Folder

ROOT = Path(__file__).parents[1]
HOSTILE = ["[/x]", "[red]", "a\x1b]0;hi\x07b", "=cmd|' /C calc'!A0", "../../x", ":bug:", "c\u202ed", "\x9b31m", "e\rf"]
SHOWN = ["[/x]", "[red]", "a\\x1b]0;hi\\x07b", "=cmd|' /C calc'!A0", "../../x", ":bug:", "c\\u202ed", "\\u009b31m"]
COMMANDING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
"""What moves a bar and gives it colours."""
BARCODE = "ACGT" * 40


def call(monkeypatch: pytest.MonkeyPatch, app: Callable[[], None], *words: str) -> int:
    monkeypatch.setattr("sys.argv", list(words))
    with pytest.raises(SystemExit) as end:
        run_command(app)
    return int(end.value.code or 0)


@pytest.mark.parametrize(("text", "shown"), [*zip(HOSTILE, SHOWN, strict=False)])
def test_text_shows_what_would_command(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("Käfer", "昆虫", "a\tb\nc", "👩\u200d🔬", "می\u200cخواهم", "x\u00a0y", "[bold]x[/bold]"):
        assert escaped(text) == text
    assert in_a_line("a\tb\nc") == "a\\tb\\nc"
    assert escaped("name-\udcff") == "name-\\udcff"


@given(st.text(st.characters()))
def test_nothing_commands_and_json_stays_what_it_was(text: str) -> None:
    assert not COMMANDING.search(escaped(text))
    assert escaped(escaped(text)) == escaped(text)
    assert json.loads(escaped(json.dumps([text], ensure_ascii=False, indent=1))) == [text]


def test_a_console_prints_it_on_a_terminal_and_elsewhere() -> None:
    for is_terminal in (False, True):
        told = io.StringIO()
        PlainConsole(file=told, force_terminal=is_terminal, width=200).print("\n".join(HOSTILE[:8]))
        assert told.getvalue().splitlines() == SHOWN


def test_a_bar_of_a_hostile_name_moves_and_its_words_are_text() -> None:
    told = io.StringIO()
    with counting(PlainConsole(file=told, force_terminal=True, width=200), "".join(HOSTILE), "specimens") as tell:
        tell(2, 3)
    said = told.getvalue()
    assert "2/3" in said
    assert "[/x][red]a\\x1b]0;hi\\x07b=cmd|' /C calc'!A0../../x:bug:c\\u202ed\\u009b31me\\rf" in said
    assert not COMMANDING.search(OWN.sub("", said))


def test_data_and_remarks_are_printed_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    say("\n".join(HOSTILE[:8]))
    remark("\n".join(HOSTILE[:8]))
    out, err = capsys.readouterr()
    assert out.splitlines() == err.splitlines() == SHOWN


def test_an_error_names_a_hostile_path_as_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise MissingPathError("[/x]\x1b]0;hi\x07", "table", "Name a file.")

    assert call(monkeypatch, fail, "clibd") == 2
    assert capsys.readouterr().err == "error: [/x]\\x1b]0;hi\\x07: no table there. Name a file.\n"


def test_an_error_that_nobody_expected_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("[/x]\x1b]0;hi\x07")

    assert call(monkeypatch, fail, "clibd") == 1
    said = capsys.readouterr().err
    assert "RuntimeError: [/x]\\x1b]0;hi\\x07" in said
    assert not COMMANDING.search(said)


# --- The commands themselves


def hostile_table(folder: Path) -> Path:
    """Of hostile ids and names, each once with a barcode and once without anything, in a folder of a hostile name."""
    path = folder / "[red] [x]" / "t\x1b[31m.tsv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        write = csv.writer(file, delimiter="\t", lineterminator="\n").writerow
        write(["specimen_id", "order", "genus", "species", "barcode"])
        for number, name in enumerate(HOSTILE):
            write([name, "Diptera", f"[bold]{number}", "[/x] \x1b[31m sp.", BARCODE])
            write([f"{name}{number}", "", "", "", ""])
    return path


def check_rejects(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    ids = [identifier for identifier, _ in rows[1:]]
    assert rows[0] == ["specimen_id", "reason"]
    assert {"[/x]0", "[red]1", "a\\x1b]0;hi\\x07b", "'=cmd|' /C calc'!A03", "../../x4", "c\\u202ed"} <= {*ids}
    assert not any(COMMANDING.search(cell) or cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_look_and_import_show_hostile_ids_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, to = hostile_table(tmp_path), tmp_path / "out" / "s.parquet"
    assert call(monkeypatch, commands.clibd.app, "clibd", "data", "look", str(source)) == 0
    out, err = capsys.readouterr()
    assert "[red] [x]/t\\x1b[31m.tsv" in out
    assert "[/x]0" in out
    assert not COMMANDING.search(out + err)
    assert call(monkeypatch, commands.clibd.app, "clibd", "data", "import", str(source), "--to", str(to)) == 0
    said = capsys.readouterr().err
    assert "[red] [x]/t\\x1b[31m.tsv" in said
    assert not COMMANDING.search(said)
    check_rejects(to.with_name("s.rejects.tsv"))
    assert sorted(place.name for place in tmp_path.iterdir()) == ["[red] [x]", "out"]


def test_so_does_the_program_itself(tmp_path: Path) -> None:
    source = hostile_table(tmp_path)
    program = [sys.executable, "-c", "from commands.clibd import main; main()"]
    words = ["data", "import", str(source), "--to", "[/x]/s.parquet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"in {tmp_path}/[/x]/s.parquet" in done.stderr
    assert "[red] [x]/t\\x1b[31m.tsv" in done.stderr
    assert not COMMANDING.search(done.stdout + done.stderr)
    check_rejects(tmp_path / "[/x]" / "s.rejects.tsv")
    done = subprocess.run(
        [*program, "data", "look", "[/x]", "\x1b]0;hi\x07"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert not COMMANDING.search(done.stdout + done.stderr)


def hostile_runs(folder: Path) -> Folder:
    """A sweep of one failed run, all of whose words are hostile."""
    runs = Folder(folder / "runs")
    run = runs / "[red]" / "run[x]"
    entry = {"id": "run[x]", "label": HOSTILE[2], "row": None, "impossible": None, "kind": "train", "needs": []}
    (runs / "[red]").write_json("points.json", [entry])
    run.write_json("point.json", entry)
    run.write_json("status.json", {"schema": 2, "state": "failed", "reason": "".join(HOSTILE)})
    attempt: Mapping[str, object] = {
        "number": 1, "began": 0.0, "ended": 1.0, "hosts": ["\x1b[31mh"], "workers": 1, "outcome": "failed",
        "reason": "[/x]\x1b]0;hi\x07", "traceback": "\x9b31m",
    }  # fmt: skip
    (run / "attempts").write_json("001.json", dict(attempt))
    (run / "attempts").write("001-worker-0.log", b"[/x] \x1b[31mred\x1b[0m\r50 %\r100 %\n")
    return runs


def test_status_and_logs_show_hostile_words_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = hostile_runs(tmp_path)
    assert call(monkeypatch, commands.sweep.app, "clibd-sweep", "status", "--runs", str(runs)) == 0
    said = capsys.readouterr().out
    assert "[red]" in said.splitlines()[0]
    assert SHOWN[2] in said
    assert not COMMANDING.search(said)
    assert call(monkeypatch, commands.sweep.app, "clibd-sweep", "logs", "run[x]", "--runs", str(runs)) == 0
    said = capsys.readouterr().out
    assert "[/x] \\x1b[31mred\\x1b[0m\\r50 %\\r100 %" in said
    assert "[/x]\\x1b]0;hi\\x07" in said
    assert not COMMANDING.search(said)


# --- Tables, pages and figures


@pytest.mark.parametrize("form", ["md", "csv", "json", "latex", "html"])
def test_tables_show_hostile_names_as_they_are(form: str) -> None:
    cells = tuple(Cell(table="1", row={"x": name}, column="c", label=name, ours=0.5) for name in HOSTILE)
    text = render_sheets([Sheet(title=HOSTILE[2], cells=cells)], form)  # type: ignore[arg-type]  # each of them
    assert not COMMANDING.search(text)
    assert "\\x1b" in text or "\\u001b" in text or r"\textbackslash{}x1b" in text
    if form == "json":
        assert [each["label"] for each in json.loads(text)] == HOSTILE


def test_a_figure_of_a_hostile_name_is_whole_and_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    with plain_style():
        figure = Figure(figsize=(8, 3))
        entitle(figure, "Records", "".join(HOSTILE) + "\0\n昆虫$x_")
    files = drawn_files(figure)
    assert files["png"].startswith(b"\x89PNG")
    assert not COMMANDING.search(files["svg"].decode())
    assert "昆虫$x_" in files["svg"].decode()
    assert [str(each.message) for each in recwarn if "Glyph" in str(each.message)] == []
