"""What Weights & Biases costs a training that it is told of; goal: at most 1 % of its time.

    python -m benchmarks.wandb_share

One process trains the small towers on the same synthetic insects again and again, in turn without W&B, with it offline,
and with it online where nothing answers. Compared are the processor's time of the training process, which other work on
the machine does not change, and the clock's, in which W&B's own process has its part where cores are scarce.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
from scipy import stats

from benchmarks.measuring import publish
from benchmarks.ray_train import BATCH_SIZE, prepared
from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.experiments import base_spec
from workloads.fields import with_fields
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.record import RunFolder, provenance
from workloads.storage import Folder
from workloads.training.loop import fit
from workloads.training.report import event_log
from workloads.training.step import Training
from workloads.training.wandb_log import WandbMode, wandb_log

MODES: tuple[WandbMode, ...] = get_args(WandbMode)
ROUNDS = 5
EPOCHS = 2
GOAL = 1.01
_NOWHERE = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40, "WANDB_SILENT": "true"}
"""Nothing listens at port 9, and the key is nobody's."""


def main() -> None:
    os.environ.update(_NOWHERE)
    found: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dataset = PreparedDataset(prepared(folder))
        trained(dataset, folder / "warm", "off")
        for number in range(ROUNDS):
            for turn in range(len(MODES)):
                mode = MODES[(number + turn) % len(MODES)]
                found[mode].append(trained(dataset, folder / f"{mode}-{number}", mode))
    ratios = {
        mode: {"processor": ratio(found[mode], found["off"], 0), "clock": ratio(found[mode], found["off"], 1)}
        for mode in MODES[1:]
    }
    met = all(each["processor"]["ratio"] <= GOAL for each in ratios.values())
    seconds = {
        mode: {"processor": [cpu for cpu, _ in own], "clock": [wall for _, wall in own]} for mode, own in found.items()
    }
    about = {"batch_size": BATCH_SIZE, "epochs": EPOCHS, "n": ROUNDS, "goal": GOAL, "met_by_processor": met}
    publish("wandb_share", {**about, "over_off": ratios, "seconds": seconds})


def trained(dataset: PreparedDataset, folder: Path, mode: WandbMode) -> tuple[float, float]:
    """Seconds of the processor, in this process, and of the clock, of the epochs of one training."""
    spec = base_spec("small", dataset.facts.data)
    spec = with_fields(spec, [f"batch_size={BATCH_SIZE}", f"epochs={EPOCHS}", "first_selected_epoch=0"])
    run = RunFolder(Folder(folder))
    run.begin(spec, {}, provenance([]))
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    training = Training(spec, experiment.model, len(specimens.trained), Placement(), Execution())
    with wandb_log(run, mode):
        processor, clock = time.process_time(), time.perf_counter()
        fit(training, specimens, [event_log(run, 0)])
        return time.process_time() - processor, time.perf_counter() - clock


def ratio(these: list[tuple[float, float]], those: list[tuple[float, float]], which: int) -> dict[str, float]:
    """Their geometric mean ratio over the rounds, and its 95 % interval by Student's t of the logarithms."""
    logs = np.log([one[which] / other[which] for one, other in zip(these, those, strict=True)])
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return {"ratio": float(mean), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
