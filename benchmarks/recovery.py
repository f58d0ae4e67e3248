"""What a killed worker and a killed node cost, against Ray Train's own retry, and what a driver takes while it waits.

    python -m benchmarks.recovery

Goals: at most 30 s beyond Ray's own retry from a killed worker and 60 s from a killed node, and at most 2 % of a core.
Both sides train with two workers in turn, on three logical nodes of which one is spare, until a worker or its node is
killed. A bare trainer has recovered when its loop begins again; a run of ours when it has trained a further epoch,
which takes longer by the building of its towers and the epoch itself.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
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
GOALS = {"worker_seconds_beyond_ray": 30.0, "node_seconds_beyond_ray": 60.0, "idle_share_of_a_core": 0.02}

Lose = Callable[[], None]


class Nodes:
    """A head without processors, and a node more than a group of workers takes, of one processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._cluster.add_node(num_cpus=0, include_dashboard=False)
        self.address = str(self._cluster.address)
        self.fill()

    def fill(self) -> None:
        """Add what was lost."""
        while len(self._cluster.list_all_nodes()) < 1 + NUM_WORKERS + 1:
            self._cluster.add_node(num_cpus=1, include_dashboard=False)

    def lose_worker(self) -> None:
        """Kill a worker that trains."""
        psutil.Process(_a_worker()["Pid"]).kill()

    def lose_node(self) -> None:
        """Kill the node of one."""
        lost = _a_worker()["Address"]["NodeID"]
        [node] = [node for node in self._cluster.list_all_nodes() if node.node_id == lost]
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        """Take the nodes away."""
        self._cluster.shutdown()


def _a_worker() -> Mapping[str, Any]:
    """What Ray knows of a worker that lives."""
    import ray

    actors = ray._private.state.actors().values()
    alive = [each for each in actors if (each["ActorClassName"], each["State"]) == ("RayTrainWorker", "ALIVE")]
    found: Mapping[str, Any] = alive[-1]
    return found


def main() -> None:
    nodes = Nodes()
    losses = {"worker": nodes.lose_worker, "node": nodes.lose_node}
    found: dict[str, dict[str, list[float]]] = {what: {"ray": [], "ours": []} for what in losses}
    try:
        with tempfile.TemporaryDirectory() as scratch, ray_session(nodes.address):
            data = prepared(Path(scratch))
            for number in range(ROUNDS):
                for what, lose in losses.items():
                    place = f"{scratch}/{what}-{number}"
                    nodes.fill()
                    found[what]["ray"].append(of_ray(Path(f"{place}-ray"), lose))
                    nodes.fill()
                    found[what]["ours"].append(of_ours(begun(data, Folder(f"{place}-ours")), lose))
            idle = waiting(begun(data, Folder(f"{scratch}/waiting"), Resources(cpus_per_worker=999, wait=IDLE + 10)))
    finally:
        nodes.end()
    beyond = {
        f"{what}_seconds_beyond_ray": median(seconds["ours"]) - median(seconds["ray"])
        for what, seconds in found.items()
    }
    figures = {**beyond, "idle_share_of_a_core": idle}
    met = all(figures[name] <= goal for name, goal in GOALS.items())
    publish("recovery", {"seconds": found, "workers": NUM_WORKERS, **figures, "goals": GOALS, "met": met})


def of_ray(folder: Path, lose: Lose) -> float:
    """Seconds from a loss until the loop begins again."""
    import ray.train
    from ray.train.torch import TorchTrainer

    folder.mkdir()
    lost = list[float]()

    def lose_once_it_trains() -> None:
        while not Path(folder, "trains").exists():
            time.sleep(0.1)
        lost.append(time.time())
        lose()

    losing = threading.Thread(target=lose_once_it_trains)
    losing.start()
    TorchTrainer(
        _train_twice,
        train_loop_config={"folder": str(folder)},
        scaling_config=ray.train.ScalingConfig(num_workers=NUM_WORKERS, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name="bare", storage_path=str(folder), failure_config=ray.train.FailureConfig(max_failures=1)
        ),
    ).fit()
    losing.join()
    return float(Path(folder, "again").read_text()) - lost[0]


def _train_twice(config: Mapping[str, Any]) -> None:
    """The first time until a worker is lost."""
    import ray.train

    trains, again = Path(config["folder"], "trains"), Path(config["folder"], "again")
    if ray.train.get_context().get_world_rank() == 0:
        if trains.exists():
            again.write_text(str(time.time()))
        else:
            time.sleep(3)  # a worker that dies at once is no worker's failure to Ray
            trains.touch()
    while not again.exists():
        time.sleep(0.1)


def begun(data: Folder, runs: Folder, resources: Resources | None = None) -> Task:
    spec = with_fields(base_spec("small", PreparedDataset(data).facts.data, "corrected", 42), ["epochs=4"])
    run = RunFolder(runs / spec.id)
    run.begin(spec, {}, {})
    resources = resources or Resources(num_workers=NUM_WORKERS)
    return Task(spec=spec, run=str(run.folder), data=str(data), resources=resources, places={})


def of_ours(task: Task, lose: Lose) -> float:
    """Seconds from a loss until the run has trained a further epoch."""
    told: list[float] = []

    def hear(epoch: Mapping[str, Any]) -> None:
        told.append(time.time())
        if len(told) == 1:
            lose()
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
