"""Training under Ray Train against the same loop under torchrun, two workers each; goal: at least 0.95 of its speed.

    python -m benchmarks.ray_train

Both train the small towers on the same synthetic insects in turn, and the specimens per second of their best epoch are
compared: what Ray costs while training, without what starting it costs.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import publish
from orchestrator.inventory import resources_at
from orchestrator.workers import Wanted, Workers
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import synthetic_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

NUM_SPECIMENS = 3000
NUM_WORKERS = 2
EPOCHS = 6
ROUNDS = 2
BATCH_SIZE = 200
GOAL = 0.95


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = str(prepared(folder))
        found: dict[str, list[float]] = {"torchrun": [], "ray_train": []}
        for number in range(ROUNDS):
            found["torchrun"].append(under_torchrun(data, folder / f"torchrun-{number}"))
            found["ray_train"].append(under_ray(data, folder / f"ray-{number}"))
        best = {name: max(rates) for name, rates in found.items()}
        ratio = best["ray_train"] / best["torchrun"]
        figures = {"specimens_per_second": found, "best": best, "ray_over_torchrun": ratio, "goal": GOAL}
        publish("ray_train", {"workers": NUM_WORKERS, "batch_size": BATCH_SIZE, **figures, "met": ratio >= GOAL})


def prepared(folder: Path) -> Folder:
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(synthetic_source(NUM_SPECIMENS, seed=1), table)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    prepare(table, Folder(folder / "data"), DatasetOptions(name="data", image_size=64), map)
    return Folder(folder / "data")


def under_torchrun(data: str, runs: Path) -> float:
    """Specimens per second of the best epoch."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(NUM_WORKERS)]
    command = [sys.executable, *launcher, "-m", "workloads.training", *_asked(data, runs)]
    resources, _ = resources_at(None, Wanted(cpu_only=True, workers=Workers(NUM_WORKERS, NUM_WORKERS)))
    threads = resources.threads
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=sys.stderr)
    (run,) = find_runs(Folder(runs), "train")
    return best_rate(run)


def under_ray(data: str, runs: Path) -> float:
    """The same under Ray Train."""
    command = [str(Path(sys.executable).with_name("clibd")), "train", *_asked(data, runs)]
    subprocess.run([*command, "--workers", str(NUM_WORKERS)], check=True, stdout=sys.stderr)
    (run,) = find_runs(Folder(runs), "train")
    return best_rate(run)


def _asked(data: str, runs: Path) -> list[str]:
    asked = ["align", "--data", data, "--runs", str(runs), "--scale", "small", "--cpu"]
    return [*asked, "--batch-size", str(BATCH_SIZE), "--epochs", str(EPOCHS)]


def best_rate(run: RunFolder) -> float:
    rates: Sequence[float] = [e["specimens_per_second"] for e in run.events() if e["event"] == "epoch"]
    return max(rates)


if __name__ == "__main__":
    main()
