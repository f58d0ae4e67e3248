"""A table as it is printed, and what is behind each of its numbers."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from results.dashboard.catalog import Catalog
from results.dashboard.pages.table import CITATION, KINDS
from results.paper.tables import NUMBERS, table_sheets
from results.render import render_sheets
from sweeps.point import Point
from tests.dashboard.showing import sent, shown, words_of
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]
OFFICIAL = {"official_split": "bioscan_1m", "missing_rank": "a_class"}
HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}\"'"


@pytest.fixture
def compared(runs: Folder, write_run: Write, amp_points: Amp) -> Catalog:
    """Two seeds of which one number is reproduced and one is not, and a run that stands apart."""
    for seed, shift in ((42, 0.0), (43, 0.004)):
        values = {("micro", "all", "dna", "dna"): 0.977 + shift, ("micro", "all", "image", "dna"): 0.3 + shift}
        values |= {("macro", "all", "dna", "dna"): 0.5 + shift}
        write_run(amp_points(seed)[True], values, evaluation=OFFICIAL)
    write_run(amp_points(dataset=HOSTILE, synthetic=True)[True], 0.5)
    return Catalog(runs)


def page_of(catalog: Catalog, dataset: str = "insects", **options: object) -> str:
    """Table 18, of a data set."""
    titles = [sheet.about[0] for sheet in catalog.sheets(18)]
    sheet = next(number for number, title in enumerate(titles, 1) if dataset in title)
    return shown(catalog, "table", 18, sheet=sheet if sheet > 1 else None, **options)


def cells_of(html: str) -> list[tuple[str, str]]:
    """Address and words of each number that leads to a cell."""
    found = re.findall(r'<td class="n [^"]*"><a href="([^"]*cell=\d+[^"]*)">(.*?)</td>', html, re.DOTALL)
    return [(address.replace("&amp;", "&"), words_of(words)) for address, words in found]


@pytest.mark.parametrize("number", [*NUMBERS, "seeds", "dna-pooling"])
def test_every_table_has_a_page_before_there_are_runs(number: int | str, tmp_path: Path) -> None:
    catalog = Catalog(Folder(tmp_path))
    words = words_of(shown(catalog, "table", number))
    cells = catalog.sheets(number)[0].cells
    if number in NUMBERS:
        assert f"Table {number}. " in words
        assert "All published numbers here: ○ not run" in words
        assert "The paper: ZeMing Gong" in words
    for column in {cell.column for cell in cells}:
        assert column in words


def test_numbers_with_errors_differences_and_verdicts(compared: Catalog) -> None:
    told = [words for _, words in cells_of(page_of(compared))]
    assert "97.9 ± 0.2 (n=2) ✓ within noise" in told
    assert "30.2 ± 0.2 (n=2) ≠ differs" in told
    assert "50.2 ± 0.2 (n=2) ? suspect as printed" in told
    assert "+0.1" in told
    words = words_of(page_of(compared))
    assert "1 ≠ differs 1 ✓ within noise 1 ? suspect as printed" in words
    assert "Partition validation. Number of queries:" in words
    assert "SYNTHETIC specimens." not in words


def test_synthetic_numbers_are_labelled_and_have_no_difference(compared: Catalog) -> None:
    html = page_of(compared, "onerror")
    assert "SYNTHETIC specimens." in html
    assert "difference</th>" not in html
    assert "<img src=x" not in html
    assert "{{7*7}}" in html


def test_what_an_address_chooses(compared: Catalog) -> None:
    micro = words_of(page_of(compared, average="micro"))
    assert "Micro top-1 accuracy, species" in micro
    assert "Macro top-1 accuracy, species" not in micro
    assert "CUDA memory, GB" in micro  # it has no average
    ours = page_of(compared, view="ours")
    assert ">paper</th>" not in ours
    assert "within noise</span>" not in ours.partition("<table")[2]
    difference = page_of(compared, view="difference")
    assert ">ours</th>" not in difference
    assert ("+0.1 ✓ within noise") in [words for _, words in cells_of(difference)]


def test_only_what_a_sheet_has_is_offered_and_nothing_else_is_there(compared: Catalog) -> None:
    html = page_of(compared)
    assert 'aria-label="Average"' in html
    assert 'aria-label="Rank"' not in html  # species alone
    for options in ({"average": "mean"}, {"rank": "class"}, {"view": "all"}, {"sheet": 9}, {"cell": 999}, {"k": 7}):
        assert "ere" in words_of(shown(compared, "table", 18, status=404, **options))
    assert "there are 1 to 20" in words_of(shown(compared, "table", "21", status=404))


def test_a_cell_shows_its_runs_and_what_differs(compared: Catalog) -> None:
    address = next(address for address, words in cells_of(page_of(compared)) if "within noise" in words)
    options = dict(pair.split("=") for pair in address.partition("?")[2].split("&"))
    html = shown(compared, "table", 18, **options)
    words = words_of(html)
    assert "✓ within noise" in words
    assert "Published 97.85 Ours 97.9 ± 0.2 (n=2) Difference +0.1" in words
    assert "± is the standard error over 2 seeds" in words
    assert "Partition validation Rank species Average micro Queries seen and unseen together" in words
    assert "n 10 queries" in words
    assert re.search(r"97\.7 42 ✓ finished .* 98\.1 43 ✓ finished", words)
    assert "In what they differ" in words
    assert "seed 42 43" in words
    assert "optimizer adam adamw" in words  # the recipe is the corrected one
    assert "What makes it again clibd-sweep amp" in words


def test_an_empty_cell_says_what_fills_it(compared: Catalog) -> None:
    html = page_of(compared)
    address = next(address for address, words in cells_of(html) if words.startswith("– [1]"))
    assert "[1] not run: <code>clibd-sweep amp --data DIR" in html
    words = words_of(shown(compared, "table", 18, **dict(p.split("=") for p in address.partition("?")[2].split("&"))))
    assert "○ not run clibd-sweep amp --data DIR" in words
    assert "Runs behind it" not in words


def test_floors_stand_beside_in_the_cell(golden_runs: Folder) -> None:
    html = shown(Catalog(golden_runs), "table", 18, average="micro")
    address = next(address for address, words in cells_of(html) if "(n=2)" in words)
    words = words_of(shown(Catalog(golden_runs), "table", 18, cell=int(address.rpartition("=")[2])))
    assert "Chance 1.0" in words
    assert "Floor: 5-mer nearest neighbour 87.5" in words


def test_downloads_are_the_sheet_in_each_form(golden_runs: Folder) -> None:
    catalog = Catalog(golden_runs)
    sheet = table_sheets(18, golden_runs)[0]
    for form, ending in (("md", "md"), ("csv", "csv"), ("json", "json"), ("latex", "tex")):
        file = sent(catalog, f"table-{form}", 18)
        assert file.name == f"clibd-table-18.{ending}"
        assert file.content.decode() == f"{render_sheets([sheet], form)}\n"
        assert f'href="/table-{form}/18"' in shown(catalog, "table", 18)
    records = list(csv.DictReader(io.StringIO(sent(catalog, "table-csv", 18).content.decode())))
    assert len(records) == len(sheet.cells) == len(json.loads(sent(catalog, "table-json", 18).content))


def test_an_export_has_every_sheet_each_filter_alone_and_the_cells(compared: Catalog) -> None:
    listed = {asked.path for asked in KINDS[0].listed(compared)}
    assert {f"/table/{number}" for number in NUMBERS} <= listed
    assert {"/table/18?average=micro", "/table/18?view=ours", "/table/18?sheet=2", "/table/seeds"} <= listed
    assert {address for address, _ in cells_of(page_of(compared))} <= listed
    assert not any("average=micro&view" in path for path in listed)


def test_the_citation_is_that_of_the_repository() -> None:
    cited = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text())["preferred-citation"]
    people = [f"{author['given-names']} {author['family-names']}" for author in cited["authors"]]
    for text in (*people, cited["title"], cited["collection-title"], str(cited["year"])):
        assert text in CITATION
