"""Faults and crafted inputs, each of which is drawn by a seed and counted. `make test-faults` runs them.

Read from the environment: SEED, from which all are drawn; MINUTES, as `make soak` has it, in place of a fixed number;
FAULTS and INPUTS, which are the least that have to be reached.
"""

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

_FIRST_SEED = 16
Seeds = Callable[[int], Iterator[int]]


def pytest_configure(config: pytest.Config) -> None:
    """A long run has seeds that no earlier one had, the same in all of its processes."""
    if "MINUTES" in os.environ:
        os.environ.setdefault("SEED", str(random.SystemRandom().randrange(10**9)))


def pytest_report_header() -> str:
    return f"faults: SEED={os.environ.get('SEED', _FIRST_SEED)} MINUTES={os.environ.get('MINUTES', '-')}"


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Seeds:
    """As many seeds as are asked for; in a long run new ones until the test's share of its time is over."""
    first = int(os.environ.get("SEED", _FIRST_SEED))

    def draw(count: int) -> Iterator[int]:
        if "MINUTES" not in os.environ:
            yield from range(first, first + count)
            return
        tests = [item for item in request.session.items if "seeds" in getattr(item, "fixturenames", ())]
        together = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        end = time.monotonic() + 60 * float(os.environ["MINUTES"]) * together / len(tests)
        seed = first
        while seed == first or time.monotonic() < end:
            yield seed
            seed += 1

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
