"""A sweep under Ray Tune: each trial makes one point, wave by wave, and only what is missing is made.

What is finished is decided by the run folders alone, so a sweep that is started again needs nothing of Tune's own
state, and a run that was interrupted goes on from its newest checkpoint. What another command makes at the same time
is left to it, and taken over where that command is gone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.estimate import estimate
from orchestrator.fleet import Resources
from orchestrator.measure import share_of
from orchestrator.others import Others
from orchestrator.plan import Plan
from orchestrator.progress import SweepDisplay
from orchestrator.request import SweepPoints, SweepRequest, damaged_in, entry_of, plan_of, write_points
from orchestrator.session import has_ended
from orchestrator.train import make_point
from orchestrator.trials import PATIENCE, Losses, Turns, how_it_was_lost, run_trials
from sweeps.point import Point
from workloads.attempts import saved_step
from workloads.errors import some_of
from workloads.evaluation.floors import stored_floors
from workloads.lease import Busy
from workloads.record import RunFolder, command_line
from workloads.run_errors import FailedRunsError, StoppedSweepError
from workloads.spec import spec_to_dict
from workloads.stopping import Stop, command_again, stop_by_signals
from workloads.storage import Folder


def run_sweep(
    points: SweepPoints,
    resources: Resources,
    display: SweepDisplay,
    look: Callable[[], int] = lambda: 1,
    busy: Busy = "follow",
) -> None:
    """Make what is missing of a request, inside a Ray session.

    Args:
        points: of the request.
        resources: of each run.
        display: is told.
        look: how many runs go side by side, as the machines are when it is asked.
        busy: what to do about runs that another command makes: `follow` makes the others and waits for these, `wait`
            begins when it has ended, `refuse` is an error.

    Raises:
        FailedRunsError: points failed; all others that do not need these are finished.
        StoppedSweepError: Ctrl-C or SIGTERM; what had begun is saved.
        RunBusyError: another command makes some of it, and it was said to refuse.
    """
    todo, folders = plan_of(points, resources)
    write_points(points, todo)
    _tidy(points.request)
    for data in (points.request.data, points.request.insect):
        if todo.waves and data is not None:
            display.say(f"Floors of {data.folder}: kept with it, or computed now")
            stored_floors(data)
    _, efforts = estimate(todo.to_run, points, resources)
    sweep = _Sweep(points, resources, display, look, Others(busy), todo, folders, damaged_in(points, folders))
    display.begin(todo.waves, efforts, folders, look())
    with stop_by_signals(has_ended, PATIENCE) as stop:
        try:
            sweep.others.at_the_start([folders[point.id] for point in todo.to_run], stop, display.say)
            while sweep.todo.waves:
                sweep.make_wave(stop)
        except KeyboardInterrupt:
            runs = {point.label: sweep.folders[point.id] for point in points.distinct.values()}
            raise StoppedSweepError(stop() or "interrupted", go_on_words(runs)) from None
        finally:
            display.end()
            write_points(points, sweep.todo)
    if failed := sweep.failed:
        todo = sweep.todo
        lost = [points.distinct[name] for name in todo.lost if failed.keys() & {name, *points.distinct[name].needs}]
        raise FailedRunsError(points.request.name, [(point.label, todo.lost[point.id]) for point in lost])


@dataclass(slots=True)
class _Sweep:
    """A sweep while it is made."""

    points: SweepPoints
    resources: Resources
    display: SweepDisplay
    look: Callable[[], int]
    others: Others
    todo: Plan
    folders: Mapping[str, RunFolder]
    failed: dict[str, str]
    """Why points ended without success, or have a folder that is damaged, by id."""

    def make_wave(self, stop: Stop) -> None:
        """Make what can be made now and nobody else makes; where there is no such point wait until others are done.

        Raises:
            KeyboardInterrupt: it was asked to stop.
        """
        wave = self.todo.waves[0]
        left = [point for point in wave if self.others.leave(self.folders[point.id])]
        mine = [point for point in wave if point not in left]
        if mine:
            self._make(mine, stop)
        else:
            self.others.watch([self.folders[point.id] for point in left], stop, self.display.follow)
        for point in left:  # what failed under another command has failed
            if self.folders[point.id].state() == "failed":
                self.failed[point.id] = self.folders[point.id].status()["reason"]
        before = self.todo
        self.todo, self.folders = plan_of(self.points, self.resources, self.failed)
        self.display.lost({point.id for point in before.to_run} - {point.id for point in self.todo.to_run})

    def _make(self, wave: Sequence[Point], stop: Stop) -> None:
        from ray import nodes, tune

        there = [node["Resources"] for node in nodes() if node["Alive"]]
        jobs = [_job(self, point, there) for point in wave]
        turns = Turns(self.look, stop)
        callbacks = [self.display.callback()]
        results = run_trials(make_point, {"job": tune.grid_search(jobs)}, turns, Losses(progress_of), callbacks)
        errors = {result.config["job"]["id"]: result.error for result in results if result.error}
        for point in wave:
            state = self.folders[point.id].state()
            if state == "failed":
                self.failed[point.id] = self.folders[point.id].status()["reason"]
            elif state != "finished" and not self.others.leave(self.folders[point.id], anew=True):
                error = errors.get(point.id) or RuntimeError("it never ended")
                self.failed[point.id] = how_it_was_lost(point.label, error)


def progress_of(config: Mapping[str, Any]) -> object:
    """Of a run: changes when there is a newer checkpoint or a further epoch."""
    run = RunFolder(Folder(config["job"]["run"]))
    log = run.folder.read("events.jsonl") if run.folder.has("events.jsonl") else b""
    return (run.folder / "checkpoints").folders(), log.count(b"\n")


def _tidy(request: SweepRequest) -> None:
    """Earlier versions left Tune's own files with runs in an object store."""
    if not request.runs.is_local:
        (request.runs / request.name).remove_folder("tune")


def go_on_words(runs: Mapping[str, RunFolder]) -> str:
    """What of some runs, by their labels, is finished, what is saved at which step, and the command to go on."""
    finished = [label for label, run in runs.items() if run.is_finished()]
    saved = {label: step for label, run in runs.items() if label not in finished and (step := saved_step(run))}
    lines = [f"{len(finished)} of {len(runs)} finished{f': {some_of(finished, 8)}' if finished else ''}."]
    lines += [f"Saved: {label}, at step {step}." for label, step in saved.items()]
    return "\n".join([*lines, f"To go on: {command_again()}"])


def _job(sweep: _Sweep, point: Point, nodes: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Everything a trial needs, as plain values."""
    points, folders = sweep.points, sweep.folders
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
        "resources": asdict(sweep.resources),
        "share": asdict(share_of(point.kind, sweep.resources, nodes)),
        "owner": sweep.others.owner,
        "argv": command_line(),
        "wandb": points.request.wandb,
    }
