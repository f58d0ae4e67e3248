"""What our orchestration of a run costs: a trial of a sweep against a bare trainer of Ray Train; goal: at most 1.25.

    python -m benchmarks.orchestration

Both start two workers in one session of Ray, in turn, which have nothing to train: a `TorchTrainer.fit` with an empty
loop, and a trial by the way of every sweep: Tune, its driver, the lease, the wait for room, the workers' readiness, the
process group, the attempt. A trial finds its run finished when its workers look, so that they end at once.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import publish
from benchmarks.ray_train import prepared
from orchestrator.fleet import Resources
from orchestrator.readiness import Task
from orchestrator.session import ray_session
from orchestrator.train import run_to_its_end
from orchestrator.trials import Losses, Turns, run_trials
from workloads.attempts import Attempts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.experiments import base_spec
from workloads.lease import held
from workloads.record import RunFolder
from workloads.spec import spec_from_dict, spec_to_dict
from workloads.stopping import never
from workloads.storage import Folder

NUM_WORKERS = 2
ROUNDS = 3
GOAL = 1.25
FIVE_MINUTES = 300.0


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        data = prepared(Path(scratch))
        sides: dict[str, Callable[[int], None]] = {
            "bare": lambda number: bare(f"{scratch}/bare-{number}"),
            "trial": lambda number: trial(data, Folder(f"{scratch}/runs/{number}")),
        }
        found: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(-1, ROUNDS):  # the first is of imports and caches
            for name, work in sides.items():
                began = time.perf_counter()
                work(number)
                if number >= 0:
                    found[name].append(time.perf_counter() - began)
    ratio = median(found["trial"]) / median(found["bare"])
    share = median(found["trial"]) / (median(found["trial"]) + FIVE_MINUTES)
    figures = {"seconds": found, "rounds": ROUNDS, "workers": NUM_WORKERS, "trial_over_bare": ratio, "goal": GOAL}
    figures["share_of_a_trial_that_trains_five_minutes"] = share
    publish("orchestration", {**figures, "met": ratio <= GOAL})


def bare(storage: str) -> None:
    """What Ray Train takes by itself."""
    import ray.train
    from ray.train.torch import TorchTrainer

    scaling = ray.train.ScalingConfig(num_workers=NUM_WORKERS, resources_per_worker={"CPU": 1})
    config = ray.train.RunConfig(name="bare", storage_path=storage)
    TorchTrainer(_nothing, train_loop_config={}, scaling_config=scaling, run_config=config).fit()


def _nothing(config: Mapping[str, Any]) -> None:
    """An empty loop."""


def trial(data: Folder, runs: Folder) -> None:
    """The same as a trial of a sweep."""
    facts = PreparedDataset(data).facts
    spec = base_spec("small", facts.data, "corrected", 42)
    run = str(runs / spec.id)
    job = {"spec": spec_to_dict(spec), "data": str(data), "run": run}
    run_trials(_trial, {"job": job}, Turns(lambda: 1, never), Losses(lambda config: 0), [])
    [attempt] = Attempts(Folder(run)).all()
    assert attempt.outcome == "finished", attempt


def _trial(config: Mapping[str, Any]) -> None:
    from ray import tune

    job = config["job"]
    spec, run = spec_from_dict(job["spec"]), RunFolder(Folder(job["run"]))
    with held(run.folder, "refuse", "benchmark") as lease:
        run.begin(spec, {}, {})
        run.finish("finished")
        resources = Resources(num_workers=NUM_WORKERS)
        task = Task(spec=spec, run=job["run"], data=job["data"], resources=resources, places={})
        run_to_its_end(task, tell=lease.tell)
    tune.report({"made": True})


if __name__ == "__main__":
    main()
