"""A real sweep under Ray while readers look on: trials begin, go on, fail and are finished on pages that stay open."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import ROOT, Reader, serving
from tests.cluster.nodes import PATIENCE, end_group, processes_of, title, until
from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

_SOON = 60_000
"""Milliseconds until a test gives up waiting for a page; the aim is 2 s, and Ray keeps machines busy."""
_EPOCHS = 6
_COMMAND = Path(sys.executable).with_name("clibd-sweep")
OWN = f"""
from dataclasses import replace

from sweeps.point import Point, Sweep


def points(base):
    spec = replace(base.spec, batch_size=20, epochs={_EPOCHS})
    wild = replace(spec, max_learning_rate=1e30, initial_learning_rate=1e30)
    return [Point(row={{"rate": name}}, label=name, spec=one) for name, one in (("tame", spec), ("wild", wild))]


SWEEP = Sweep(name="own", question="Which rate is too much?", points=points)
"""


@contextmanager
def _sweeping(data: PreparedDataset, runs: Path, script: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """The command, one trial at a time, and the folder of its Ray; whatever is left of it at the end is ended."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as ray:
        scratch = Path(ray) / "scratch"  # of a short path, which sockets of Ray's processes need
        scratch.mkdir()
        where = f"--data={data.folder}", f"--runs={runs}"
        program = subprocess.Popen(
            [_COMMAND, script, "--scale=small", *where, "--cpu", "--workers=1", "--max-concurrent=1"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": ray, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield program, Path(ray)
        finally:
            end_group(program)


def _row(page: Page, trial: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile(trial)))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where they will be."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def address(runs: Path) -> Iterator[str]:
    """Where they are served before there are any."""
    with serving(runs) as where:
        yield where


def test_trials_begin_go_on_fail_and_are_finished_while_pages_are_open(
    tiny_dataset: PreparedDataset, runs: Path, address: str, tmp_path: Path, reader: Reader
) -> None:
    script = tmp_path / "own.py"
    script.write_text(OWN)
    overview, sweep, of_run = reader(), reader(), reader()
    overview.goto(address)
    expect(overview.locator("main")).to_contain_text("No run is here yet")
    with _sweeping(tiny_dataset, runs, script) as (program, ray):
        until(lambda: (runs / "own" / "points.json").exists(), "the points of the sweep", program)
        card = overview.get_by_role("article", name="Sweep own")
        expect(card).to_contain_text("of 2", timeout=_SOON)
        sweep.goto(f"{address}/sweep/own")
        tame, wild = _row(sweep, "tame"), _row(sweep, "wild")
        expect(wild).to_contain_text("○ not begun", timeout=_SOON)
        run = until(lambda: find_runs(Folder(runs), "own"), "a run", program)[0]
        link = tame.get_by_role("rowheader").get_by_role("link")
        expect(link).to_have_attribute("href", f"/run/{run.id.replace('+', '%2B')}", timeout=_SOON)
        of_run.goto(f"{address}{link.get_attribute('href')}")

        until(lambda: _epochs(run), "an epoch", program)
        with _standing_still(ray):
            expect(tame).to_contain_text(re.compile(rf"▶ training.*\d+/{_EPOCHS}", re.DOTALL), timeout=_SOON)
            expect(of_run.locator("#run-state")).to_contain_text(re.compile(rf"epoch \d+ of {_EPOCHS}"), timeout=_SOON)
            expect(card).to_contain_text("▶ training", timeout=_SOON)
            epochs = _drawn(of_run)
            assert 0 < len(epochs) < _EPOCHS
        until(lambda: run.state() == "finished", "the end of a run", program)
        for words in (tame, of_run.locator("#run-state")):
            expect(words).to_contain_text("✓ finished", timeout=_SOON)
        expect(of_run.locator("#run-evaluation")).to_contain_text("bootstrap intervals", timeout=_SOON)
        of_run.wait_for_function(f"() => ({_LOSSES})().length === {_EPOCHS}")
        assert _drawn(of_run)[: len(epochs)] == epochs
        program.wait(PATIENCE)
        expect(wild).to_contain_text("✗ failed", timeout=_SOON)
        wild.locator("summary").click()
        expect(wild).to_contain_text("is not finite")
        expect(card).to_contain_text("✗ failed", timeout=_SOON)
    assert sweep.evaluate("performance.getEntriesByType('navigation').length") == 1


_LOSSES = """() => Array.from(document.querySelector("[data-more]").data[1].y)"""
"""The mean loss of each epoch as it is drawn."""


def _drawn(page: Page) -> list[float]:
    page.wait_for_function("() => document.querySelector('[data-more]')?.data?.[1]?.y.length")
    losses: list[float] = page.evaluate(_LOSSES)
    return losses


@contextmanager
def _standing_still(ray: Path) -> Iterator[None]:
    """The worker that trains is stopped meanwhile, so that it does not end before pages show how far it is."""
    [worker] = [process for process in processes_of(ray) if "RayTrainWorker" in title(process)]
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def _epochs(run: RunFolder) -> int:
    return sum(event["event"] == "epoch" for event in run.events())
