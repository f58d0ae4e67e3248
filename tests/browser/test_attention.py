"""Maps of attention: over their pictures, outcome by outcome, also by keys, and on a telephone."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from results.dashboard.page import Asked
from tests.browser.conftest import NARROW, WIDE, Reader
from tests.browser.test_pages import OVERFLOW

_ALIKE = """async ([one, other]) => {
  const pixels = (image) => {
    const drawn = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
    drawn.drawImage(image, 0, 0);
    return drawn.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data;
  };
  const [first, second] = [pixels(one), pixels(other)];
  return first.length === second.length && first.every((value, n) => value === second[n]);
}"""
"""Whether two pictures are the same."""


@pytest.fixture(params=[WIDE, NARROW], ids=["1440", "390"])
def attention(request: pytest.FixtureRequest, visits: dict[str, Asked], address: str, reader: Reader) -> Page:
    """The page of a run whose attention is stored."""
    page = reader(viewport=request.param)
    page.goto(address + visits["attention"].path)
    return page


def test_each_model_lays_its_attention_over_the_picture(attention: Page) -> None:
    attention.goto(_filled(attention))
    card = attention.locator(".cases > li").first
    pictures = card.locator("img")
    expect(card.locator("figcaption")).to_have_text(
        [re.compile("Input"), re.compile("No align"), re.compile("I\\+D\\+T")]
    )
    attention.wait_for_function("() => [...document.images].slice(0, 5).every((one) => one.complete)")
    assert pictures.evaluate_all("all => all.map((one) => one.naturalWidth)") == [160] * 5
    plain, before, _, after, _ = pictures.element_handles()
    for one, other in ((plain, before), (plain, after), (before, after)):
        assert not attention.evaluate(_ALIKE, [one, other])
    assert attention.evaluate(_ALIKE, [plain, plain])
    assert attention.evaluate(OVERFLOW) <= 0
    for picture in pictures.all():
        assert picture.get_attribute("alt")
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] >= 80


def test_outcomes_and_figures_are_chosen_by_keys(attention: Page) -> None:
    outcomes = attention.get_by_role("navigation", name="Outcomes")
    chosen = outcomes.locator("strong").inner_text()
    words = outcomes.get_by_role("link").first.inner_text()
    _press(attention, outcomes.get_by_role("link").first)
    expect(outcomes.locator("strong")).to_have_text(words)
    assert words != chosen
    expect(attention).to_have_url(re.compile("group="))
    figures = attention.get_by_role("navigation", name="Figures")
    _press(attention, figures.get_by_role("link", name="13"))
    expect(figures.locator("strong")).to_have_text("13")
    expect(figures).to_contain_text("No model names the species")
    species = attention.get_by_label("Species")
    species.focus()
    attention.keyboard.type("unseen")
    _press(attention, attention.get_by_role("button", name="Show"))
    expect(attention).to_have_url(re.compile("subset=unseen"))
    for badge in attention.locator(".cases .badge").all():
        expect(badge).to_have_text("unseen")


def _press(page: Page, thing: Locator) -> None:
    """Go to a thing with the Tab key, as far as that takes, and press it."""
    page.locator("body").evaluate("() => document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        if thing.evaluate("one => one === document.activeElement"):
            return page.keyboard.press("Enter")
    raise AssertionError(f"no key leads to {thing}")


def _filled(page: Page) -> str:
    """The address of an outcome that some queries had."""
    outcomes = page.get_by_role("navigation", name="Outcomes").get_by_role("link")
    filled = outcomes.filter(has_not_text="(n=0)").first
    return str(filled.evaluate("one => one.href"))
