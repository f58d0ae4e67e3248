"""The first benchmark: preparation, training, and what a sweep costs beside training.

    make bench

Preparation through Ray Data against the same work in one plain loop; training in one process, specimens per second; and
the share of a sweep's wall time that is not training. Writes JSON named after commit and hardware, and prints it.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from rich.console import Console

from orchestrator.prepare import prepare
from orchestrator.progress import SweepDisplay
from orchestrator.resources import choose_resources
from orchestrator.session import ray_session
from orchestrator.sweep import SweepRequest, points_of, run_sweep
from workloads.data.batches import Specimens
from workloads.data.frame import consensus
from workloads.data.partition import partition
from workloads.data.prepared import PreparedDataset
from workloads.data.readers import import_synthetic
from workloads.data.schema import TRAINING_SPLITS, modalities_of
from workloads.data.shards import make_shard, plan_shards, rows_of_shards
from workloads.experiment import open_model
from workloads.record import find_runs, provenance
from workloads.storage import Folder
from workloads.training.loop import EpochReport, Event, Save, fit
from workloads.training.placement import Placement

NUM_SPECIMENS = 2000
IMAGE_SIZE = 48  # smaller than the drawings, so that every image is decoded, resized and encoded


def main() -> None:
    """Run all parts and write the figures."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        folder = Path(scratch)
        table = partitioned()
        figures = {
            "specimens": NUM_SPECIMENS,
            "preparation": preparation(table, folder),
            "training": training(folder),
            "sweep": sweep(folder),
        }
    source = provenance()
    figures |= {"hardware": hardware(), "commit": source["commit"], "packages": source["packages"]}
    text = json.dumps(figures, indent=1)
    out = Path(__file__).parent / "results" / f"spine-{source['commit']}-{hardware()}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(text + "\n")
    print(text)


def partitioned() -> pa.Table:
    table = import_synthetic(NUM_SPECIMENS, seed=1).table
    split = pa.array(partition(table["species"].to_pylist()), pa.string())
    return table.set_column(table.schema.get_field_index("split"), "split", split)


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def preparation(table: pa.Table, folder: Path) -> dict[str, float]:
    """Ray Data, cold and warm, against one plain loop over the same shards."""

    def with_ray(name: str) -> Callable[[], object]:
        return lambda: prepare(
            table,
            Folder(folder / name),
            name=name,
            root="",
            image_size=IMAGE_SIZE,
            synthetic_seed=1,
            source="benchmark",
        )

    def plain() -> None:
        frame = consensus(table["barcode"].to_pylist())
        for shard, rows in rows_of_shards(table, plan_shards(table)):
            make_shard(rows, shard, "", IMAGE_SIZE, modalities_of(table), frame, Folder(folder / "plain"))

    cold, warm, loop = seconds_of(with_ray("data")), seconds_of(with_ray("warm")), seconds_of(plain)
    return {
        "ray_data_cold_per_second": NUM_SPECIMENS / cold,
        "ray_data_warm_per_second": NUM_SPECIMENS / warm,
        "one_process_per_second": NUM_SPECIMENS / loop,
        "ray_data_warm_over_one_process": loop / warm,
    }


def training(folder: Path) -> dict[str, float]:
    """The loop alone in this process, on all cores: bf16 and fp32."""
    torch.set_num_threads(os.cpu_count() or 1)
    dataset = PreparedDataset(Folder(folder / "data"))
    request = SweepRequest(name="amp", scale="small", data=dataset.folder, runs=Folder(folder / "runs"))
    found: dict[str, float] = {}
    for point in points_of(request, dataset.facts):
        spec = replace(point.spec, epochs=3)
        model, tokenizer = open_model(spec, None, dataset.tokenizer_json())
        specimens = Specimens(dataset, TRAINING_SPLITS, spec, tokenizer)
        rates: list[float] = []
        fit(
            spec,
            model,
            specimens,
            Placement(),
            resume=None,
            on_epoch=partial(_note_rate, rates),
        )
        found[f"{spec.precision}_specimens_per_second"] = max(rates)
    return found


def _note_rate(rates: list[float], report: EpochReport, steps: Sequence[Event], save: Save) -> None:
    rates.append(report.specimens_per_second)


def sweep(folder: Path) -> dict[str, float]:
    """The amp sweep (two runs, two workers each): where its wall time goes."""
    request = SweepRequest(name="amp", scale="small", data=Folder(folder / "data"), runs=Folder(folder / "runs"))
    resources = choose_resources(num_cpus=os.cpu_count() or 1, num_gpus=0, remote=False, workers=None, cpu_only=True)
    wall = seconds_of(lambda: run_sweep(request, resources, SweepDisplay(Console(stderr=True))))
    runs = [run.status() for run in find_runs(request.runs, request.name)]
    trained = sum(run["training_seconds"] for run in runs)
    evaluated = sum(run["evaluation_seconds"] for run in runs)
    return {
        "wall_seconds": wall,
        "training_seconds": trained,
        "evaluation_seconds": evaluated,
        "share_not_training": 1 - trained / wall,
        "other_seconds_per_run": (wall - trained - evaluated) / len(runs),
    }


def hardware() -> str:
    """A word for the machine: its accelerator, or processor and cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name().replace(" ", "-").lower()
    return f"{platform.machine()}-{os.cpu_count()}cores"


if __name__ == "__main__":
    main()
