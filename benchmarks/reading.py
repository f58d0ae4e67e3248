"""Reading for training: torch's DataLoader over mapped shards against Ray Data, the same batches in the same order.

    python -m benchmarks.reading

Both make augmented batches in two processes from the same local copy, as a pure function of (seed, epoch, step); warm,
in turn, best of five. Ray Data is given the steps in order and told to keep them so, which is the only way in which it
can give every worker the promised specimens.
"""

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.measuring import publish
from benchmarks.preparation import make_table
from orchestrator.session import ray_session
from workloads.data.inputs.batches import EpochBatches, Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.experiments import base_spec
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

NUM_SPECIMENS = 8000
BATCH_SIZE = 256
REPEATS = 5
NUM_PROCESSES = 2


def main() -> None:
    """Measure, print, and keep the figures."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        folder = Path(scratch)
        table = make_table(folder / "source", NUM_SPECIMENS, 256)
        prepare(table, Folder(folder / "data"), DatasetOptions(name="data", image_size=256), map)
        dataset = PreparedDataset(Folder(folder / "data"))
        spec = spec_for(dataset)
        rates: dict[str, list[float]] = {"dataloader": [], "ray_data": []}
        for repeat in range(REPEATS + 1):  # the first one warms both up
            for name, feed in (("dataloader", from_dataloader), ("ray_data", from_ray_data)):
                rate = specimens_per_second(feed(dataset, spec, repeat))
                rates[name] += [rate] if repeat else []
                print(f"{name}: {rate:.0f} specimens/s", file=sys.stderr)
        first = next(iter(from_dataloader(dataset, spec, 0)))
        same = next(iter(from_ray_data(dataset, spec, 0)))
        equal = all(np.array_equal(first[key].numpy(), same[key]) for key in first)
    best = {name: max(values) for name, values in rates.items()}
    publish(
        "reading",
        {
            "data": "synthetic",
            "processes": NUM_PROCESSES,
            "same_batches": equal,
            **{f"{name}_specimens_per_second": value for name, value in best.items()},
            "ray_data_over_dataloader": best["ray_data"] / best["dataloader"],
        },
    )


def spec_for(dataset: PreparedDataset) -> ExperimentSpec:
    data = replace(dataset.facts.data, modalities=("image", "dna"))
    base = base_spec("small", data)
    return replace(base, batch_size=BATCH_SIZE, image=replace(base.image, image_size=224))


def open_epoch(address: str, spec: ExperimentSpec, epoch: int) -> EpochBatches:
    dataset = PreparedDataset(Folder(address))
    specimens = Specimens(dataset, dataset.facts.splits.training, spec, None)
    return EpochBatches(specimens, spec, epoch)


def from_dataloader(dataset: PreparedDataset, spec: ExperimentSpec, epoch: int) -> Iterable[dict[str, Any]]:
    batches = open_epoch(str(dataset.folder), spec, epoch)
    return DataLoader(batches, batch_size=None, shuffle=False, num_workers=NUM_PROCESSES)


class _Steps:
    """An actor's work: the batch of a step."""

    def __init__(self, address: str, spec: ExperimentSpec, epoch: int) -> None:
        torch.set_num_threads(1)
        self._batches = open_epoch(address, spec, epoch)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: values.numpy() for name, values in self._batches[int(row["id"])].items()}


def from_ray_data(dataset: PreparedDataset, spec: ExperimentSpec, epoch: int) -> Iterable[dict[str, Any]]:
    import ray.data

    num_steps = len(open_epoch(str(dataset.folder), spec, epoch))
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    steps = ray.data.range(num_steps, override_num_blocks=num_steps)
    made = steps.map(
        _Steps, fn_constructor_args=(str(dataset.folder), spec, epoch), concurrency=NUM_PROCESSES, num_cpus=1
    )
    rows: Iterable[dict[str, Any]] = made.iter_rows()
    return rows


def specimens_per_second(batches: Iterable[dict[str, Any]]) -> float:
    """Over a whole epoch, with its start: a training run pays that every epoch too."""
    started, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch["image"])
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
