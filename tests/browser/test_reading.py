"""What readers do: they go on by keys, choose with and without scripts, and keep addresses; nobody sees another's."""

import re

import pytest
from playwright.sync_api import Page, expect

from results.dashboard.page import Asked
from tests.browser.conftest import Reader


@pytest.fixture
def retrieval(visits: dict[str, Asked], address: str) -> str:
    """The address of queries and their nearest keys."""
    return address + visits["retrieval"].path


def test_queries_are_gone_through_by_arrow_keys(retrieval: str, guarded: Page) -> None:
    guarded.goto(retrieval)
    shown = guarded.locator("#example .query .id")
    first = shown.inner_text()
    guarded.keyboard.press("ArrowRight")
    expect(shown).not_to_have_text(first)
    expect(guarded).to_have_url(re.compile("specimen="))
    guarded.keyboard.press("ArrowLeft")
    expect(shown).to_have_text(first)


def test_a_query_is_kept_as_a_link(retrieval: str, guarded: Page, reader: Reader) -> None:
    guarded.goto(retrieval)
    first = guarded.locator("#example .query .id").inner_text()
    guarded.keyboard.press("ArrowRight")
    expect(guarded.locator("#example .query .id")).not_to_have_text(first)
    other = reader()
    other.goto(guarded.url)
    expect(other.locator("#example .query .id")).to_have_text(guarded.locator("#example .query .id").inner_text())


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_queries_are_chosen(scripts: bool, retrieval: str, reader: Reader) -> None:
    page = reader(java_script_enabled=scripts)
    page.goto(retrieval)
    total = page.locator("#answers > p > strong").first.inner_text()
    page.locator("select[name=outcome]").select_option("right")
    page.locator("select[name=rank]").select_option("order")
    page.get_by_role("button", name="Choose").click()
    expect(page).to_have_url(re.compile("outcome=right"))
    expect(page.locator("#answers")).not_to_contain_text("✗ wrong")
    assert int(page.locator("#answers > p > strong").first.inner_text()) <= int(total)
    page.reload()
    expect(page.locator("select[name=outcome]")).to_have_value("right")


def test_the_first_stop_of_the_keyboard_leads_to_the_content(address: str, guarded: Page) -> None:
    guarded.goto(f"{address}/tables")
    guarded.keyboard.press("Tab")
    skip = guarded.locator(":focus")
    expect(skip).to_have_text("To the content")
    expect(skip).to_be_in_viewport()
    guarded.keyboard.press("Enter")
    assert guarded.evaluate("() => document.activeElement.id") == "main"


def test_all_that_can_be_clicked_is_reached_by_tab_and_seen(address: str, guarded: Page) -> None:
    guarded.goto(f"{address}/tables")
    texts = []
    for _ in range(5):
        guarded.keyboard.press("Tab")
        focused = guarded.locator(":focus")
        texts.append(focused.inner_text())
        assert focused.evaluate("(one) => getComputedStyle(one).outlineStyle") != "none"
    assert texts[1:5] == ["Overview", "Paper tables", "Compare", "Data"]


def test_a_wide_table_is_scrolled_by_keys(address: str, reader: Reader) -> None:
    page = reader(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/table/20")
    region = page.locator(".wide").first
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.wide').scrollLeft > 0")


def test_readers_see_only_what_they_chose(visits: dict[str, Asked], address: str, reader: Reader) -> None:
    one, other = reader(), reader()
    one.goto(f"{address}/table/20?rank=species")
    other.goto(f"{address}/table/20")
    expect(one.locator(".choice[aria-current]").filter(has_text="species")).to_have_count(1)
    expect(other.locator(".choice[aria-current]").filter(has_text="species")).to_have_count(0)
    assert one.context.cookies() == other.context.cookies() == []


_AWAY = """() => Object.keys(localStorage).forEach((key) => {
  const kept = JSON.parse(localStorage[key]), first = Object.keys(kept.states)[0];
  localStorage[key] = JSON.stringify({...kept, seen: kept.seen - 3600e3, states: {...kept.states, [first]: "waiting"}});
})"""
"""The reader was away for an hour, in which a run that waited has gone on."""


def test_the_next_visit_says_what_has_changed(address: str, guarded: Page) -> None:
    guarded.goto(address)
    expect(guarded.locator("main")).to_contain_text("first visit")
    guarded.evaluate(_AWAY)
    guarded.reload()
    expect(guarded.locator("main")).to_contain_text(", was waiting")
