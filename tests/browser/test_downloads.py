"""Tables are saved as the files that their buttons name, and hold what the page shows."""

import csv
import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

ENDINGS = ("md", "csv", "json", "tex")


def _saved(page: Page, ending: str) -> str:
    with page.expect_download() as download:
        page.locator(f"a[download][href*='table-{'latex' if ending == 'tex' else ending}']").click()
    assert download.value.suggested_filename.endswith(f".{ending}")
    return Path(download.value.path()).read_text()


@pytest.fixture
def table(guarded: Page, address: str) -> Page:
    """The page of a table."""
    guarded.goto(f"{address}/table/20")
    return guarded


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_is_saved(ending: str, table: Page) -> None:
    text = _saved(table, ending)
    assert "SYNTHETIC" in text or "synthetic" in text
    if ending == "json":
        assert json.loads(text)
    elif ending == "csv":
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows if row}) == 1
    elif ending == "tex":
        assert text.count("{") == text.count("}")
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 0
    else:
        assert "| " in text


def test_what_is_saved_says_what_the_page_says(table: Page) -> None:
    first = table.locator("table.sheet tbody tr td.n:not(.paper) a").filter(has_text="[").first
    shown = first.inner_text().split(" ")[0]
    assert shown in _saved(table, "md")
