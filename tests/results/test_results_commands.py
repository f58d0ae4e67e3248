"""`clibd-results`: what a user sees, and the exit codes."""

import csv
import io
import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from commands.results import app
from sweeps.point import Point
from workloads.record import RunFolder
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]
OFFICIAL = {"official_split": "bioscan_1m", "missing_rank": "a_class"}


def call(*words: str) -> tuple[int, str]:
    """Exit code and stdout."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return done.exit_code, done.stdout


@pytest.mark.parametrize("form", ["md", "csv", "json", "latex", "html"])
def test_a_table_is_printed_in_each_form(form: str, golden_runs: Folder) -> None:
    code, out = call("table", "18", "--runs", str(golden_runs), "--format", form)
    assert code == 0
    assert "97.85" in out


def test_a_table_of_our_own_has_a_name(golden_runs: Folder) -> None:
    assert call("table", "seeds", "--runs", str(golden_runs))[1].startswith("# Over four seeds")


def test_check_passes_where_what_can_be_compared_agrees(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    for seed, share in ((42, 0.97), (43, 0.99)):
        write_run(amp_points(seed)[True], share, evaluation=OFFICIAL)
    code, out = call("check", "--runs", str(runs))
    assert code == 0
    assert "1 of 1,420 published numbers were compared; 0 differ." in out
    assert "  not run: `clibd-sweep batch-size --demo" in out


def test_check_fails_and_says_which_number_differs(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    for seed, share in ((42, 0.5), (43, 0.51)):
        write_run(amp_points(seed)[True], share, evaluation=OFFICIAL)
    code, out = call("check", "--runs", str(runs))
    assert code == 1
    place = "Table 18; species; amp=yes; Micro top-1 accuracy, species; DNA to DNA"
    assert out.startswith(f"{place}: published 97.85, ours 50.5 ± 0.5 (n=2), −47.")
    assert "1 of 1,420 published numbers were compared; 1 differ." in out


def test_numbers_of_synthetic_insects_fail_no_check(golden_runs: Folder) -> None:
    code, out = call("check", "--runs", str(golden_runs))
    assert code == 0
    assert "0 of 1,420 published numbers were compared" in out
    assert "not comparable: ours are of SYNTHETIC specimens" in out


def test_all_runs_are_listed_in_natural_order(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    values = {("macro", "harmonic_mean", "image", "dna"): 0.4567}
    for seed in (5, 42, 100):
        write_run(amp_points(seed, synthetic=True)[True], values, scale="small")
    RunFolder(runs / "amp" / write_run(amp_points(7)[True], 0.1)).finish("failed", reason="no")
    (runs / "synthetic-insects" / "shards").write("part.bin", b"no run")
    code, out = call("list", "--runs", str(runs), "--format", "json")
    assert code == 0
    found = json.loads(out)
    assert [entry["run"].split("-s")[1].split("-")[0] for entry in found] == ["5", "7", "42", "100"]
    assert [entry["state"] for entry in found] == ["finished", "failed", "finished", "finished"]
    first = found[0]
    assert (first["data"], first["scale"], first["image to DNA"]) == ("insects (SYNTHETIC)", "small", 45.7)
    assert first["age"].endswith(" d")
    assert len(list(csv.DictReader(io.StringIO(call("list", "--runs", str(runs), "--format", "csv")[1])))) == 4
    assert call("list", "--runs", str(runs))[1].startswith("| sweep | run ")


def test_a_damaged_run_is_listed_too(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    (runs / "amp" / write_run(amp_points()[True], 0.1)).write("status.json", b"{")
    [entry] = json.loads(call("list", "--runs", str(runs), "--format", "json")[1])
    assert (entry["state"], entry["image to DNA"]) == ("damaged", None)
