"""What a sweep costs beside training.

    make bench

Training in one process, specimens per second; and the share of a sweep's wall time that is not training.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.measuring import publish
from orchestrator.inventory import resources_at
from orchestrator.prepare import run_on_ray
from orchestrator.progress import SweepDisplay
from orchestrator.request import SweepRequest, points_of
from orchestrator.session import ray_session
from orchestrator.sweep import run_sweep
from orchestrator.workers import Wanted
from sweeps import SWEEPS
from sweeps.point import Point
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import synthetic_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.execution import Execution
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.record import find_runs
from workloads.storage import Folder
from workloads.training.loop import fit
from workloads.training.report import Report
from workloads.training.step import Training

NUM_SPECIMENS = 2000
WANTED = DatasetOptions(name="data", image_size=48)  # smaller than the drawings, so that every image is resized


def main() -> None:
    """Run both parts and write the figures."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        folder = Path(scratch)
        table = SpecimenTable.at(folder / "specimens.parquet")
        collect(synthetic_source(NUM_SPECIMENS, seed=1), table)
        table.with_splits(partition(table.column("species")), "paper, seed 42", table)
        prepare(table, Folder(folder / "data"), WANTED, run_on_ray)
        publish("spine", {"specimens": NUM_SPECIMENS, "training": training(folder), "sweep": sweep(folder)})


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def training(folder: Path) -> dict[str, float]:
    """The loop alone in this process, on all cores: bf16 and fp32."""
    torch.set_num_threads(os.cpu_count() or 1)
    dataset = PreparedDataset(Folder(folder / "data"))
    request = SweepRequest(sweeps=(SWEEPS["amp"],), scale="small", data=dataset, runs=Folder(folder / "runs"))
    found: dict[str, float] = {}
    for point in points_of(request).all:
        assert isinstance(point, Point)
        spec = replace(point.spec, epochs=3)
        experiment = open_untrained(spec, dataset)
        specimens = experiment.specimens(dataset, dataset.facts.splits.training)
        run = Training(spec, experiment.model, len(specimens), Placement(), Execution())
        reports: list[Report] = []
        fit(run, specimens, [reports.append])
        epochs = [report for report in reports if report.event == "epoch"]
        found[f"{spec.precision}_specimens_per_second"] = max(report.specimens_per_second for report in epochs)
    return found


def sweep(folder: Path) -> dict[str, float]:
    """The amp sweep (two runs, two workers each): where its wall time goes."""
    request = SweepRequest(
        sweeps=(SWEEPS["amp"],),
        scale="small",
        data=PreparedDataset(Folder(folder / "data")),
        runs=Folder(folder / "runs"),
    )
    resources, _ = resources_at(None, Wanted(cpu_only=True))
    wall = seconds_of(lambda: run_sweep(points_of(request), resources, SweepDisplay(Console(stderr=True))))
    runs = [run.status() for run in find_runs(request.runs, "amp")]
    trained = sum(run["training_seconds"] for run in runs)
    evaluated = sum(run["evaluation_seconds"] for run in runs)
    return {
        "wall_seconds": wall,
        "training_seconds": trained,
        "evaluation_seconds": evaluated,
        "share_not_training": 1 - trained / wall,
        "other_seconds_per_run": (wall - trained - evaluated) / len(runs),
    }


if __name__ == "__main__":
    main()
