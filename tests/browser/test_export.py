"""An exported folder is opened from disk, without a network: every kind of page, its charts, filters and links."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from results.dashboard.page import Asked
from tests.browser.conftest import Reader, command, draw_charts, environment
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


_USABLE = {"retrieval": "#example", "embedding": "canvas", "compare": "table"}
"""What is seen on a page of a kind once it can be used, where a script makes it."""


def _largest(site: Path, kind: str) -> Path:
    return max((site / kind).glob("*.html"), key=lambda page: page.stat().st_size)


def test_one_page_of_every_kind_can_be_used(site: Path, offline: Page, visits: Mapping[str, Asked]) -> None:
    # The maps of attention are of runs that `clibd attention` has looked at, of which there are none here.
    for kind in sorted({asked.page for asked in visits.values()} - {"overview", "attention"}):
        page = _largest(site, kind)
        offline.goto(page.as_uri())
        expect(offline.locator("h1")).not_to_be_empty()
        expect(offline.locator(_USABLE.get(kind, "main")).first).to_be_visible()
        draw_charts(offline)
        assert offline.evaluate(OVERFLOW) <= 0, page


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


def test_a_chart_is_drawn_when_it_is_scrolled_to(site: Path, offline: Page) -> None:
    run = max((site / "run").glob("*.html"), key=lambda page: page.read_text().count("data-chart"))
    offline.goto(run.as_uri())
    charts = offline.locator("[data-chart]")
    offline.wait_for_function("() => window.Plotly")  # which is loaded before anybody asks for it
    expect(charts.last.locator("svg.main-svg")).to_have_count(0)
    charts.last.scroll_into_view_if_needed()
    expect(charts.last.locator("svg.main-svg").first).to_be_visible()


def test_without_its_drawing_program_a_chart_says_so(site: Path, browser: Browser) -> None:
    page = browser.new_page()  # that nobody guards: a browser tells the console of every file that it lacks
    page.route("**/plotly-*", lambda route: route.abort())
    page.goto(_largest(site, "run").as_uri())
    first = page.locator("[data-chart]").first
    first.scroll_into_view_if_needed()
    expect(first).to_have_text("The picture cannot be drawn here; its numbers stand below.")
    page.close()


def test_queries_are_chosen_and_paged_in_the_browser(site: Path, offline: Page) -> None:
    offline.goto(next(iter(sorted((site / "retrieval").glob("made-up*.html")))).as_uri())
    section = offline.locator("#answers")
    expect(section.locator("ol li").first).to_be_visible()
    offline.locator("select[name=outcome]").select_option("wrong")
    offline.get_by_role("button", name="Choose").click()
    expect(section.locator("ol li").first).to_contain_text("wrong")
    expect(section.locator("ol")).not_to_contain_text("✓ right")


def test_pictures_that_were_kept_are_shown(site: Path, offline: Page) -> None:
    offline.goto(next(iter(sorted((site / "retrieval").glob("tiny*.html")))).as_uri())
    expect(offline.locator("#example .query img")).to_be_visible()
    assert offline.locator("#example .query img").evaluate("(one) => one.naturalWidth") > 1


def test_any_two_runs_are_laid_side_by_side(site: Path, offline: Page) -> None:
    pages = (page for page in (site / "compare").glob("*.html") if "data-sides" in page.read_text())
    offline.goto(next(pages).as_uri())
    first, second = (offline.locator(f"select[name={name}]") for name in "ab")
    second.select_option(index=2)
    expect(offline.locator("#two-command")).to_contain_text(f"/{second.input_value()}")
    expect(offline.locator("table")).to_have_count(2)
    expect(offline.locator("table").last.locator("tbody tr").first).to_contain_text("[")
    chosen = first.input_value(), second.input_value()
    offline.reload()
    expect(offline.locator("table")).to_have_count(2)
    assert (first.input_value(), second.input_value()) == chosen
