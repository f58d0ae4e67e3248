import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from commands.clibd import app
from tests.identification.small_database import INSECTS, changed, insects, made
from workloads.identification.answering import Parts, Tally
from workloads.identification.answers import ANSWERS, BELOW, table_of
from workloads.identification.database import Database

ROOT = Path(__file__).parents[2]
run = CliRunner()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return made(tmp_path_factory.mktemp("db") / "small", insects())


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("asked") / "asked.fasta"
    barcodes = [changed(str(INSECTS[number % 60]["barcode"]), number % 9, number) for number in range(300)]
    path.write_text("".join(f">s{number}\n{barcode}\n" for number, barcode in enumerate(barcodes)))
    return str(path)


def test_a_killed_identification_goes_on_and_ends_in_the_same_bytes(
    database: Database, fasta: str, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    slow = (
        "import time\nfrom commands.clibd import app\nfrom workloads.identification import identifying, answering\n"
        "identifying.FIRST, identifying.TOGETHER = 20, 50\nadd = answering.Parts.add\n"
        "def slowly(*given):\n    add(*given)\n    time.sleep({})\n"
        "answering.Parts.add = slowly\napp({})\n"
    )
    command = ["identify", fasta, "--db", str(database.folder), "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen([sys.executable, "-c", slow.format(60, [*command, str(out)])], env=environment)
    parts = Path(f"{out}.parts")
    while not list(parts.glob("part-000000-*.parquet")):
        assert started.poll() is None
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not out.exists()
    (parts / "part-000007-9.parquet").write_bytes(b"behind a gap")
    for target in (out, whole):
        program = slow.format(0, [*command, str(target)])
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert ("20 of them by an earlier start" in done.stderr) == (target == out)
    assert out.read_bytes() == whole.read_bytes()
    assert len(out.read_text().splitlines()) == 301
    assert not parts.exists()


def test_parts_of_another_question_are_begun_anew(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path / "x.csv"), {"asked": 1})
    parts.add(table_of([{"specimen_id": "a"}]), 1)
    assert Parts(str(tmp_path / "x.csv"), {"asked": 1}).num_queries == 1
    assert Parts(str(tmp_path / "x.csv"), {"asked": 2}).num_queries == 0


def test_a_tally_counts_specimens_by_the_deepest_rank_that_holds() -> None:
    tally = Tally()
    rows: list[dict[str, Any]] = [
        {"specimen_id": "a", "rank": "order"},
        {"specimen_id": "a", "rank": "family", "flags": [BELOW, "one key only"]},
        {"specimen_id": "b"},
        {"specimen_id": "c", "error": "bad"},
        {"specimen_id": "b", "rank": "species"},
    ]
    tally.add(table_of([{"file_name": "f", **row} for row in rows]))
    assert tally.by_rank == {"order": 1, "none": 1, "species": 1}
    assert (tally.num_errors, tally.num_repeated, tally.flags) == (1, 1, {"one key only": 1})


def test_the_command_answers_on_stdout_and_says_the_rest_on_stderr(database: Database, fasta: str) -> None:
    done = run.invoke(app, ["identify", fasta, "--db", str(database.folder), "--within", "Nobody,Bababa"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == ",".join(ANSWERS.names)
    assert len(done.stdout.splitlines()) == 301
    assert f"--within: not in {database.folder}: Nobody" in done.stderr
    assert "300 specimens" in done.stderr
    assert "Next: clibd" not in done.stderr  # as there is no calibration to be checked


def test_an_empty_file_is_answered_by_a_header(database: Database, tmp_path: Path) -> None:
    (tmp_path / "empty.fasta").touch()
    done = run.invoke(app, ["identify", str(tmp_path / "empty.fasta"), "--db", str(database.folder)])
    assert (done.exit_code, done.stdout) == (0, ",".join(ANSWERS.names) + "\n")
    assert "not one record" in done.stderr


def test_a_log_says_how_answers_were_made_and_is_not_replaced(database: Database, fasta: str, tmp_path: Path) -> None:
    log, out = tmp_path / "log.json", tmp_path / "out.parquet"
    command = ["identify", fasta, "--db", str(database.folder), "--out", str(out), "--log", str(log), "--rank", "genus"]
    assert run.invoke(app, command).exit_code == 0
    facts = json.loads(log.read_text())
    assert {"version", "start", "end", "command_line", "settings", "counts"} <= set(facts)
    assert facts["database"]["sha256"] == database.folder.digest("database.json")
    assert (facts["counts"]["num_queries"], facts["settings"]["rank"]) == (300, "genus")
    assert pq.read_table(out).num_rows == 300
    before = log.read_bytes()
    assert run.invoke(app, command).exit_code != 0
    assert log.read_bytes() == before


@pytest.mark.parametrize("ending", ["parquet", "npy"])
def test_embed_writes_a_row_an_input_and_lists_what_it_could_not(
    ending: str, database: Database, tmp_path: Path
) -> None:
    barcode = str(INSECTS[0]["barcode"])
    (tmp_path / "some.fasta").write_text(f">a\n{barcode}\n>b\nXX\n>c\n{barcode[:300]}\n")
    to = tmp_path / f"x.{ending}"
    command = ["embed", str(tmp_path / "some.fasta"), "--db", str(database.folder), "--to", str(to)]
    done = run.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "2 embeddings" in done.stderr
    assert "1 inputs could not" in done.stderr
    if ending == "npy":
        rows = np.load(to)
        lines = (tmp_path / "x.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["row", "0", "", "1"]
    else:
        table = pq.read_table(to)
        assert table["specimen_id"].to_pylist() == ["a", "b", "c"]
        assert "nucleotide" in table["error"].to_pylist()[1]
        rows = np.array(table["embedding"].drop_null().to_pylist())
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
