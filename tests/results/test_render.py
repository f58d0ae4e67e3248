"""Tables as text: Markdown, CSV and JSON, with what must never be mixed kept apart."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from results.collect import collect
from results.render import grid, render_table
from results.sweep_table import render_sweep_table
from results.tables import TABLES
from sweeps.point import Point
from workloads.storage import Folder

GOLDEN = Path(__file__).parents[1] / "golden" / "table_18.md"
Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]


def test_data_sets_and_scales_are_never_mixed(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points(dataset="beetles")[True], 0.1)
    write_run(amp_points(dataset="flies", synthetic=True)[True], 0.9)
    write_run(amp_points(43, dataset="flies", synthetic=True)[True], 0.8, scale="small")
    groups = collect(runs, TABLES[18])
    assert [group.title for group in groups] == [
        "beetles (specimens), scale paper, recipe corrected",
        "flies (SYNTHETIC specimens), scale paper, recipe corrected",
        "flies (SYNTHETIC specimens), scale small, recipe corrected",
    ]
    text = render_table(18, groups, "md")
    assert text.count("# Table 18.") == 3
    assert text.count("numbers of SYNTHETIC insects") == 2
    assert text.count("not comparable with the paper") == 1
    records = json.loads(render_table(18, groups, "json"))
    assert {(record["dataset"], record["synthetic"]) for record in records} == {("beetles", False), ("flies", True)}


def test_a_rendered_table_is_the_committed_one(golden_runs: Folder) -> None:
    """A diff here is a decision: look at it, then copy it."""
    assert render_sweep_table(golden_runs, 18, "md") == GOLDEN.read_text().rstrip("\n")


def test_only_columns_of_numbers_are_aligned_to_the_right() -> None:
    headers = ["text", "count", "ours", "diff"]
    body = [["5-mer counts", "500", "91.0 ± 1.0 (n=2)", "−6.8"], ["x", "97.8*", "–", "+1e−05"]]
    rule = grid(headers, body).splitlines()[1]
    assert [part.strip().endswith(":") for part in rule.strip("|").split("|")] == [False, True, True, True]


def test_csv_and_json_hold_the_same_numbers_in_long_form(golden_runs: Folder) -> None:
    from_json = json.loads(render_sweep_table(golden_runs, 18, "json"))
    from_csv = list(csv.DictReader(io.StringIO(render_sweep_table(golden_runs, 18, "csv"))))
    assert len(from_json) == len(from_csv) == 2 * 8
    for record, line in zip(from_json, from_csv, strict=True):
        assert list(record) == list(line)
        for name in ("published", "ours", "difference", "standard_error"):
            assert (float(line[name]) if line[name] else None) == record[name]
        assert line["runs"].split() == record["runs"]
    [record] = [r for r in from_json if (r["amp"], r["block"][:5], r["column"]) == (True, "Micro", "DNA to DNA")]
    assert record["ours"] == 91.0
    assert record["num_runs"] == len(record["runs"]) == 2
    assert record["difference"] == pytest.approx(record["ours"] - record["published"], abs=1e-3)
    assert record["synthetic"] is True


@pytest.mark.parametrize("label", ["=1+1", "+cmd", "-2", "@x", "\tx"])
def test_csv_text_is_never_a_formula(label: str, runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(replace(amp_points()[True], label=label), 0.1)
    lines = list(csv.DictReader(io.StringIO(render_sweep_table(runs, 18, "csv"))))
    assert {line["run_label"] for line in lines if line["runs"]} == {f"'{label}"}
    # Numbers below zero stay numbers.
    assert min(float(line["difference"]) for line in lines if line["difference"]) < 0
