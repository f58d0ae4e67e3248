"""Made-up runs in every state, made once for all tests of pages."""

from functools import cache
from pathlib import Path

import pytest

from benchmarks.made_up_runs import make_runs
from benchmarks.made_up_training import beat
from results.dashboard.catalog import Catalog
from workloads.storage import Folder


@cache
def _made(top: Path, hostile: bool) -> Folder:
    folder = Folder(top / f"made-up-{hostile}")
    make_runs(folder, 12, 3000, num_keys=2, seed=3, hostile=hostile)
    return folder


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Twelve runs; tests leave them as they are."""
    return _made(tmp_path_factory.getbasetemp(), hostile=False)


@pytest.fixture
def catalog(made_up: Folder) -> Catalog:
    """Of these, just looked at: what runs is live."""
    beat(made_up)
    return Catalog(made_up)


@pytest.fixture
def hostile_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Of others whose names try to be something else than text."""
    folder = _made(tmp_path_factory.getbasetemp(), hostile=True)
    beat(folder)
    return Catalog(folder)


def in_state(catalog: Catalog, state: str) -> list[str]:
    """Ids of the runs in a state, as their folders say it."""
    begun = [one for one in catalog.standings if one.run and one.folder]
    states = {one.run: "damaged" if catalog.run(one.run).is_damaged else one.state for one in begun if one.run}
    return [run for run, own in states.items() if own == state]
