"""What a killed worker costs, against Ray Train's own retry, and what a driver takes of a core while it waits.

    python -m benchmarks.recovery

Goals: at most 30 s beyond Ray's own retry, and at most 2 % of a core. Both sides train with two workers in one session
of Ray, in turn, until one worker is killed. A bare trainer has recovered when its loop begins again; a run of ours when
it has trained a further epoch, which takes longer by the building of its towers and the epoch itself.
"""

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.measuring import publish
from benchmarks.ray_train import NUM_WORKERS, prepared
from orchestrator.fleet import Resources
from orchestrator.readiness import Task
from orchestrator.session import ray_session
from orchestrator.train import run_to_its_end
from workloads.data.prepared.dataset import PreparedDataset
from workloads.experiments import base_spec
from workloads.fields import with_fields
from workloads.record import RunFolder
from workloads.storage import Folder

ROUNDS = 3
IDLE = 30.0
"""Seconds of waiting that are looked at."""
GOALS = {"seconds_beyond_ray": 30.0, "idle_share_of_a_core": 0.02}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        data = prepared(Path(scratch))
        found: dict[str, list[float]] = {"ray": [], "ours": []}
        for number in range(ROUNDS):
            found["ray"].append(of_ray(Path(scratch, f"ray-{number}")))
            found["ours"].append(of_ours(begun(data, Folder(f"{scratch}/ours-{number}"))))
        idle = waiting(begun(data, Folder(f"{scratch}/waiting"), Resources(cpus_per_worker=999, wait=IDLE + 10)))
    beyond = median(found["ours"]) - median(found["ray"])
    figures = {"seconds_beyond_ray": beyond, "idle_share_of_a_core": idle}
    met = all(figures[name] <= goal for name, goal in GOALS.items())
    publish("recovery", {"seconds": found, "workers": NUM_WORKERS, **figures, "goals": GOALS, "met": met})


def of_ray(folder: Path) -> float:
    """Seconds from a worker's death until the loop begins again."""
    import ray.train
    from ray.train.torch import TorchTrainer

    folder.mkdir()
    TorchTrainer(
        _die_once,
        train_loop_config={"folder": str(folder)},
        scaling_config=ray.train.ScalingConfig(num_workers=NUM_WORKERS, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name="bare", storage_path=str(folder), failure_config=ray.train.FailureConfig(max_failures=1)
        ),
    ).fit()
    return float(Path(folder, "again").read_text()) - float(Path(folder, "died").read_text())


def _die_once(config: Mapping[str, Any]) -> None:
    import ray.train

    died, again = Path(config["folder"], "died"), Path(config["folder"], "again")
    if ray.train.get_context().get_world_rank() != NUM_WORKERS - 1:
        while not again.exists():  # the first time until it is ended for the other
            time.sleep(0.1)
    elif died.exists():
        again.write_text(str(time.time()))
    else:
        time.sleep(3)  # a worker that dies at once is no worker's failure to Ray
        died.write_text(str(time.time()))
        os._exit(7)


def begun(data: Folder, runs: Folder, resources: Resources | None = None) -> Task:
    spec = with_fields(base_spec("small", PreparedDataset(data).facts.data, "corrected", 42), ["epochs=4"])
    run = RunFolder(runs / spec.id)
    run.begin(spec, {}, {})
    resources = resources or Resources(num_workers=NUM_WORKERS)
    return Task(spec=spec, run=str(run.folder), data=str(data), resources=resources, places={})


def of_ours(task: Task) -> float:
    """Seconds from a worker's death until it has trained a further epoch."""
    import ray
    from ray.util.state import list_actors

    told: list[float] = []

    def hear(epoch: Mapping[str, Any]) -> None:
        told.append(time.time())
        if len(told) == 1:
            here = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
            filters = [("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")]
            psutil.Process(list_actors(address=here, filters=filters)[-1].pid).kill()
            told.append(time.time())

    run_to_its_end(task, told=hear)
    return told[2] - told[1]


def waiting(task: Task) -> float:
    """Share of a core that waiting for machines takes; the session's own process waits, as a trial's would."""
    from workloads.run_errors import WaitedError

    shares: list[float] = []

    def look() -> None:
        time.sleep(5)
        began = time.process_time()
        time.sleep(IDLE)
        shares.append((time.process_time() - began) / IDLE)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        run_to_its_end(task)
    except WaitedError:
        looking.join()
    return shares[0]


if __name__ == "__main__":
    main()
