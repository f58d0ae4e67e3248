"""A page follows its run while that goes on, for each reader alone, and asks for no more than what is new."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.made_up_training import beat, live_run
from results.dashboard.catalog import Catalog
from tests.browser.conftest import Reader, draw_charts, serving
from workloads.storage import Folder

_SOON = 30_000
"""Milliseconds until a test gives up waiting for a page; the aim is 2 s, and machines are busy."""


@pytest.fixture
def going_on(runs: Path, tmp_path: Path) -> Folder:
    """Runs of which one goes on where a test says so."""
    folder = Folder(shutil.copytree(runs, tmp_path / "runs"))
    beat(folder)
    return folder


@pytest.fixture
def live(going_on: Folder) -> Iterator[str]:
    """Where they are served."""
    with serving(Path(going_on.address)) as address:
        yield address


@pytest.fixture
def at_work(going_on: Folder) -> Folder:
    """The folder of the run that goes on."""
    return live_run(going_on)


def _opened(reader: Reader, address: str) -> Page:
    page = reader()
    page.goto(address, wait_until="load")
    return page


def test_an_epoch_shows_on_the_pages_of_run_and_sweep(
    going_on: Folder, at_work: Folder, live: str, reader: Reader
) -> None:
    sweep, run = at_work.address.split("/")[-2:]
    of_run, of_sweep, other = (_opened(reader, f"{live}/{path}") for path in (f"run/{run}", f"sweep/{sweep}", "tables"))
    epoch = int(at_work.read_json("lease.json")["facts"]["epoch"])
    expect(of_run.locator("main")).to_contain_text(f"epoch {epoch} of")
    asked: list[str] = []
    of_run.on("request", lambda request: asked.append(request.url.removeprefix(live)))
    chosen = of_sweep.get_by_role("radio").last
    chosen.check()
    row = of_sweep.get_by_role("row").filter(has=of_sweep.locator(f"a[href*='{run[-8:]}']"))
    begun: list[str] = []
    for further in (epoch + 1, epoch + 2):  # a page may catch up with what came while it was opened, but once
        begun = other.evaluate(_LOADED)
        live_run(going_on)
        expect(of_run.locator("main")).to_contain_text(f"epoch {further} of", timeout=_SOON)
        expect(row).to_contain_text(f"{further}/", timeout=_SOON)
    expect(chosen).to_be_checked()
    for url in asked:  # the page once more, and of its log what is new
        assert "/run-log/" not in url or "after=" in url, asked
    assert other.evaluate(_LOADED) == begun


_LOADED = "() => performance.getEntriesByType('resource').map((one) => one.name)"
"""Addresses of all that a page has fetched."""
_DRAWN = """() => [...document.querySelectorAll("[data-more]")].flatMap((one) =>
  one.data.map(({x, y}) => Array.from(x, (step, n) => [step, y[n]])))"""
"""The points of each curve as they are drawn."""


def test_points_of_an_attempt_that_was_lost_make_room_for_those_of_the_next(
    at_work: Folder, live: str, reader: Reader
) -> None:
    page = _opened(reader, f"{live}/run/{at_work.name}")
    draw_charts(page)
    before = page.evaluate(_DRAWN)
    lines = at_work.read("events.jsonl").splitlines(keepends=True)
    again = [line.replace(b'"loss": ', b'"loss": 7') for line in lines[-4:]]
    for cut in (again[:1], [*again, *again[-1:]]):  # it is noticed before it has caught up, and afterwards
        at_work.write("events.jsonl", b"".join([*lines[:-4], *cut]))
        count = len(lines) - 4 + len(cut)
        page.wait_for_function(f"() => document.querySelector('[data-more]').dataset.after === '{count}'")
    curves = page.evaluate(_DRAWN)
    assert max(y for _, y in curves[0]) > 7 > max(y for _, y in before[0])
    ends = at_work.read("events.jsonl").count(b'{"event": "step"'), len(before)
    assert (len(curves[0]), len(curves)) == ends
    for curve in curves:
        assert curve == sorted(curve), "a step that was there before stands there once"


def test_tables_are_renewed_when_a_run_is_finished_and_the_reader_stays_where_he_is(
    going_on: Folder, tmp_path: Path, live: str, reader: Reader
) -> None:
    catalog, away = Catalog(going_on), tmp_path / "away"
    place = Path(going_on.address, next(catalog.place(run) for run in catalog.finished() if "-b1500-" in run))
    place.rename(away)
    every, one = (_opened(reader, f"{live}/{path}") for path in ("tables", "table/20?rank=species&view=ours"))
    rows = one.get_by_role("row").filter(has_text="batch 1500").filter(has_text=re.compile(r"\d\.\d"))
    listed = every.get_by_role("row").filter(has=every.get_by_role("rowheader", name="20", exact=True))
    expect(rows).to_have_count(0)
    ours = listed.get_by_role("cell").nth(2).inner_text()
    one.set_viewport_size({"width": 500, "height": 300})
    one.locator(".wide").first.evaluate("one => (one.scrollLeft = 40)")
    one.evaluate("() => scrollTo(0, 150)")
    one.locator(".choice[href]").first.evaluate("one => one.focus({ preventScroll: true })")
    away.rename(place)
    expect(rows).not_to_have_count(0, timeout=_SOON)
    expect(listed.get_by_role("cell").nth(2)).not_to_have_text(ours, timeout=_SOON)
    assert one.locator(".wide").first.evaluate("one => one.scrollLeft") == 40
    assert one.evaluate("() => scrollY") == 150
    assert one.evaluate("() => document.activeElement.className") == "choice"
    expect(one.locator(".choice[aria-current]").filter(has_text="species")).to_have_count(1)


def test_a_page_of_what_is_not_there_yet_comes_when_it_is(going_on: Folder, live: str, browser: Browser) -> None:
    page = browser.new_page()  # that nobody guards: a browser tells the console of every 404
    page.goto(f"{live}/sweep/later")
    expect(page.locator("main")).to_contain_text("There is no sweep 'later'")
    (going_on / "later").write_json("points.json", [{"id": "one", "label": "first", "row": {}}])
    expect(page.locator("h1")).to_have_text("Sweep later", timeout=_SOON)
    page.close()


def test_what_a_reader_has_opened_stays_open(going_on: Folder, at_work: Folder, live: str, reader: Reader) -> None:
    page = _opened(reader, f"{live}/")
    opened = page.locator("details").first
    opened.evaluate("one => one.open = true")
    live_run(going_on)
    page.wait_for_function("() => document.body.dataset.look", timeout=_SOON)
    expect(page.locator("details").first).to_have_attribute("open", "")
