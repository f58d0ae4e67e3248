"""Statistics of a data set as text and as files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from results.data_report import StatisticsReport, write_statistics
from results.data_statistics import is_official, statistic_tables
from workloads.data.statistics import TaxonCounts

Drawn = Callable[[str], TaxonCounts]

# --- Text ---------------------------------------------------------------------------------------------------------


def report(counts: TaxonCounts, dataset: str = "BIOSCAN-1M", synthetic: bool = False) -> StatisticsReport:
    return StatisticsReport(dataset, synthetic, is_official(counts), statistic_tables(counts))


def test_markdown_shows_published_ours_difference_and_the_reason(official: TaxonCounts) -> None:
    text = report(official).render("md", ["table5"])
    line = next(line for line in text.splitlines() if line.startswith("| species"))
    assert [part.strip() for part in line.split("|")[2:8]] == ["21.79*", "39.61", "+17.82", "2.06*", "6.93", "+4.87"]
    assert text.count("adds equal numbers of records once") == 1
    assert "36,279 records of 916 species make 39.61" in text
    assert "SYNTHETIC" not in text
    assert "for reference" not in text


def test_markdown_of_other_specimens_says_that_they_are_others_and_synthetic(drawn: Drawn) -> None:
    text = report(drawn("clibd"), "invented", synthetic=True).render("md", ["table7"])
    assert "Ours: invented (SYNTHETIC)" in text
    assert "Published are the numbers of BIOSCAN-1M" in text


def test_csv_and_json_are_one_long_form_in_percent(official: TaxonCounts) -> None:
    shown = report(official)
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


def test_a_name_that_a_spreadsheet_would_run_is_quoted(official: TaxonCounts) -> None:
    rows = list(csv.DictReader(io.StringIO(report(official, "=1+1").render("csv", ["table6"]))))
    assert {row["dataset"] for row in rows} == {"'=1+1"}


# --- Files --------------------------------------------------------------------------------------------------------


def written(counts: TaxonCounts, out: Path, synthetic: bool = False) -> StatisticsReport:
    return write_statistics(counts, out, "mine", synthetic=synthetic, partition="authors, seed 42")


def test_every_table_and_figure_is_written_and_a_second_call_writes_the_same_bytes(
    drawn: Drawn, tmp_path: Path
) -> None:
    first = written(drawn("clibd"), tmp_path / "a")
    tables = [f"{name}.{form}" for name in ("figure2", "table5", "table6", "table7") for form in ("csv", "json", "md")]
    figures = [f"{name}.{form}" for name in ("figure2", "figure7", "figure8") for form in ("csv", "png", "svg")]
    assert list(first.files) == sorted({*tables, *figures})
    written(drawn("clibd"), tmp_path / "b")
    for name in first.files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == list(first.files)
    assert (tmp_path / "a" / "table5.md").read_text() == first.render("md", ["table5"]) + "\n"


def test_synthetic_specimens_are_called_synthetic_everywhere(drawn: Drawn, tmp_path: Path) -> None:
    assert written(drawn("clibd"), tmp_path / "out", synthetic=True).synthetic
    assert "mine (SYNTHETIC)" in (tmp_path / "out" / "table6.md").read_text()
    assert all(record["synthetic"] for record in json.loads((tmp_path / "out" / "table6.json").read_text()))
    assert not written(drawn("clibd"), tmp_path / "real").synthetic
    assert "SYNTHETIC" not in (tmp_path / "real" / "table6.md").read_text()
    for name in ("figure2.png", "figure7.png", "figure8.png"):
        assert (tmp_path / "out" / name).read_bytes() != (tmp_path / "real" / name).read_bytes()
