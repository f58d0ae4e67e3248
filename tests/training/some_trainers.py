"""One of some workers that train by turns, more of them or fewer, run by test_shares.py once for each rank.

python some_trainers.py RANK FOLDER

FOLDER holds `asked.json`, and takes `losses.json` of the steps that were taken.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.run_errors import StoppedError
from workloads.spec import spec_from_dict
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.report import Report
from workloads.training.step import Training


class StopAllError(Exception):
    """What ends the other workers, which are not asked."""


def main(rank: int, folder: Path) -> None:
    """Every case, turn by turn."""
    torch.set_num_threads(1)
    asked = json.loads((folder / "asked.json").read_text())
    dataset, losses = PreparedDataset(Folder(asked["data"])), dict[str, list[float]]()
    for name, case in asked["cases"].items():
        losses[name] = []
        for num_workers, until in case["turns"]:
            if rank >= num_workers:
                continue
            if num_workers > 1:
                meeting = (folder / f"{name}-{num_workers}-{until}").as_uri()
                dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_workers)
            losses[name] += turn(case, until, dataset, CheckpointStore(Folder(folder / "runs" / name)))
            if num_workers > 1:
                dist.destroy_process_group()
    if rank == 0:
        (folder / "losses.json").write_text(json.dumps(losses))


def turn(case: Mapping[str, Any], until: int, dataset: PreparedDataset, store: CheckpointStore) -> list[float]:
    """Go on from the newest checkpoint to a step; gives the losses."""
    spec = spec_from_dict(case["spec"])
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    placement, execution = Placement.here(torch.device("cpu")), Execution(**case["execution"])
    training = Training(spec, experiment.model, len(specimens.trained), placement, execution)
    training.resume(store, sys.exit)
    losses: list[float] = []

    def listener(report: Report) -> None:
        if report.event == "step":
            losses.append(report.loss)
        ends = report.event == "epoch" or training.step % training.steps_per_epoch
        if placement.rank and training.step == until and ends:  # what ends an epoch is done by all together
            raise StopAllError

    with suppress(StoppedError, StopAllError):
        fit(training, specimens, [listener], store, stop=lambda: "may grow" if training.step == until else None)
    return losses


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
