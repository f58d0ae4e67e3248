"""An exported folder is opened from disk, without a network: every kind of page, its charts, filters and links."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from results.dashboard.page import Asked
from tests.browser.conftest import Reader, command, environment
from tests.browser.test_pages import OVERFLOW
from workloads.data.prepared.dataset import PreparedDataset


@pytest.fixture(scope="session")
def site(runs: Path, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, as the command writes it."""
    out = tmp_path_factory.mktemp("exported") / "site"
    words = command("export", runs, "--data", tiny_dataset.folder.address, "--out", out)
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(out / "index.html") in done.stdout
    return out


@pytest.fixture
def offline(reader: Reader, site: Path) -> Page:
    """A reader without a network, on the first page."""
    page = reader(offline=True)
    page.goto((site / "index.html").as_uri())
    return page


def test_one_page_of_every_kind_opens(site: Path, offline: Page, visits: Mapping[str, Asked]) -> None:
    # The maps of attention are of runs that `clibd attention` has looked at, of which there are none here.
    for kind in sorted({asked.page for asked in visits.values()} - {"overview", "attention"}):
        pages = sorted((site / kind).glob("*.html"))
        assert pages, kind
        offline.goto(pages[0].as_uri())
        expect(offline.locator("h1")).not_to_be_empty()
        assert offline.evaluate(OVERFLOW) <= 0, pages[0]


def test_no_link_of_any_page_leads_nowhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for where in re.findall(r'(?:href|src)="([^"#]*)', page.read_text()):
            if where and not where.startswith(("data:", "https://")):
                assert (page.parent / where).is_file(), (page, where)


def test_readers_go_from_page_to_page(offline: Page) -> None:
    offline.get_by_role("link", name="Paper tables").first.click()
    offline.get_by_role("link", name="Batch size, validation set").click()
    expect(offline.locator("h1")).to_contain_text("Table 20")
    offline.locator("table.sheet a").filter(has_text="[").first.click()
    expect(offline.locator("h1")).to_contain_text("Table 20:")


def test_charts_are_drawn(site: Path, offline: Page) -> None:
    pages = (page for page in sorted((site / "run").glob("*.html")) if "data-chart" in page.read_text())
    offline.goto(next(pages).as_uri())
    expect(offline.locator("svg.main-svg").first).to_be_visible()


def test_queries_are_chosen_and_paged_in_the_browser(site: Path, offline: Page) -> None:
    offline.goto(next(iter(sorted((site / "retrieval").glob("made-up*.html")))).as_uri())
    section = offline.locator("#answers")
    expect(section.locator("ol li").first).to_be_visible()
    offline.locator("select[name=outcome]").select_option("wrong")
    offline.get_by_role("button", name="Choose").click()
    expect(section.locator("ol li").first).to_contain_text("wrong")
    expect(section.locator("ol")).not_to_contain_text("✓ right")
