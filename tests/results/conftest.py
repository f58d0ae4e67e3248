"""Finished run folders, as the orchestrator leaves them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sweeps import SWEEPS
from sweeps.point import Point
from workloads.experiments import Data, base_spec
from workloads.record import EventLog, Measurement, RunFolder, State, measurements_to_table
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

Values = Mapping[tuple[str, str, str, str], float]
"""Accuracies by average, species, query and key."""


def _base(seed: int = 42, dataset: str = "insects", synthetic: bool = False) -> ExperimentSpec:
    modalities = ("image", "dna", "text")
    data = Data(name=dataset, fingerprint="0123abcd-256", synthetic=synthetic, modalities=modalities)
    return base_spec("paper", data, seed=seed)


def _measurements(values: Values) -> list[Measurement]:
    return [
        Measurement(
            partition="val",
            level="species",
            average=average,
            species=species,
            query=query,
            key=key,
            value=value,
            count=10,
        )
        for (average, species, query, key), value in values.items()
    ]


def _amp_points(seed: int = 42, dataset: str = "insects", synthetic: bool = False) -> dict[bool, Point]:
    points = SWEEPS["amp"].points(_base(seed, dataset, synthetic), "paper")
    return {bool(point.row["amp"]): point for point in points}


def _write_run(
    runs: Folder,
    point: Point,
    values: Values | float,
    *,
    state: State = "finished",
    started: str = "2026-01-01T00:00:00Z",
    scale: str = "paper",
    allocated_gb: float = 30.0,
) -> str:
    """Writes a run folder as the orchestrator leaves it; one value alone is that of DNA to DNA. Returns its id."""
    if isinstance(values, float):
        values = {("micro", "all", "dna", "dna"): values}
    run = RunFolder(runs / "amp" / point.spec.id)
    source = {"started": started, "commit": "abc", "clibd": "0.1.0", "argv": ["clibd-sweep", "amp"]}
    run.begin(point.spec, {"row": dict(point.row), "label": point.label, "scale": scale}, source)
    log = EventLog(run, 0)
    log.add({"event": "step", "epoch": 0, "step": 0, "loss": 3.0})
    for epoch, seconds in enumerate((3600.0, 7200.0)):
        cost = {
            "seconds": seconds,
            "allocated_gb": allocated_gb,
            "papers_memory_gb": 2 * allocated_gb + (epoch if allocated_gb else 0),
        }
        curve = {"loss": 2.0 - epoch, "temperature": 0.07, "specimens_per_second": 100.0}
        log.add({"event": "epoch", "epoch": epoch, "step": epoch, **cost, **curve})
    log.flush()
    run.folder.write_table("measurements.parquet", measurements_to_table(_measurements(values)))
    counts = {"num_parameters": 10, "num_trained_parameters": 5, "num_workers": 2}
    run.finish(state, training_seconds=9.0, evaluation_seconds=1.0, device="CPU", **counts)
    return run.id


@pytest.fixture
def runs(tmp_path: Path) -> Folder:
    """Where the runs of a test lie."""
    return Folder(tmp_path / "runs")


@pytest.fixture(scope="session")
def amp_points() -> Callable[..., dict[bool, Point]]:
    """Gives the points of the sweep over AMP, by whether it is on: of which seed, data set and kind."""
    return _amp_points


@pytest.fixture
def write_run(runs: Folder) -> Callable[..., str]:
    """Leaves a run of the sweep over AMP behind."""
    return partial(_write_run, runs)


@pytest.fixture
def golden_runs(runs: Folder) -> Folder:
    """Two seeds with bf16, one in fp32, and the floor of one retrieval."""
    places = [(average, "all", q, k) for average in ("micro", "macro") for q, k in (("dna", "dna"), ("image", "dna"))]
    for seed, shift in ((42, 0.0), (43, 0.02)):
        values = {place: 0.9 - 0.1 * number + shift for number, place in enumerate(places)}
        values["micro", "seen", "dna", "dna"] = 0.95 + shift
        _write_run(runs, _amp_points(seed, synthetic=True)[True], values)
    _write_run(runs, _amp_points(synthetic=True)[False], {places[0]: 0.9867}, allocated_gb=0.0)
    [floor] = _measurements({("micro", "seen", "dna", "dna"): 0.875})
    floors = measurements_to_table([replace(floor, method="kmer_nearest_neighbour")])
    (runs / "amp").write_table("floors-insects-0123abcd-256.parquet", floors)
    return runs
