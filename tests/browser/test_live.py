"""A page follows its run while that goes on, for each reader alone, and asks for no more than what is new."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from benchmarks.made_up_training import beat, live_run
from tests.browser.conftest import Reader, serving
from workloads.storage import Folder

_SOON = 5_000
"""Milliseconds in which what changes has to be there; the aim is 2 s, and machines are busy."""


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
    begun = other.evaluate("performance.getEntriesByType('resource').length")
    live_run(going_on)
    expect(of_run.locator("main")).to_contain_text(f"epoch {epoch + 1} of", timeout=_SOON)
    row = of_sweep.get_by_role("row").filter(has=of_sweep.locator(f"a[href*='{run[-8:]}']"))
    expect(row).to_contain_text(f"{epoch + 1}/", timeout=_SOON)
    for url in asked:  # the page once more, and of its log what is new
        assert "/run-log/" not in url or "after=" in url, asked
    assert other.evaluate("performance.getEntriesByType('resource').length") == begun


def test_what_a_reader_has_opened_stays_open(going_on: Folder, at_work: Folder, live: str, reader: Reader) -> None:
    page = _opened(reader, f"{live}/")
    opened = page.locator("details").first
    opened.evaluate("one => one.open = true")
    live_run(going_on)
    page.wait_for_function("() => document.body.dataset.look", timeout=_SOON)
    expect(page.locator("details").first).to_have_attribute("open", "")
