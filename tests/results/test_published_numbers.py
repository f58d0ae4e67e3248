"""The numbers of the paper as they were read from it, each in its place."""

import json
from pathlib import Path

import pytest

from results.paper.tables import NUMBERS, table_sheets
from results.published import find_published, published_table
from results.render import render_sheets
from results.sheet import Sheet

SHARED = Path(__file__).parents[3] / "shared" / "paper" / "published_tables.json"


def only(sheets: list[Sheet]) -> Sheet:
    [sheet] = sheets
    return sheet


def test_published_accuracies_are_shares_and_costs_keep_their_unit() -> None:
    table = published_table(20)
    assert len(table) == 288
    assert all(0 <= number.value <= 1 for number in table)
    assert {number.where["batch_size"] for number in table} == {500, 1000, 1500, 2000}
    place = {"average": "macro", "level": "species", "query": "image", "key": "dna", "species": "harmonic_mean"}
    found = find_published(20, {**place, "batch_size": 2000})
    assert found is not None
    assert found.value == pytest.approx(0.164)
    hours = find_published(18, {"statistic": "hours_per_epoch", "amp": False})
    assert hours is not None
    assert hours.value == 4.03
    assert find_published(20, {**place, "batch_size": 7}) is None


@pytest.mark.skipif(not SHARED.exists(), reason="the numbers as they were read from the paper are not here")
def test_published_numbers_are_those_that_were_read_from_the_paper() -> None:
    ours = json.loads((Path(__file__).parents[2] / "results" / "published_tables.json").read_text())
    theirs = json.loads(SHARED.read_text())
    assert {json.dumps(number, sort_keys=True) for number in ours} == {
        json.dumps(number, sort_keys=True) for number in theirs
    }


@pytest.mark.parametrize("number", NUMBERS)
def test_every_published_number_has_its_place_and_without_runs_a_reason(number: int) -> None:
    sheet = only(table_sheets(number, None))
    printed = [cell for cell in sheet.cells if cell.published is not None]
    assert sorted(cell.published or 0 for cell in printed) == sorted(entry.value for entry in published_table(number))
    assert all(cell.reason and "`clibd" in cell.reason for cell in printed)
    assert not sheet.has_ours


def test_the_three_slips_of_the_paper_are_marked() -> None:
    noted = {number: {cell.published_note for cell in only(table_sheets(number, None)).cells} for number in NUMBERS}
    assert {number for number, notes in noted.items() if notes - {None}} == {11, 13, 18}
    text = render_sheets(table_sheets(18, None), "md")
    assert "97.85*" in text
    assert "Marked *: published macro value equals the micro value of the same row" in text
