"""A sweep under Ray Tune: each trial drives one Ray Train run, and only what is missing is run.

What is finished is decided by the run folders alone, so a sweep that is started again needs nothing of Tune's own
state, and a run that was interrupted goes on from its newest checkpoint.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.plan import Plan, plan
from orchestrator.progress import SweepDisplay
from orchestrator.resources import Resources, concurrent_runs
from orchestrator.trial import drive_run
from sweeps import SWEEPS
from sweeps.point import Point
from workloads.data.batches import check_batch, num_trained
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import FailedRunsError, ModalitiesError
from workloads.evaluation.floors import compute_floors
from workloads.experiments import Data, Scale, base_spec
from workloads.record import RunFolder, find_runs, measurements_to_table
from workloads.spec import Recipe, spec_to_dict
from workloads.storage import Folder

SEEDS = (42, 43, 44, 45, 46)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRequest:
    """A sweep on a data set, and where it leaves its runs."""

    name: str
    scale: Scale
    data: Folder
    runs: Folder
    recipe: Recipe = "corrected"
    num_seeds: int = 1
    wandb: str = "off"


def points_of(request: SweepRequest, facts: DatasetFacts) -> list[Point]:
    """The points of a sweep on a data set.

    Raises:
        ModalitiesError: the data set has fewer than two modalities.
    """
    if len(facts.modalities) < 2:
        raise ModalitiesError(facts.name, facts.modalities)
    points = []
    for seed in SEEDS[: request.num_seeds]:
        base = base_spec(request.scale, Data.of(facts), request.recipe, seed)
        points += SWEEPS[request.name].points(base, request.scale)
    return points


def plan_of(request: SweepRequest, facts: DatasetFacts) -> Plan:
    """What of a sweep is finished and what is to be run."""
    runs = {run.id: run for run in find_runs(request.runs, request.name)}
    states = {name: run.state() for name, run in runs.items()}
    stored = {name: runs[name].spec() for name, state in states.items() if state == "finished"}
    return plan(points_of(request, facts), states, stored)


def ready(request: SweepRequest, facts: DatasetFacts, resources: Resources) -> Plan:
    """What is to be run, after a look whether it can be; starts nothing.

    Raises:
        ModalitiesError, TooFewSpecimensError, SpecError: a point cannot be trained on this data set.
        DriftError: a finished run was another experiment.
    """
    todo = plan_of(request, facts)
    for point in todo.to_run:
        check_batch(point.spec, num_trained(point.spec, facts), resources.num_workers)
    return todo


def floors_name(facts: DatasetFacts) -> str:
    """File of a data set's floors, beside the runs of a sweep."""
    return f"floors-{facts.name}-{facts.fingerprint}.parquet"


def run_sweep(request: SweepRequest, resources: Resources, display: SweepDisplay) -> None:
    """Run what is missing of a sweep, inside a Ray session.

    Raises:
        FailedRunsError: runs failed; the others are finished.
        UsageError: as `ready`.
    """
    dataset = PreparedDataset(request.data)
    facts = dataset.facts
    todo = ready(request, facts, resources)
    folder = request.runs / request.name
    if not folder.has(floors_name(facts)):
        display.say("Computing the floors: 5-mer nearest neighbour and linear CCA")
        folder.write_table(floors_name(facts), measurements_to_table(compute_floors(dataset)))
    if todo.to_run:
        _tune(request, todo, resources, display, facts.num_training)
    failed = [
        (point.label, RunFolder(folder / point.spec.id).status()["reason"])
        for point in todo.to_run
        if RunFolder(folder / point.spec.id).state() == "failed"
    ]
    lost = [(point.label, "it never ended") for point in todo.to_run if _never_ended(folder, point)]
    if failed or lost:
        raise FailedRunsError(request.name, [*failed, *lost])


def _never_ended(folder: Folder, point: Point) -> bool:
    return RunFolder(folder / point.spec.id).state() == "missing"


def _tune(request: SweepRequest, todo: Plan, resources: Resources, display: SweepDisplay, num_training: int) -> None:
    import ray
    from ray import tune

    at_once = concurrent_runs(
        resources,
        cluster_cpus=ray.cluster_resources().get("CPU", 0),
        cluster_gpus=ray.cluster_resources().get("GPU", 0),
    )
    display.begin(todo, num_training, at_once)
    jobs = [_job(request, point, resources) for point in todo.to_run]
    with tempfile.TemporaryDirectory(prefix="clibd-tune-") as scratch:
        # Tune's own files are of no further use; on a cluster they have to be where every node can reach them.
        storage = scratch if request.runs.is_local else str(request.runs / request.name / "tune")
        tune.Tuner(
            tune.with_resources(drive_run, {"cpu": 0.01}),
            param_space={"job": tune.grid_search(jobs)},
            tune_config=tune.TuneConfig(max_concurrent_trials=at_once, trial_dirname_creator=_trial_folder),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[display.callback(), *_wandb(request)],
            ),
        ).fit()
    display.end()


def _trial_folder(trial: Any) -> str:
    return f"trial_{trial.trial_id}"


def _job(request: SweepRequest, point: Point, resources: Resources) -> dict[str, Any]:
    """Everything a trial needs, as plain values."""
    from dataclasses import asdict

    return {
        "id": point.spec.id,
        "spec": spec_to_dict(point.spec),
        "point": {
            "sweep": request.name,
            "row": dict(point.row),
            "label": point.label,
            "scale": request.scale,
        },
        "run": str(request.runs / request.name / point.spec.id),
        "data": str(request.data),
        "resources": asdict(resources),
        "argv": _argv(),
    }


def _argv() -> Sequence[str]:
    import sys

    return [sys.argv[0].rsplit("/", 1)[-1], *sys.argv[1:]]


def _wandb(request: SweepRequest) -> list[Any]:
    """W&B's own Tune callback, when asked for."""
    if request.wandb == "off":
        return []
    import os

    os.environ["WANDB_MODE"] = request.wandb
    os.environ.setdefault("WANDB_DIR", str(request.runs.path) if request.runs.is_local else tempfile.gettempdir())
    from ray.air.integrations.wandb import WandbLoggerCallback

    return [WandbLoggerCallback(project="clibd", group=request.name, excludes=["job"])]
