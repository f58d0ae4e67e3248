"""One rule for what came of a published number, whoever asks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.paper.tables import NUMBERS, table_sheets
from results.paper.verdicts import WORDS, Verdict, counts, verdict, verdicts
from results.runs import Runs
from results.sheet import Cell, Sheet
from sweeps.point import Point
from workloads.storage import Folder

CELL = Cell(
    table="1", row={"a": 1}, column="Seen", published=0.5, ours=0.4, low=0.3, high=0.6, comparable=True, runs=("run",)
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, Verdict("within noise")),
        ({"high": 0.45}, Verdict("differs")),
        ({"low": None}, Verdict("not comparable", "ours has neither an interval nor several seeds")),
        ({"comparable": False, "reason": "small"}, Verdict("not comparable", "small")),
        ({"published_note": "a slip"}, Verdict("suspect as printed", "a slip")),
        ({"ours": None, "reason": "not run: `clibd-sweep amp`"}, Verdict("not run", "`clibd-sweep amp`")),
        ({"ours": None, "reason": "r: it failed: no memory"}, Verdict("not run", "r: it failed: no memory")),
        ({"ours": None, "published_note": "a slip"}, Verdict("not run")),
        ({"published": None}, Verdict("no published number")),
        ({"published": None, "ours": None}, Verdict("no published number")),
    ],
)
def test_what_came_of_a_number(changes: dict[str, Any], said: Verdict) -> None:
    assert verdict(replace(CELL, **changes)) == said


def sheet_of(*cells: Cell) -> Sheet:
    return Sheet(title="Table 1", cells=cells)


def test_a_number_on_several_sheets_counts_once_with_what_says_most() -> None:
    synthetic = replace(CELL, comparable=False, reason="ours are of SYNTHETIC specimens")
    other = replace(CELL, column="Unseen", ours=None)
    sheets = [sheet_of(synthetic, other, replace(CELL, column="Ours", published=None)), sheet_of(CELL, other)]
    assert verdicts(sheets) == [(CELL, Verdict("within noise")), (other, Verdict("not run"))]
    counted = counts(sheets)
    assert tuple(counted) == WORDS[:-1]
    assert counted == {
        "within noise": 1, "differs": 0, "not comparable": 0, "suspect as printed": 0, "not run": 1,
    }  # fmt: skip
    assert counts([sheet_of(replace(CELL, high=0.45)), *sheets])["differs"] == 1


def test_without_runs_every_published_number_says_what_makes_it(tmp_path: Path) -> None:
    sheets = [sheet for number in NUMBERS for sheet in table_sheets(number, Runs(Folder(tmp_path)))]
    found = verdicts(sheets)
    assert len(found) == sum(cell.published is not None for sheet in sheets for cell in sheet.cells)
    assert {said.word for _, said in found} == {"not run"}
    assert all("`clib" in str(said.why) for _, said in found)


def test_synthetic_numbers_are_compared_with_nothing(golden_runs: Folder) -> None:
    counted = counts(table_sheets(18, golden_runs))
    assert counted["differs"] == counted["within noise"] == 0
    assert counted["not comparable"] > 0


def test_of_two_data_sets_the_one_under_the_official_split_is_compared(
    runs: Folder, write_run: Callable[..., str], amp_points: Callable[..., dict[bool, Point]]
) -> None:
    for seed, share in ((42, 0.97), (43, 0.99)):
        write_run(amp_points(seed)[True], share, evaluation={"official_split": "bioscan_1m", "missing_rank": "a_class"})
        write_run(amp_points(seed, dataset="drawn", synthetic=True)[True], share)
    sheets = table_sheets(18, runs)
    assert len(sheets) == 2
    assert counts(sheets)["within noise"] == 1


def test_a_single_run_without_an_interval_has_neither_a_verdict_nor_a_difference(
    runs: Folder, write_run: Callable[..., str], amp_points: Callable[..., dict[bool, Point]]
) -> None:
    write_run(amp_points()[True], 0.97, evaluation={"official_split": "bioscan_1m", "missing_rank": "a_class"})
    [cell] = [cell for sheet in table_sheets(18, runs) for cell in sheet.cells if cell.ours == 0.97]
    assert verdict(cell) == Verdict("not comparable", "ours has neither an interval nor several seeds")
    assert cell.difference is None
