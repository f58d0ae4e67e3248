"""A training that is watched, of which something stands still, run by test_watch.py once for each rank.

python watched_trainer.py HOW RANK NUM_WORKERS FOLDER

HOW: `hangs`, the batch of step 1 never comes; `sleeps`, the last worker stops itself; `asked`, it goes on to a signal.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from workloads.command_line import run_command
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.spec import spec_from_dict
from workloads.stopping import stop_by_signals
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.report import Report
from workloads.training.step import Training
from workloads.training.watch import Watch


def main() -> None:
    """Train with two processes that prepare batches."""
    how, rank, num_workers, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    if num_workers > 1:
        meeting = (folder / "meeting").as_uri()
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_workers)
    asked = json.loads((folder / "asked.json").read_text())
    spec, dataset = spec_from_dict(asked["spec"]), PreparedDataset(Folder(asked["data"]))
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    if how == "hangs":
        make_hang(specimens, after=2 * len(specimens.modalities))  # one is tried with, and one trained on
    placement = Placement(torch.device("cpu"), rank, num_workers, loader_processes=0 if how == "sleeps" else 1)
    training = Training(spec, experiment.model, len(specimens.trained), placement, Execution())
    store = CheckpointStore(Folder(folder / "runs"))

    def listener(report: Report) -> None:
        if report.event == "step":
            (folder / "trains").touch()
            if how == "asked":
                time.sleep(1)  # so that the signal comes in a step, and others are to follow
            elif how == "sleeps" and rank == num_workers - 1 and report.step == 1:
                os.kill(os.getpid(), signal.SIGSTOP)

    with stop_by_signals() as stop, Watch(f"worker {rank}", patience=3.0 if how != "asked" else 600.0) as watch:
        fit(training, specimens, [listener], store, stop=stop, watch=watch)


def make_hang(specimens: Specimens, after: int) -> None:
    """After so many inputs the next one never comes, as from a disk that hangs."""
    inputs, given = specimens.inputs, 0

    def hanging(*asked: Any) -> Tensor:
        nonlocal given
        given += 1
        if given > after:
            time.sleep(10_000)
        return inputs(*asked)

    specimens.inputs = hanging  # type: ignore[method-assign]


if __name__ == "__main__":
    run_command(main)
