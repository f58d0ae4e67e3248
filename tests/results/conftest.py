"""Finished run folders, as the orchestrator leaves them, and evaluated ones that somebody names."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweeps import SWEEPS
from sweeps.point import Base, Point
from workloads.experiments import Data, Experiment, base_spec, experiment_spec
from workloads.record import Measurement, RunFolder, State, measurements_to_table
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.storage import Folder

Values = Mapping[tuple[str, str, str, str], float]
"""Accuracies by average, species, query and key."""
DATA = Data(name="insects", fingerprint="0123abcd-256", synthetic=False, modalities=("image", "dna", "text"))
FACTS = {
    "dataset": "insects",
    "data_fingerprint": "0123abcd-256",
    "synthetic": False,
    "recipe": "corrected",
    "missing_rank": "left_out",
}
OFFICIAL = {"official_split": "bioscan_1m", "missing_rank": "a_class"}
"""What an evaluation says that may be compared with the paper's."""


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
    data = replace(DATA, name=dataset, synthetic=synthetic)
    base = Base(spec=base_spec("paper", data, seed=seed), scale="paper", data=data)
    points = [point for point in SWEEPS["amp"].points(base) if isinstance(point, Point) and point.row]
    return {bool(point.row["amp"]): point for point in points if point.row}


def _write_run(
    runs: Folder,
    point: Point,
    values: Values | float,
    *,
    state: State = "finished",
    started: str = "2026-01-01T00:00:00Z",
    scale: str = "paper",
    allocated_gb: float = 30.0,
    evaluation: Mapping[str, Any] | None = None,
    more: Sequence[Measurement] = (),
) -> str:
    """Writes a run folder as the orchestrator leaves it; one value alone is that of DNA to DNA. Returns its id."""
    if isinstance(values, float):
        values = {("micro", "all", "dna", "dna"): values}
    run = RunFolder(runs / "amp" / point.spec.id)
    source = {"started": started, "commit": "abc", "clibd": "0.1.0", "argv": ["clibd-sweep", "amp"]}
    run.begin(point.spec, {"row": dict(point.row or {}), "label": point.label, "scale": scale}, source)
    events: list[dict[str, object]] = [{"event": "step", "epoch": 0, "step": 0, "loss": 3.0}]
    for epoch, seconds in enumerate((3600.0, 7200.0)):
        cost = {
            "seconds": seconds,
            "allocated_gb": allocated_gb,
            "papers_memory_gb": 2 * allocated_gb + (epoch if allocated_gb else 0),
        }
        curve = {"loss": 2.0 - epoch, "temperature": 0.07, "specimens_per_second": 100.0}
        events.append({"event": "epoch", "epoch": epoch, "step": epoch, **cost, **curve})
    run.folder.write("events.jsonl", "".join(f"{json.dumps(event)}\n" for event in events).encode())
    run.folder.write_table("measurements.parquet", measurements_to_table([*more, *_measurements(values)]))
    if evaluation is not None:
        own = {"dataset": point.spec.dataset, "synthetic": point.spec.synthetic}
        run.folder.write_json("evaluation.json", {**FACTS, **own, **evaluation})
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
    """Two seeds with bf16, one in fp32, with chance, and the floor of one retrieval."""
    places = [(average, "all", q, k) for average in ("micro", "macro") for q, k in (("dna", "dna"), ("image", "dna"))]
    for seed, shift in ((42, 0.0), (43, 0.02)):
        values = {place: 0.9 - 0.1 * number + shift for number, place in enumerate(places)}
        chance = [replace(row, method="random_key", value=0.01) for row in _measurements({places[0]: 0.0})]
        _write_run(runs, _amp_points(seed, synthetic=True)[True], values, more=chance)
    _write_run(runs, _amp_points(synthetic=True)[False], {places[0]: 0.9867}, allocated_gb=0.0)
    [floor] = _measurements({places[0]: 0.875})
    floors = measurements_to_table([replace(floor, method="kmer_nearest_neighbour")])
    (runs / "amp").write_table("floors-insects-0123abcd-256.parquet", floors)
    return runs


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., ExperimentSpec]:
    """Gives the published form of an experiment: its name, and the seed."""

    def spec(name: Experiment, seed: int = 42) -> ExperimentSpec:
        return experiment_spec(name, "paper", DATA, seed=seed)

    return spec


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Folder]:
    """Leaves an evaluated folder: of which spec or other model, and which top-1 of images by key."""
    usual = {"partition": "test", "average": "macro", "level": "species", "query": "image", "species": "seen"}

    def leave(
        name: str,
        spec: ExperimentSpec | None,
        values: Mapping[str, float],
        facts: Mapping[str, Any] | None = None,
        **where: Any,
    ) -> Folder:
        folder = Folder(tmp_path / name)
        if spec is not None:
            folder.write_json("spec.json", spec_to_dict(spec))
            folder.write_json("point.json", {"label": f"run {name}", "scale": "paper"})
            folder.write_json("status.json", {"state": "finished"})
        folder.write_json("evaluation.json", {**FACTS, **(facts or {})})
        rows = [Measurement(**{**usual, **where}, key=key, value=value, count=5) for key, value in values.items()]
        decoys = [replace(row, method="linear_cca", value=0.01) for row in rows]
        decoys += [replace(row, keys="own", value=0.99) for row in rows]
        decoys += [replace(row, metric="top5", value=0.98) for row in rows]
        folder.write_table("measurements.parquet", measurements_to_table([*decoys, *rows]))
        return folder

    return leave
