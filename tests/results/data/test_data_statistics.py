"""Numbers of a data set beside the published ones, and notes where those cannot be right."""

from collections.abc import Callable

import pytest

from results.paper.data_statistics import statistic_sheets
from results.published import published_table
from results.sheet import Cell
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.statistics import TaxonCounts
from workloads.spec import RANKS

Drawn = Callable[[str], TaxonCounts]
CLIBD = PROTOCOLS["clibd"]


def cells_of(counts: TaxonCounts, name: str) -> dict[tuple[str, str, str], Cell]:
    cells = statistic_sheets(counts, "some", synthetic=False)[name].cells
    return {(str(cell.row["row"]), cell.block, cell.column): cell for cell in cells}


def test_the_official_counts_are_known_and_any_other_are_not(official: TaxonCounts, drawn: Drawn) -> None:
    other = {**official.num_records, "val_seen": official.num_records["val_seen"] - 1}
    others = TaxonCounts(CLIBD, other, official.taxa), drawn("clibd"), drawn("bioscan_5m")
    for counts, comparable in ((official, True), *((counts, False) for counts in others)):
        assert {cell.comparable for cell in cells_of(counts, "5").values()} == {comparable}


def test_figure_2_agrees_with_the_published_one_in_every_split(official: TaxonCounts) -> None:
    cells = cells_of(official, "figure2")
    boxes = [cell for (_, block, _), cell in cells.items() if block == "Splits"]
    assert {cell.difference for cell in boxes if cell.published is not None} == {0}
    assert sum(cell.published is not None for cell in boxes) == 24
    species = cells["species", "All records", "Taxa"]
    assert species.difference == 1
    assert "8,356" in str(species.published_note)


def test_the_species_row_of_table_5_has_the_true_means_and_says_why_the_printed_ones_are_not(
    official: TaxonCounts,
) -> None:
    cells = cells_of(official, "5")
    expected = {
        ("Species seen", "Train"): (36_279 / 916, 21.79),
        ("Species seen", "Key"): (6_350 / 916, 2.06),
        ("Species seen", "Val query"): (4_878 / 916, 1.99),
        ("Species seen", "Test query"): (4_878 / 916, 1.99),
        ("Species unseen", "Val key"): (7_645 / 1_771, 1.92),
        ("Species unseen", "Val query"): (6_952 / 1_771, 1.92),
        ("Species unseen", "Test key"): (7_123 / 1_772, 1.70),
        ("Species unseen", "Test query"): (6_448 / 1_772, 1.69),
    }
    notes = statistic_sheets(official, "some", synthetic=False)["5"].notes
    for (block, column), (true, published) in expected.items():
        cell = cells["species", block, column]
        assert cell.ours == pytest.approx(true, abs=1e-12)
        assert cell.published == published
        assert "adds equal numbers of records once" in str(cell.published_note)
        place = f"species, {block[0].lower()}{block[1:]}, {column}: "
        assert any(line.startswith(place) and line.endswith(f"make {true:.2f}") for line in notes)


def test_only_two_cells_of_table_5_are_right(official: TaxonCounts) -> None:
    unmarked = [
        place
        for place, cell in cells_of(official, "5").items()
        if cell.published is not None and not cell.published_note
    ]
    assert unmarked == [("order", "Species unseen", "Test key"), ("order", "Species unseen", "Test query")]


def test_only_the_totals_of_table_6_are_wrong(official: TaxonCounts) -> None:
    marked = [
        place for place, cell in cells_of(official, "6").items() if cell.published is not None and cell.published_note
    ]
    assert marked == [(rank, "Pretrain (no species)", "Total") for rank in RANKS]


def test_the_species_row_of_table_6_agrees(official: TaxonCounts) -> None:
    cells = cells_of(official, "6")
    found = {(block, column): cell for (rank, block, column), cell in cells.items() if rank == "species"}
    assert {cell.difference for cell in found.values() if cell.published is not None and not cell.published_note} == {0}
    assert found["Pretrain (no species)", "Total"].ours == 0
    assert found["Both together", "Total"].ours == 4_459


def test_table_7_marks_harmonic_means_and_counts_of_keys(official: TaxonCounts) -> None:
    cells = cells_of(official, "7")
    unmarked = {
        (rank, block, column)
        for (rank, block, column), c in cells.items()
        if c.published is not None and not c.published_note
    }
    means = {(rank, "Macro", f"H.M. {part}") for rank in RANKS for part in ("val", "test")}
    macro = {place for place in cells if place[1] == "Macro"} - means
    assert unmarked == macro | {("species", "Macro", "H.M. val"), ("species", "Micro", "Unseen val")}
    assert f"{100 * (cells['species', 'Macro', 'H.M. test'].ours or 0):.2f}" == "0.07"  # printed: 0.06


@pytest.mark.parametrize("number", [5, 6, 7])
def test_every_published_number_stands_in_its_table(number: int, official: TaxonCounts) -> None:
    cells = cells_of(official, str(number)).values()
    found = sorted(cell.published for cell in cells if cell.published is not None)
    printed = [n.value for n in published_table(number)]
    shared = [n.value for n in published_table(number) if n.where.get("partition") == "val/test"]  # stand twice
    assert found == sorted([*printed, *shared])


def test_other_specimens_have_no_difference_from_the_published_ones(drawn: Drawn) -> None:
    sheets = statistic_sheets(drawn("clibd"), "some", synthetic=False).values()
    cells = [cell for sheet in sheets for cell in sheet.cells]
    assert {cell.difference for cell in cells} == {None}
    assert all("other specimens" in str(cell.reason) for cell in cells)
    assert sum(cell.published is not None for cell in cells) > 100
