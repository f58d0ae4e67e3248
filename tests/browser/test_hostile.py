"""Names that try to be markup, code, addresses or formulas are shown as the text that they are, and do nothing."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from benchmarks.dashboard_pages import one_of_each
from benchmarks.made_up_names import HOSTILE
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from tests.browser.conftest import draw_charts
from tests.browser.test_pages import NAMES, OVERFLOW
from workloads.printed_text import escaped
from workloads.storage import Folder

_HANDLERS = """() => [...document.querySelectorAll("*")].flatMap((one) => [...one.attributes])
  .filter((one) => one.name.startsWith("on")).map((one) => one.ownerElement.outerHTML.slice(0, 200))"""
_ADDRESSES = """() => [...document.querySelectorAll("a[href], [src], [action], link[href]")]
  .map((one) => one.href?.baseVal ?? one.href ?? one.src ?? one.action)
  .filter((where) => where && !where.startsWith(location.origin))
  .filter((where) => !/^(data:(,|image)|blob:http:|https:.*ray)/.test(where))"""


@pytest.fixture(scope="module")
def catalog(hostile_runs: Path) -> Catalog:
    return Catalog(Folder(hostile_runs))


@pytest.fixture(scope="module")
def hostile_visits(catalog: Catalog) -> dict[str, Asked]:
    """Addresses of one page of each kind."""
    return one_of_each(catalog)


@pytest.fixture(scope="module")
def names(catalog: Catalog, hostile_visits: dict[str, Asked]) -> list[str]:
    """The hostile species that ask on validation, as they are drawn."""
    predictions = catalog.evaluated(hostile_visits["species"].of).predictions
    places = [place for place in predictions.places if place.partition == "val"]
    codes = predictions.codes("species")[predictions.found(places[0]).queries]
    asking = set(predictions.names("species")[np.unique(codes[codes >= 0])].tolist())
    return [name for name in HOSTILE if name in asking]


def _is_harmless(page: Page) -> None:
    """Nothing of a name has become an element, an attribute, or an address that a browser follows."""
    for tag in (
        "iframe",
        "object",
        "embed",
        "base",
        "math",
        "main style",
        "main link",
        "[http-equiv]",
        "[hx-get*='//']",
    ):
        expect(page.locator(tag)).to_have_count(0)
    assert page.evaluate(_HANDLERS) == []
    assert page.evaluate(_ADDRESSES) == []
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.parametrize("name", [name for name in NAMES if name != "calibration"])  # made-up runs have none
def test_a_page_of_hostile_names_does_nothing(
    name: str, hostile_visits: dict[str, Asked], hostile_address: str, guarded: Page
) -> None:
    guarded.goto(hostile_address + hostile_visits[name].path)
    expect(guarded.locator("h1")).to_have_count(1)
    draw_charts(guarded)
    _is_harmless(guarded)


def test_every_hostile_species_is_listed_as_text(
    names: list[str], hostile_visits: dict[str, Asked], hostile_address: str, guarded: Page
) -> None:
    seen = set[str]()
    for number in range(1, 20):
        asked = hostile_visits["species"].but(page=number, sort="name")
        guarded.goto(hostile_address + asked.path)
        now = {
            *guarded.locator("main tbody tr > :first-child").evaluate_all("all => all.map((one) => one.textContent)")
        }
        if now <= seen:
            break
        seen |= now
    shown = {" ".join(text.split()) for text in seen}
    assert [name for name in names if " ".join(escaped(name).split()) not in shown] == []


def test_the_page_of_every_hostile_species_opens(
    names: list[str], hostile_visits: dict[str, Asked], hostile_address: str, guarded: Page
) -> None:
    for name in names:
        reply = guarded.goto(hostile_address + hostile_visits["species"].but(name=name).path)
        assert reply is not None
        assert reply.status == 200, name
        _is_harmless(guarded)
