"""Statistics of a data set as sheets and as files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from results.paper.data_statistics import data_sheets, statistic_sheets, write_statistics
from results.render import render_sheets
from results.sheet import Sheet
from workloads.data.specimens.statistics import TaxonCounts
from workloads.storage import Folder

Drawn = Callable[[str], TaxonCounts]

# --- Sheets -------------------------------------------------------------------------------------------------------


def sheets(counts: TaxonCounts, dataset: str = "BIOSCAN-1M", synthetic: bool = False) -> dict[str, Sheet]:
    return statistic_sheets(counts, dataset, synthetic)


def test_markdown_shows_published_ours_difference_and_the_reason(official: TaxonCounts) -> None:
    text = render_sheets([sheets(official)["5"]], "md")
    line = next(line for line in text.splitlines() if line.startswith("| species"))
    assert [part.strip() for part in line.split("|")[2:8]] == ["21.79*", "39.61", "+17.82", "2.06*", "6.93", "+4.87"]
    assert text.count("adds equal numbers of records once") == 1
    assert "36,279 records of 916 species make 39.61" in text
    assert "SYNTHETIC" not in text
    assert "other specimens" not in text


def test_markdown_of_other_specimens_says_that_they_are_others_and_synthetic(drawn: Drawn) -> None:
    text = render_sheets([sheets(drawn("clibd"), "invented", synthetic=True)["7"]], "md")
    assert "Ours: invented (SYNTHETIC)" in text
    assert "published are the numbers of BIOSCAN-1M" in text
    assert "diff" not in text.partition("- ")[0]


def test_csv_and_json_are_one_long_form_in_percent(official: TaxonCounts) -> None:
    shown = list(sheets(official).values())
    records = json.loads(render_sheets(shown, "json"))
    rows = list(csv.DictReader(io.StringIO(render_sheets(shown, "csv"))))
    assert len(rows) == len(records) == sum(len(sheet.cells) for sheet in shown)
    assert list(rows[0]) == list(records[0])
    place = {"table": "7", "rank": "species", "subset": "seen"}
    found = [record for record in records if place.items() <= record.items()]
    (chance,) = (record for record in found if (record["average"], record["partition"]) == ("micro", "test"))
    assert (chance["unit"], chance["block"], chance["published"]) == ("percent", "Micro", 5.21)
    (macro,) = (record for record in found if (record["average"], record["partition"]) == ("macro", "val"))
    assert macro["ours"] == round(100 / 916, 4)
    assert all(record["comparable"] is True and record["synthetic"] is False for record in records)


def test_a_name_that_a_spreadsheet_would_run_is_quoted(official: TaxonCounts) -> None:
    rows = list(csv.DictReader(io.StringIO(render_sheets([sheets(official, "=1+1")["6"]], "csv"))))
    assert {row["dataset"] for row in rows} == {"'=1+1"}


# --- Files --------------------------------------------------------------------------------------------------------


def written(counts: TaxonCounts, out: Path, synthetic: bool = False) -> tuple[dict[str, Sheet], list[str]]:
    return write_statistics(counts, out, "mine", synthetic=synthetic, partition="authors, seed 42")


def test_every_table_and_figure_is_written_and_a_second_call_writes_the_same_bytes(
    drawn: Drawn, tmp_path: Path
) -> None:
    made, files = written(drawn("clibd"), tmp_path / "a")
    tables = [f"{name}.{form}" for name in ("figure2", "table5", "table6", "table7") for form in ("csv", "json", "md")]
    figures = [f"{name}.{form}" for name in ("figure2", "figure7", "figure8") for form in ("csv", "png", "svg")]
    assert files == sorted({*tables, *figures, "statistics.json"})
    written(drawn("clibd"), tmp_path / "b")
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == files
    assert (tmp_path / "a" / "table5.md").read_text() == render_sheets([made["5"]], "md") + "\n"


def test_the_tables_can_be_shown_again_from_what_was_written(official: TaxonCounts, tmp_path: Path) -> None:
    made, _ = written(official, tmp_path / "statistics" / "mine")
    for number in (5, 6, 7):
        [again] = data_sheets(number, Folder(tmp_path))
        assert render_sheets([again], "md") == render_sheets([made[str(number)]], "md")
    (tmp_path / "statistics" / "mine" / "statistics.json").write_text('[{"table": "5"}]')
    [broken] = data_sheets(5, Folder(tmp_path))
    [(where, reason)] = broken.damaged.items()
    assert where.endswith("statistics/mine/statistics.json")
    assert "no cells" in reason
    assert all(cell.ours is None and reason in (cell.reason or "") for cell in broken.cells)


def test_synthetic_specimens_are_called_synthetic_everywhere(drawn: Drawn, tmp_path: Path) -> None:
    written(drawn("clibd"), tmp_path / "out", synthetic=True)
    assert "mine (SYNTHETIC)" in (tmp_path / "out" / "table6.md").read_text()
    assert all(record["synthetic"] for record in json.loads((tmp_path / "out" / "table6.json").read_text()))
    written(drawn("clibd"), tmp_path / "real")
    assert "SYNTHETIC" not in (tmp_path / "real" / "table6.md").read_text()
    for name in ("figure2.png", "figure7.png", "figure8.png"):
        assert (tmp_path / "out" / name).read_bytes() != (tmp_path / "real" / name).read_bytes()
