"""One of two workers that train a tower with batch normalisation, run by test_placement.py once for each rank.

python two_trainers.py RANK FOLDER

FOLDER holds `asked.json`, the address of the data set and the spec, and takes `RANK.json`.
"""

import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.execution import Execution
from workloads.models.loaded import open_untrained
from workloads.placement import Placement, join_group
from workloads.spec import spec_from_dict
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.report import EpochReport, Report
from workloads.training.step import Training


class Watcher:
    """Adds up what the epochs' rates come to."""

    def __init__(self) -> None:
        self.trained: list[float] = []

    def __call__(self, report: Report) -> None:
        if isinstance(report, EpochReport):
            self.trained.append(report.specimens_per_second * report.seconds)


def main(rank: int, folder: Path) -> None:
    """Train an epoch, and then find a checkpoint that the other worker does not."""
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    join_group(torch.device("cpu"), timedelta(minutes=5), init_method=meeting, rank=rank, world_size=2)
    asked = json.loads((folder / "asked.json").read_text())
    spec, dataset = spec_from_dict(asked["spec"]), PreparedDataset(Folder(asked["data"]))
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    placement = Placement.here(torch.device("cpu"))
    training = Training(spec, experiment.model, len(specimens), placement, Execution(micro_batch=8))
    store = CheckpointStore(Folder(folder / f"of-{rank}"))
    scored: list[float] = []
    drawn: list[str] = []
    watcher = Watcher()

    def hear(_: object, given: tuple[dict[str, torch.Tensor]]) -> None:
        """What the dropout of this pass is about to draw from, if it is one of specimens."""
        if given[0]:
            drawn.append(hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest())

    experiment.model.register_forward_pre_hook(hear)

    def score() -> float:
        scored.append(sum(float(value.double().abs().sum()) for value in experiment.model.state_dict().values()))
        return 0.5

    fit(training, specimens, [watcher], store=store, score=score)
    # Only the first worker kept checkpoints, and this folder is its own: the other begins anew.
    training.step = 0
    try:
        training.resume(store, print)
        refused = ""
    except UsageError as error:
        refused = str(error)
    (folder / f"{rank}.json").write_text(
        json.dumps({"scored": scored, "refused": refused, "drawn": drawn, "trained": watcher.trained})
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
