"""Faults and crafted inputs, each of which is drawn by a seed and counted. `make test-faults` runs them.

Read from the environment: SEED, from which all are drawn; MINUTES, as `make soak` has it, in which all end, in place of
a fixed number; FAULTS and INPUTS, which are the least that have to be reached.
"""

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.counts import LEDGER
from tests.faults.scenes import Scene, made_in
from tests.faults.stage import Stage
from workloads.data.prepared.dataset import PreparedDataset

_FIRST_SEED, _ENDS = 16, "SOAK_ENDS"
Seeds = Callable[[int], Iterator[int]]


def pytest_configure(config: pytest.Config) -> None:
    """A long run has seeds that no earlier one had, and an end; both are the same in all of its processes."""
    if "MINUTES" in os.environ:
        os.environ.setdefault("SEED", str(random.SystemRandom().randrange(10**9)))
        os.environ.setdefault(_ENDS, str(time.time() + 60 * float(os.environ["MINUTES"])))


def pytest_report_header() -> str:
    return f"faults: SEED={os.environ.get('SEED', _FIRST_SEED)} MINUTES={os.environ.get('MINUTES', '-')}"


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """In a long run the files are divided, so that all processes end together."""
    if "MINUTES" not in os.environ:
        return None
    from xdist.scheduler import LoadScheduling

    return LoadScheduling(config, log)  # type: ignore[arg-type]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What comes after the end of a long run is not begun."""
    if time.time() > float(os.environ.get(_ENDS, "inf")):
        pytest.skip("the time is over")


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Seeds:
    """As many seeds as are asked for; in a long run new ones until the test's share of the time that is left is over.

    What is made for tests counts as time, so that all of them have less of it, and not those that need it first.
    """
    first = int(os.environ.get("SEED", _FIRST_SEED))

    def draw(count: int) -> Iterator[int]:
        if _ENDS not in os.environ:
            yield from range(first, first + count)
            return
        items = [item for item in request.session.items if "seeds" in getattr(item, "fixturenames", ())]
        together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        left = float(os.environ[_ENDS]) - time.time()
        end = time.monotonic() + min(left, left * together / (len(items) - items.index(request.node)))
        for seed in itertools.count(first):
            yield seed
            if time.monotonic() > end:
                return

    return draw


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A process that reads crafted files, and may die of them."""
    with Stage(tmp_path_factory.mktemp("stage")) as process:
        yield process


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, stage: Stage, tiny_dataset: PreparedDataset) -> dict[str, Scene]:
    """Each command with what it begins with; `pictures` has data with pictures alone."""
    made = made_in(tmp_path_factory.mktemp("before"), stage)
    pictures = tmp_path_factory.mktemp("pictures")
    shutil.copytree(tiny_dataset.folder.path, pictures / "data")
    return {**made, "pictures": Scene("pictures", pictures, ())}


# --- Counting -----------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What a test breaks that is expected to fail is not counted as broken."""
    before = LEDGER.broken.copy()
    result = yield
    if item.get_closest_marker("xfail"):
        LEDGER.broken = before
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Adds what another process has counted."""
    LEDGER.add(getattr(node, "workeroutput", {}).get("faults", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the counts over, or judges the sum."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["faults"] = LEDGER.plain()
    elif LEDGER.broken.total() or LEDGER.shortfall():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    terminalreporter.section("faults")
    for line in [*LEDGER.lines(), *(f"FEWER THAN PROMISED: {words}" for words in LEDGER.shortfall())]:
        terminalreporter.write_line(line)
