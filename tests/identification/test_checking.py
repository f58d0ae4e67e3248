"""Cells of a checked promise: what is tested, how it is corrected, and when nothing is said."""

import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from results.figures.promise import promise_records
from results.promised import promise_sheet
from workloads.identification.checking import NAMED, Checked, cells_of


def named(rank: str, group: str, given: int, right: int, number: int) -> pa.Table:
    """So many specimens, of which some get a name with enough confidence, and some of these names are right."""
    rows = [
        {
            "specimen_id": str(place),
            "evidence": "dna",
            "rank": rank,
            "group": group,
            "truth": "a",
            "name": "a" if place < right else "b",
            "confidence": 0.97 if place < given else 0.2,
            "right": place < right,
        }
        for place in range(number)
    ]
    return pa.Table.from_pylist(rows, schema=NAMED)


TABLE = pa.concat_tables(
    [
        named("genus", "known", 200, 199, 220),
        named("genus", "other", 100, 85, 150),
        named("species", "known", 49, 40, 300),
        named("species", "other", 20, 0, 200),
    ]
)


def test_names_are_tested_for_too_few_that_are_right_and_strangers_for_too_many_that_get_one() -> None:
    known, other, few, strangers = cells_of(TABLE, 0.95)

    assert known.p == stats.binomtest(199, 200, 0.95, alternative="less").pvalue
    assert other.p == stats.binomtest(85, 100, 0.95, alternative="less").pvalue
    assert (few.p, few.p_holm, few.verdict) == (None, None, "too few")
    assert strangers.p == pytest.approx(stats.binomtest(20, 200, 0.05, alternative="greater").pvalue)


def test_holm_multiplies_by_the_number_of_cells_that_are_tested() -> None:
    cells = cells_of(TABLE, 0.95)

    p = sorted((cell.p, cell.p_holm) for cell in cells if cell.p is not None and cell.p_holm is not None)
    assert [corrected for _, corrected in p] == pytest.approx([3 * p[0][0], 2 * p[1][0], max(p[2][0], 2 * p[1][0])])
    assert [cell.verdict for cell in cells] == ["holds", "refuted", "too few", "refuted"]


def test_the_verdict_names_the_cells_that_refute_the_promise() -> None:
    checked = Checked(cells_of(TABLE, 0.95), TABLE)

    assert checked.verdict == (
        "The promise of 95 % is refuted in 2 of 4 cells: genus by dna, other; species by dna, other"
    )


def test_nothing_is_said_where_every_cell_has_too_few() -> None:
    table = named("genus", "known", 10, 10, 12)

    assert Checked(cells_of(table, 0.95), table).verdict.startswith("Nothing can be said")


def test_of_strangers_fewer_than_fifty_specimens_say_nothing() -> None:
    assert [cell.verdict for cell in cells_of(named("species", "other", 0, 0, 49), 0.95)] == ["too few"]
    assert [cell.verdict for cell in cells_of(named("species", "other", 0, 0, 50), 0.95)] == ["holds"]


def test_the_table_has_a_line_for_each_cell_with_its_numbers() -> None:
    checked = Checked(cells_of(TABLE, 0.95), TABLE, num_keys_themselves=3)

    sheet = promise_sheet(checked.facts(), "db", synthetic=True)

    assert len(sheet.cells) == 4 * 5
    assert sheet.about == ("Database db (synthetic)",)
    of_genus = {
        cell.column: cell.ours
        for cell in sheet.cells
        if cell.rank == "genus" and cell.row["Species"] == "in the database"
    }
    assert of_genus["Named"] == pytest.approx(200 / 220)
    assert of_genus["Right"] == pytest.approx(199 / 200)
    assert any("3 specimens are in the database themselves" in note for note in sheet.notes)


def test_the_figure_shows_of_strangers_the_share_that_rightly_gets_no_name() -> None:
    frame: pd.DataFrame = TABLE.to_pandas()

    records = [each for each in promise_records(frame, "dna") if each["asked"] == 0.95]

    by_place = {(each["rank"], each["group"]): each for each in records}
    assert by_place["species", "other"]["kept"] == pytest.approx(180 / 200)
    assert by_place["species", "other"]["n"] == 200
    assert by_place["genus", "known"]["kept"] == pytest.approx(199 / 200)
