"""Statistics of a data set beside the published ones: numbers, notes, files and pictures."""

import csv
import io
import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from results.data_figures import figure_2, figure_8, figure_8_numbers, png, svg
from results.data_report import StatisticsReport, write_statistics
from results.data_statistics import OFFICIAL_SPLITS, StatisticCell, is_official, statistic_tables
from results.partition_flow import figure_7, partition_flow
from results.published import published_table
from workloads.data.partition import partition
from workloads.data.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimen_table import SpecimenTable, TableFacts
from workloads.data.statistics import TaxonCounts, count_columns
from workloads.errors import UsageError
from workloads.spec import RANKS

CLIBD = PROTOCOLS["clibd"]
FIRST = {"seen": 0, "val": 916, "test": 916 + 1771, "single": 916 + 1771 + 1772}
"""Number of the first species of each role, in a matrix of the official 8,356 species."""


def official() -> TaxonCounts:
    """Counts with exactly the official records and species; at each higher rank one taxon holds what is labelled."""
    species = np.zeros((len(CLIBD.splits), FIRST["single"] + 3897), dtype=np.int64)
    for row, split in zip(species, CLIBD.splits, strict=True):
        num_records, num_species = OFFICIAL_SPLITS[split]
        role = "seen" if split.endswith("_seen") or split == "seen_keys" else split.partition("_")[0]
        if num_species:
            members = row[FIRST[role] : FIRST[role] + num_species]
            members += num_records // num_species
            members[: num_records % num_species] += 1
    records = {split: OFFICIAL_SPLITS[split][0] for split in CLIBD.splits}
    above = np.array([[number] for number in records.values()])
    return TaxonCounts(CLIBD, records, {"order": above, "family": above, "genus": above, "species": species})


def cells_of(counts: TaxonCounts, name: str) -> dict[tuple[str, str, str], StatisticCell]:
    table = next(table for table in statistic_tables(counts) if table.name == name)
    return {(cell.row, cell.block, cell.column): cell for cell in table.cells}


def specimens(tmp_path: Path, seed: int | None = 5, count: int = 900) -> SpecimenTable:
    """A partitioned table of invented specimens; with a seed they call themselves synthetic."""
    chance = random.Random(5)
    rows: list[dict[str, str | None]] = []
    for number in range(count):
        species = int(chance.paretovariate(0.6)) % 50
        lineage = (f"o{species % 3}", f"f{species % 7}", f"g{species % 15}", f"s{species}")
        known = [name if chance.random() < 0.8 else None for name in lineage]
        rows.append({"specimen_id": str(number), **dict(zip(RANKS, known, strict=True))})
    splits = partition([row["species"] for row in rows], "authors").to_pylist()
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    with table.writer(TableFacts(source="invented", partition="authors, seed 42", synthetic_seed=seed)) as write:
        whole = [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]
        write(pa.RecordBatch.from_pylist(whole, schema=SPECIMEN_SCHEMA))
    return table


def drawn(protocol: str, count: int = 800) -> TaxonCounts:
    """Counts of a partition of invented specimens; at random where the protocol is not the paper's."""
    chance = random.Random(1)
    columns: dict[str, list[str | None]] = {
        rank: [f"{rank} {int(chance.paretovariate(0.5)) % 300}" for _ in range(count)] for rank in RANKS
    }
    columns["species"] = [name if chance.random() < 0.9 else None for name in columns["species"]]
    at_random = chance.choices(PROTOCOLS[protocol].splits, k=count)
    columns["split"] = partition(columns["species"]).to_pylist() if protocol == "clibd" else list(at_random)
    return count_columns(lambda name: pa.array(columns[name], pa.string()), PROTOCOLS[protocol])


# --- Numbers ------------------------------------------------------------------------------------------------------


def test_the_official_counts_are_known_and_any_other_are_not() -> None:
    counts = official()
    assert is_official(counts)
    other = {**counts.num_records, "val_seen": counts.num_records["val_seen"] - 1}
    assert not is_official(TaxonCounts(CLIBD, other, counts.taxa))
    assert not is_official(drawn("clibd"))
    assert not is_official(drawn("bioscan_5m"))


def test_figure_2_agrees_with_the_published_one_in_every_split() -> None:
    cells = cells_of(official(), "figure2")
    boxes = [cell for (_, block, _), cell in cells.items() if block == "Splits"]
    assert {cell.difference for cell in boxes if cell.printed} == {0}
    assert sum(cell.printed is not None for cell in boxes) == 24
    species = cells["species", "All records", "Taxa"]
    assert species.difference == 1
    assert species.printed is not None
    assert "8,356" in str(species.printed.note)


def test_the_species_row_of_table_5_has_the_true_means_and_says_why_the_printed_ones_are_not() -> None:
    cells = cells_of(official(), "table5")
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
    for (block, column), (true, published) in expected.items():
        cell = cells["species", block, column]
        assert cell.ours == pytest.approx(true, abs=1e-12)
        assert cell.printed is not None
        assert cell.printed.value == published
        assert "adds equal numbers of records once" in str(cell.printed.note)
        assert f"make {true:.2f}" in str(cell.printed.rightly)


def test_only_two_cells_of_table_5_are_right() -> None:
    unmarked = [
        place for place, cell in cells_of(official(), "table5").items() if cell.printed and not cell.printed.note
    ]
    assert unmarked == [("order", "Species unseen", "Test key"), ("order", "Species unseen", "Test query")]


def test_only_the_totals_of_table_6_are_wrong() -> None:
    marked = [place for place, cell in cells_of(official(), "table6").items() if cell.printed and cell.printed.note]
    assert marked == [(rank, "Pretrain (no species)", "Total") for rank in RANKS]


def test_the_species_row_of_table_6_agrees() -> None:
    cells = cells_of(official(), "table6")
    found = {(block, column): cell for (rank, block, column), cell in cells.items() if rank == "species"}
    assert {cell.difference for cell in found.values() if cell.printed and not cell.printed.note} == {0}
    assert found["Pretrain (no species)", "Total"].ours == 0
    assert found["Both together", "Total"].ours == 4_459


def test_table_7_marks_harmonic_means_and_counts_of_keys() -> None:
    cells = cells_of(official(), "table7")
    unmarked = {(rank, block, column) for (rank, block, column), c in cells.items() if c.printed and not c.printed.note}
    means = {(rank, "Macro", f"H.M. {part}") for rank in RANKS for part in ("val", "test")}
    macro = {place for place in cells if place[1] == "Macro"} - means
    assert unmarked == macro | {("species", "Macro", "H.M. val"), ("species", "Micro", "Unseen val")}
    assert f"{100 * (cells['species', 'Macro', 'H.M. test'].ours or 0):.2f}" == "0.07"  # printed: 0.06


@pytest.mark.parametrize("number", [5, 6, 7])
def test_every_published_number_stands_in_its_table(number: int) -> None:
    cells = cells_of(official(), f"table{number}").values()
    found = sorted(cell.printed.value for cell in cells if cell.printed)
    printed = [n.value for n in published_table(number)]
    shared = [n.value for n in published_table(number) if n.where.get("partition") == "val/test"]  # stand twice
    assert found == sorted([*printed, *shared])


def test_other_specimens_have_no_difference_from_the_published_ones() -> None:
    cells = [cell for table in statistic_tables(drawn("clibd")) for cell in table.cells]
    assert {cell.difference for cell in cells} == {None}
    assert sum(cell.printed is not None for cell in cells) > 100


# --- Text ---------------------------------------------------------------------------------------------------------


def report(counts: TaxonCounts, dataset: str = "BIOSCAN-1M", synthetic: bool = False) -> StatisticsReport:
    return StatisticsReport(dataset, synthetic, is_official(counts), statistic_tables(counts))


def test_markdown_shows_published_ours_difference_and_the_reason() -> None:
    text = report(official()).render("md", ["table5"])
    line = next(line for line in text.splitlines() if line.startswith("| species"))
    assert [part.strip() for part in line.split("|")[2:8]] == ["21.79*", "39.61", "+17.82", "2.06*", "6.93", "+4.87"]
    assert text.count("adds equal numbers of records once") == 1
    assert "36,279 records of 916 species make 39.61" in text
    assert "SYNTHETIC" not in text
    assert "for reference" not in text


def test_markdown_of_other_specimens_says_that_they_are_others_and_synthetic() -> None:
    text = report(drawn("clibd"), "invented", synthetic=True).render("md", ["table7"])
    assert "Ours: invented (SYNTHETIC)" in text
    assert "Published are the numbers of BIOSCAN-1M" in text


def test_csv_and_json_are_one_long_form_in_percent() -> None:
    shown = report(official())
    records = json.loads(shown.render("json"))
    rows = list(csv.DictReader(io.StringIO(shown.render("csv"))))
    assert len(rows) == len(records) == sum(len(table.cells) for table in shown.tables)
    assert list(rows[0]) == list(records[0])
    chance = next(r for r in records if (r["table"], r["row"], r["column"]) == ("table7", "species", "Seen test"))
    assert (chance["unit"], chance["block"], chance["published"]) == ("percent", "Micro", 5.21)
    macro = [
        r
        for r in records
        if (r["table"], r["row"], r["column"], r["block"]) == ("table7", "species", "Seen val", "Macro")
    ]
    assert macro[0]["ours"] == round(100 / 916, 4)
    assert all(r["official_split"] is True and r["synthetic"] is False for r in records)


def test_a_name_that_a_spreadsheet_would_run_is_quoted() -> None:
    rows = list(csv.DictReader(io.StringIO(report(official(), "=1+1").render("csv", ["table6"]))))
    assert {row["dataset"] for row in rows} == {"'=1+1"}


# --- Files --------------------------------------------------------------------------------------------------------


def test_every_table_and_figure_is_written_and_a_second_call_writes_the_same_bytes(tmp_path: Path) -> None:
    table = specimens(tmp_path)
    written = write_statistics(table, tmp_path / "a")
    tables = [f"{name}.{form}" for name in ("figure2", "table5", "table6", "table7") for form in ("csv", "json", "md")]
    figures = [f"{name}.{form}" for name in ("figure2", "figure7", "figure8") for form in ("csv", "png", "svg")]
    assert list(written.files) == sorted({*tables, *figures})
    write_statistics(table, tmp_path / "b")
    for name in written.files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == list(written.files)
    assert (tmp_path / "a" / "table5.md").read_text() == written.render("md", ["table5"]) + "\n"


def test_synthetic_specimens_are_called_synthetic_everywhere(tmp_path: Path) -> None:
    written = write_statistics(specimens(tmp_path), tmp_path / "out", "mine")
    assert written.synthetic
    assert "mine (SYNTHETIC)" in (tmp_path / "out" / "table6.md").read_text()
    assert all(record["synthetic"] for record in json.loads((tmp_path / "out" / "table6.json").read_text()))
    real = write_statistics(specimens(tmp_path, seed=None), tmp_path / "real", "mine")
    assert not real.synthetic
    assert "SYNTHETIC" not in (tmp_path / "real" / "table6.md").read_text()
    for name in ("figure2.png", "figure7.png", "figure8.png"):
        assert (tmp_path / "out" / name).read_bytes() != (tmp_path / "real" / name).read_bytes()


def test_specimens_without_splits_leave_nothing_behind(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    with table.writer(TableFacts(source="test")) as write:
        write(pa.RecordBatch.from_pylist([{"specimen_id": "a", "order": "Diptera"}], schema=SPECIMEN_SCHEMA))
    with pytest.raises(UsageError, match="clibd data partition"):
        write_statistics(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- Pictures -----------------------------------------------------------------------------------------------------


def pictures(counts: TaxonCounts, dataset: str = "a data set") -> dict[str, Figure]:
    return {
        "2": figure_2(counts, dataset),
        "7": figure_7(partition_flow(counts, "authors, seed 42"), counts.protocol, dataset),
        "8": figure_8(counts, dataset),
    }


def texts(figure: Figure) -> list[Text]:
    """Every text that is drawn, each once."""
    found = {id(text): text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()}
    return list(found.values())


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover one another, and texts that leave the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts(figure) if t.get_visible()]
    whole = figure.bbox
    outside = [(name, "edge") for name, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > whole.x1 or b.y1 > whole.y1]
    return outside + [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("kind", ["official", *PROTOCOLS])
def test_no_text_of_a_figure_covers_another(kind: str) -> None:
    counts = official() if kind == "official" else drawn(kind)
    for figure in pictures(counts).values():
        assert overlaps(figure) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_figures_2_and_7_name_every_split_with_its_records(protocol: str) -> None:
    counts = drawn(protocol)
    for number in ("2", "7"):
        words = [text.get_text() for text in texts(pictures(counts)[number])]
        for split in PROTOCOLS[protocol].splits:
            assert any(word.startswith(split) for word in words), split
            assert f"{counts.num_records[split]:,} records" in words


def test_a_name_like_a_formula_or_without_end_is_drawn_as_it_is() -> None:
    for dataset in ("$x_", "a/" * 400):
        for figure in pictures(drawn("clibd"), dataset).values():
            assert overlaps(figure) == []
            assert svg(figure).startswith(b"<?xml")
            assert Image.open(io.BytesIO(png(figure))).width > 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_on_the_way_through_figure_7(protocol: str) -> None:
    counts = drawn(protocol)
    flow = partition_flow(counts, None)
    inner = [name for stage in flow.stages[1:-1] for name in stage]
    for name in inner:
        into = sum(step.num_records for step in flow.steps if step.target == name)
        assert into == sum(step.num_records for step in flow.steps if step.source == name) > 0
    for split in counts.protocol.splits:
        assert sum(s.num_records for s in flow.steps if s.target == split) == counts.num_records[split]


def test_figure_7_of_the_official_counts_has_the_papers_stages() -> None:
    flow = partition_flow(official(), "lists CLIBD_partitioning.zip")
    assert flow.stages[1] == ("Species known", "Species unknown")
    assert flow.stages[3] == ("Seen", "Unseen in val", "Unseen in test")
    arrows = {(step.source, step.target): (step.num_records, step.num_species) for step in flow.steps}
    assert arrows["All records", "Species known"] == (84_450, 8_356)
    assert arrows["Species unknown", "no_split"] == (1_043_863, 0)
    assert arrows["1 record", "single_species"] == (3_897, 3_897)
    assert arrows["Seen", "seen_keys"] == (6_350, 916)


@pytest.mark.parametrize(
    ("partition", "stages"), [("paper, seed 1", "9 records or more"), ("authors, seed 1", "10 records or more")]
)
def test_figure_7_says_from_how_many_records_the_recipe_calls_a_species_common(partition: str, stages: str) -> None:
    assert stages in partition_flow(drawn("clibd"), partition).stages[2]


def test_the_numbers_of_figure_8_add_up_to_the_records_and_species_of_the_split() -> None:
    counts = official()
    rows = [row for row in figure_8_numbers(counts) if row["role"] == "test_query_unseen"]
    assert sum(int(row["num_species"]) for row in rows) == 1_772
    assert sum(int(row["num_species"]) * int(row["num_records"]) for row in rows) == 6_448
