"""What is printed holds what the page does: tables whole, without what only a mouse can use."""

import io
import re
import zlib

import pytest
from playwright.sync_api import Page, expect

from results.dashboard.page import Asked

_CUT = """() => [...document.querySelectorAll(".wide")].filter((one) =>
  one.scrollHeight > one.clientHeight + 1 && getComputedStyle(one).overflowY !== "visible").length"""

_WIDTHS = """() => addEventListener("beforeprint", () => {
  window.widths = [...document.querySelectorAll(".chart[data-chart]")].filter((one) => one.checkVisibility())
    .map((one) => one.querySelector("svg.main-svg")?.clientWidth);
})"""
"""Of charts, when a page is laid out for a sheet."""


def _pages_of(pdf: bytes) -> int:
    counts = [int(found) for found in re.findall(rb"/Count (\d+)", pdf)]
    return max(counts, default=0) or sum(zlib.decompress(part).count(b"/Page ") for part in _streams(pdf))


def _streams(pdf: bytes) -> list[bytes]:
    return [io.BytesIO(part).read() for part in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)]


@pytest.mark.parametrize("name", ["table", "run", "retrieval", "confusion-species"])
def test_a_page_is_printed(name: str, visits: dict[str, Asked], address: str, guarded: Page) -> None:
    guarded.goto(address + visits[name].path)
    guarded.emulate_media(media="print")
    expect(guarded.locator(".top")).to_be_hidden()
    assert _pages_of(guarded.pdf(format="A4", landscape=True)) > 0


def test_charts_that_nobody_has_looked_at_are_printed(visits: dict[str, Asked], address: str, guarded: Page) -> None:
    guarded.goto(address + visits["run-at-work"].path)
    guarded.wait_for_function("() => window.Plotly")
    last = guarded.locator(".chart[data-chart]").last
    expect(last.locator("svg.main-svg")).to_have_count(0)
    guarded.evaluate(_WIDTHS)
    guarded.pdf(format="A4")
    widths = guarded.evaluate("() => widths")
    assert len(widths) > 1
    assert all(width and width <= 718 for width in widths), widths
    last.scroll_into_view_if_needed()
    width = last.evaluate("(one) => one.clientWidth")
    expect(last.locator("svg.main-svg").first).to_have_attribute("width", str(width))


def test_a_printed_table_is_whole(visits: dict[str, Asked], address: str, guarded: Page) -> None:
    guarded.goto(address + visits["table"].path)
    guarded.emulate_media(media="print")
    assert guarded.evaluate(_CUT) == 0
