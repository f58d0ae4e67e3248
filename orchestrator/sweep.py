"""A sweep under Ray Tune: each trial makes one point, wave by wave, and only what is missing is made.

What is finished is decided by the run folders alone, so a sweep that is started again needs nothing of Tune's own
state, and a run that was interrupted goes on from its newest checkpoint.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.estimate import effort_of, rate_here
from orchestrator.plan import Plan
from orchestrator.progress import SweepDisplay
from orchestrator.request import Asked, SweepRequest, entry_of, plan_of, write_points
from orchestrator.resources import Resources
from orchestrator.session import runs_at_once
from orchestrator.trial import command_line, make_point
from sweeps.point import Point
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import FailedRunsError
from workloads.evaluation.floors import stored_floors
from workloads.record import RunFolder
from workloads.spec import spec_to_dict

IN_THE_TRIAL = ("untrained", "openclip", "attention", "costs")
"""Kinds that compute on a device in the trial's own process."""


def run_sweep(request: SweepRequest, asked: Asked, resources: Resources, display: SweepDisplay) -> None:
    """Make what is missing of a request, inside a Ray session.

    Raises:
        FailedRunsError: points failed; all others that do not need these are finished.
    """
    failed: dict[str, str] = {}
    todo, folders = plan_of(request, asked, resources)
    write_points(request, asked, todo)
    for data in (request.data, request.insect):
        if todo.waves and data is not None:
            display.say(f"Floors of {data}: kept with it, or computed now")
            stored_floors(PreparedDataset(data))
    at_once = runs_at_once(resources)
    rate = rate_here(todo.to_run, asked, resources, given=None, idle=False)
    efforts = {p.id: effort_of(p, asked.facts_of(p.spec), resources, rate, request.scale) for p in todo.to_run}
    display.begin(todo.waves, {name: effort.expected for name, effort in efforts.items()}, at_once)
    while todo.waves:
        lost = dict(_tune(request, asked, todo.waves[0], folders, resources, display, at_once))
        for point in todo.waves[0]:
            state = folders[point.id].state()
            if state != "finished":
                failed[point.id] = folders[point.id].status()["reason"] if state == "failed" else lost[point.id]
        before = todo
        todo, folders = plan_of(request, asked, resources, failed)
        display.lost({point.id for point in before.to_run} - {point.id for point in todo.to_run})
    display.end()
    write_points(request, asked, todo)
    if failed:
        raise FailedRunsError(request.name, _not_made(todo, failed))


def _not_made(todo: Plan, failed: Mapping[str, str]) -> list[tuple[str, str]]:
    """Labels and reasons of what failed, and of what could not begin for that."""
    return [
        (blocked.point.label, blocked.reason)
        for blocked in todo.blocked
        if isinstance(blocked.point, Point) and (blocked.point.id in failed or failed.keys() & set(blocked.point.needs))
    ]


def _tune(
    request: SweepRequest,
    asked: Asked,
    wave: Sequence[Point],
    folders: Mapping[str, RunFolder],
    resources: Resources,
    display: SweepDisplay,
    at_once: int,
) -> Iterator[tuple[str, str]]:
    """Make the points of one wave; gives why points have no end, by id."""
    from ray import tune

    jobs = [_job(request, asked, point, folders, resources) for point in wave]
    with tempfile.TemporaryDirectory(prefix="clibd-tune-") as scratch:
        # Tune's own files are of no further use; on a cluster they have to be where every node can reach them.
        storage = scratch if request.runs.is_local else str(request.runs / request.name / "tune")
        results = tune.Tuner(
            tune.with_resources(make_point, _taken),
            param_space={"job": tune.grid_search(jobs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=at_once, trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}"
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[display.callback(), *_wandb(request)],
            ),
        ).fit()
    for result in results:
        lines = str(result.error or "it never ended").strip().splitlines()
        yield result.config["job"]["id"], lines[-1]


def _taken(config: Mapping[str, Any]) -> dict[str, float]:
    """What a trial takes itself: one that only waits for its workers next to nothing."""
    return {"cpu": 0.01, "gpu": config["job"]["gpus"]}


def _job(
    request: SweepRequest, asked: Asked, point: Point, folders: Mapping[str, RunFolder], resources: Resources
) -> dict[str, Any]:
    """Everything a trial needs, as plain values."""
    insect = request.insect if asked.is_of_insect(point.spec) else None
    about = entry_of(request, asked.facts, point, {})
    return {
        "id": point.id,
        "kind": point.kind,
        "model": point.model,
        "uses": {
            what: str(request.insect if name == "insect" else folders[name].folder) for what, name in point.uses.items()
        },
        "places": {name: str(folders[name].folder) for name in point.needs},
        "spec": spec_to_dict(point.spec),
        "point": {**about, "sweep": asked.home(point.id)},
        "run": str(folders[point.id].folder),
        "data": str(insect or request.data),
        "resources": asdict(resources),
        "gpus": int(point.kind in IN_THE_TRIAL and resources.gpus_per_worker > 0),
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
