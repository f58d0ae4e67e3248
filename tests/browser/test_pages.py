"""Every kind of page opens, has its heading, says nothing to the console, and is never wider than the window."""

import pytest
from playwright.sync_api import Browser, Page, expect

from results.dashboard.page import Asked
from results.dashboard.site.kinds import kinds
from tests.browser.conftest import NARROW, Reader

NAMES = (
    "overview",
    "tables",
    "table",
    "cell",
    "cell-empty",
    "data",
    "sweep",
    "run",
    "run-at-work",
    "run-failed",
    "run-interrupted",
    "retrieval",
    "species",
    "one-species",
    "confusion",
    "confusion-species",
    "embedding",
    "attention",
    "class-size",
    "calibration",
    "compare",
    "compare-two",
)
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_a_page_of_every_kind_is_looked_at(visits: dict[str, Asked]) -> None:
    assert set(visits) == set(NAMES)
    pages = {name for name, kind in kinds().items() if kind.suffix == ".html"}
    assert {asked.page for asked in visits.values()} == pages


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_fits(name: str, visits: dict[str, Asked], address: str, guarded: Page) -> None:
    reply = guarded.goto(address + visits[name].path)
    assert reply is not None
    assert reply.status == 200
    expect(guarded.locator("h1")).to_have_count(1)
    expect(guarded.locator("h1")).not_to_be_empty()
    expect(guarded).to_have_title(f"{guarded.locator('h1').inner_text()} · CLIBD on Ray")
    assert guarded.evaluate(OVERFLOW) <= 0
    guarded.set_viewport_size(NARROW)
    guarded.wait_for_function(f"({OVERFLOW})() <= 0", timeout=5_000)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_same_without_scripts(name: str, visits: dict[str, Asked], address: str, reader: Reader) -> None:
    page = reader(java_script_enabled=False)
    page.goto(address + visits[name].path)
    expect(page.locator("h1")).not_to_be_empty()
    assert len(page.locator("main").inner_text()) > 80


def test_what_is_not_there_says_so_and_leads_back(address: str, browser: Browser) -> None:
    page = browser.new_page()  # that nobody guards: a browser tells the console of every 404
    reply = page.goto(f"{address}/run/nonsense")
    assert reply is not None
    assert reply.status == 404
    expect(page.locator("main")).to_contain_text("There is no run 'nonsense'")
    page.get_by_role("link", name="Overview").first.click()
    expect(page.locator("h1")).not_to_contain_text("nonsense")
    page.close()
