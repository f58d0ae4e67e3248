"""Chromium, which looks at the dashboard as readers do: made-up runs, one that was really measured, and the command.

A page that says something to the console, fails, asks a question or asks somebody else for something fails its test.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.dashboard_pages import one_of_each
from benchmarks.made_up_runs import make_runs
from benchmarks.made_up_training import beat
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.measure import measure
from workloads.measuring.attention_folder import measure_attention
from workloads.measuring.evaluation_folder import measure_again
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CLIBD_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
_NUM_RUNS, _NUM_PREDICTIONS = 12, 4_000
_OWN = ("http://127.0.0.1:", "file://", "data:", "blob:")
"""What addresses that a page may ask for begin with."""
_BEAT_EVERY = 10.0
"""Seconds; runs that are at work count as abandoned after a minute."""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All need a browser: where there is none they are left out, and fail where one is required, as in `.ci/run`."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            if not Path(CHROMIUM).exists() and "REQUIRE_BROWSER" not in os.environ:
                item.add_marker(pytest.mark.skip(reason=f"no Chromium at {CHROMIUM}; set CLIBD_CHROMIUM"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium, which looks for no updates."""
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    words = ["--no-sandbox", "--no-first-run", "--enable-unsafe-swiftshader", *(f"--disable-{word}" for word in quiet)]
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": words}


# --- What is looked at --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def measured_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> Path:
    """A run with weights near its first ones that was measured: it has pictures, barcodes, and maps of attention."""
    run = RunFolder(Folder(tmp_path_factory.mktemp("measured") / tiny_spec.id))
    experiment = open_untrained(tiny_spec, tiny_dataset)
    chance = torch.Generator().manual_seed(4)
    with torch.no_grad():  # so that it answers other than the towers before training, which attention is compared with
        for weights in experiment.model.parameters():
            weights.add_(torch.randn(weights.shape, generator=chance), alpha=0.05)
    run.begin(tiny_spec, {"sweep": "train", "label": "first weights"}, {"started": "2026-01-01T00:00:00Z"})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    measure(experiment, tiny_dataset, Placement(), run)
    run.finish("finished")
    measure_again(run, keys=("calibrated",))
    measure_attention(run.folder, tiny_dataset.folder)
    return Path(run.folder.address)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, measured_run: Path) -> Iterator[Path]:
    """A dozen made-up runs in every state, some of which go on, and the measured one."""
    folder = tmp_path_factory.mktemp("looked-at") / "runs"
    make_runs(Folder(folder), _NUM_RUNS, _NUM_PREDICTIONS)
    shutil.copytree(measured_run, folder / "train" / measured_run.name)
    with _beating(folder):
        yield folder


@pytest.fixture(scope="session")
def hostile_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Made-up runs in which every name tries to be something else than text."""
    folder = tmp_path_factory.mktemp("hostile") / "runs"
    make_runs(Folder(folder), _NUM_RUNS, _NUM_PREDICTIONS, hostile=True)
    with _beating(folder):
        yield folder


@contextmanager
def _beating(folder: Path) -> Iterator[None]:
    """Leases beat, as those of trainings do."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(_BEAT_EVERY):
            beat(Folder(folder))

    beats = threading.Thread(target=go_on, daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()


@pytest.fixture(scope="session")
def visits(runs: Path, tiny_dataset: PreparedDataset) -> dict[str, Asked]:
    """Addresses of one page of each kind, by names for them."""
    return one_of_each(Catalog(Folder(runs), tiny_dataset.folder))


# --- The server ---------------------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    """`clibd-dashboard` of this checkout."""
    return [sys.executable, "-c", "from commands.dashboard import main; main()", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Of that command."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def serving(runs: Path, *more: object) -> Iterator[str]:
    """The command in a process of its own, ended by its own id; gives the address that it says."""
    words = command(runs, "--port", 0, "--no-open", *more)
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert " shows " in said, said
            yield said.partition(" ")[0].rstrip("/")
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def address(runs: Path, tiny_dataset: PreparedDataset) -> Iterator[str]:
    """Where these runs are served."""
    with serving(runs, "--data", tiny_dataset.folder.address) as where:
        yield where


@pytest.fixture(scope="session")
def hostile_address(hostile_runs: Path) -> Iterator[str]:
    """Where the hostile ones are."""
    with serving(hostile_runs) as where:
        yield where


# --- The reader ---------------------------------------------------------------------------------------------------


@dataclass
class Guard:
    """What a page did that none may do."""

    bad: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Page:
        """Take note of all that a page does from now on."""
        page.on("request", lambda request: self._asked(request.url))
        page.on("console", lambda said: self.bad.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.bad.append(str(error)))
        page.on("dialog", lambda dialog: (self.bad.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda popup: self.bad.append(f"popup: {popup.url}"))
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith(_OWN):
            self.bad.append(f"request: {url}")


Reader = Callable[..., Page]


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    """Gives pages of readers, each of a context of its own; what they do that none may do fails the test."""
    guard = Guard()
    with ExitStack() as contexts:

        def new(**options: Any) -> Page:
            context: BrowserContext = browser.new_context(**{"viewport": WIDE, **options})
            contexts.callback(context.close)
            return guard.watch(context.new_page())

        yield new
    assert not guard.bad, guard.bad


def draw_charts(page: Page) -> None:
    """Look at every chart of a page: they are drawn when they come near the view."""
    for chart in page.locator(".chart[data-chart]").all():
        if chart.is_visible():
            chart.scroll_into_view_if_needed()
            expect(chart.locator("svg.main-svg").first).to_be_visible()
    page.evaluate("() => scrollTo(0, 0)")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for what readers with other senses or hands cannot use."""
    return (ROOT / "tests" / "browser" / "vendor" / "axe-4.14.1.min.js").read_text()


@pytest.fixture
def guarded(reader: Reader) -> Page:
    """A page that may do nothing but its work."""
    return reader()
