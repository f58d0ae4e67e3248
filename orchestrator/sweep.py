"""A sweep under Ray Tune: each trial makes one point, wave by wave, and only what is missing is made.

What is finished is decided by the run folders alone, so a sweep that is started again needs nothing of Tune's own
state, and a run that was interrupted goes on from its newest checkpoint.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.estimate import estimate
from orchestrator.progress import SweepDisplay
from orchestrator.request import SweepPoints, SweepRequest, entry_of, plan_of, write_points
from orchestrator.session import Resources, runs_at_once
from orchestrator.train import make_point
from sweeps.point import Point
from workloads.errors import FailedRunsError
from workloads.evaluation.floors import stored_floors
from workloads.measuring.points import ON_A_DEVICE
from workloads.record import RunFolder, command_line
from workloads.spec import spec_to_dict
from workloads.storage import Folder


def run_sweep(points: SweepPoints, resources: Resources, display: SweepDisplay) -> None:
    """Make what is missing of a request, inside a Ray session.

    Raises:
        FailedRunsError: points failed; all others that do not need these are finished.
    """
    from ray import cluster_resources, tune

    request, failed = points.request, dict[str, str]()
    todo, folders = plan_of(points, resources)
    write_points(points, todo)
    for data in (request.data, request.insect):
        if todo.waves and data is not None:
            display.say(f"Floors of {data.folder}: kept with it, or computed now")
            stored_floors(data)
    at_once = runs_at_once(resources, cluster_resources())
    _, efforts = estimate(todo.to_run, points, resources)
    display.begin(todo.waves, efforts, at_once)
    while todo.waves:
        jobs = [_job(points, point, folders, resources) for point in todo.waves[0]]
        callbacks = [display.callback(), *_wandb(request)]
        results = run_trials(
            make_point, {"job": tune.grid_search(jobs)}, request.runs / request.name, at_once, callbacks
        )
        errors = {result.config["job"]["id"]: str(result.error) for result in results if result.error}
        for point in todo.waves[0]:
            state = folders[point.id].state()
            if state == "failed":
                failed[point.id] = folders[point.id].status()["reason"]
            elif state != "finished" and point.id not in errors:
                display.end()
                raise KeyboardInterrupt  # Tune takes Ctrl-C for itself: what it stops, or never began, has no error
            elif state != "finished":
                failed[point.id] = errors[point.id].strip().splitlines()[-1]
        before = todo
        todo, folders = plan_of(points, resources, failed)
        display.lost({point.id for point in before.to_run} - {point.id for point in todo.to_run})
    display.end()
    write_points(points, todo)
    if failed:
        lost = [points.distinct[name] for name in todo.lost if failed.keys() & {name, *points.distinct[name].needs}]
        raise FailedRunsError(request.name, [(point.label, todo.lost[point.id]) for point in lost])


def run_trials(
    trial: Callable[[Mapping[str, Any]], None],
    space: Mapping[str, Any],
    folder: Folder,
    at_once: int,
    callbacks: Sequence[Any],
    **how: Any,
) -> Any:
    """Run trials with Tune, to their ends.

    Args:
        trial: what one does with its configuration.
        space: of their configurations, which say as `gpus` of their `job` what a trial takes itself.
        folder: of the runs. Tune's own files are of no further use, and only go there where every node has to reach
            them.
        at_once: trials side by side.
        callbacks: Tune's.
        how: Tune is to search, where it is.

    Returns:
        Tune's results, one a trial.
    """
    from ray import tune

    with tempfile.TemporaryDirectory(prefix="clibd-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, _taken),
            param_space=dict(space),
            tune_config=tune.TuneConfig(
                max_concurrent_trials=at_once, trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}", **how
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch if folder.is_local else str(folder / "tune"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=list(callbacks),
            ),
        )
        return tuner.fit()


def _taken(config: Mapping[str, Any]) -> dict[str, float]:
    """What a trial takes itself: one that only waits for its workers next to nothing."""
    return {"cpu": 0.01, "gpu": config["job"]["gpus"]}


def _job(points: SweepPoints, point: Point, folders: Mapping[str, RunFolder], resources: Resources) -> dict[str, Any]:
    """Everything a trial needs, as plain values."""
    data = str(points.data_of(point).folder)
    places = {name: str(folders[name].folder) for name in point.needs}
    return {
        "id": point.id,
        "kind": point.kind,
        "model": point.model,
        "uses": {what: places.get(name, data) for what, name in point.uses.items()},  # INSECT has published features
        "places": places,
        "spec": spec_to_dict(point.spec),
        "point": {**entry_of(points.request, point, {}), "sweep": points.home(point.id)},
        "run": str(folders[point.id].folder),
        "data": data,
        "resources": asdict(resources),
        "gpus": int(point.kind in ON_A_DEVICE and resources.gpus_per_worker > 0),
        "argv": command_line(),
    }


def _wandb(request: SweepRequest) -> list[Any]:
    """W&B's own Tune callback, when asked for."""
    if request.wandb == "off":
        return []
    os.environ["WANDB_MODE"] = request.wandb
    os.environ.setdefault("WANDB_DIR", str(request.runs.path) if request.runs.is_local else tempfile.gettempdir())
    from ray.air.integrations.wandb import WandbLoggerCallback

    return [WandbLoggerCallback(project="clibd", group=request.name, excludes=["job"])]
