"""What is asked of a sweep on a data set: its points, their folders, and what of them is to be done.

SweepRequest ──▶ SweepPoints ──▶ Plan      points.json says which rows of which tables were asked for
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from rich.console import Console

from orchestrator.fleet import Resources, check_placeable
from orchestrator.plan import Plan, matching, plan
from orchestrator.weights_at_hand import missing_weights
from sweeps.point import Base, Impossible, Point, Sweep
from workloads.data.inputs.who_trains import check_batch, num_trained
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.disk_errors import named
from workloads.errors import (
    DamagedError,
    DriftError,
    ModalitiesError,
    NewerVersionError,
    SpecError,
    TooFewSpecimensError,
    UsageError,
)
from workloads.evaluation.selection import check_selection
from workloads.experiments import Scale, base_spec
from workloads.fields import with_fields
from workloads.record import RunFolder, State
from workloads.run_errors import NeverPlaceableError
from workloads.run_files import POINTS, read_points
from workloads.spec import Recipe, first_difference
from workloads.storage import Folder
from workloads.weight_files import hub_answers

_SEEDS = (42, 43, 44, 45, 46)


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRequest:
    """Sweeps on a data set, and where they leave their runs."""

    sweeps: tuple[Sweep, ...]
    """One, or all of them, of which a point belongs to the first that asks for it."""
    scale: Scale
    data: PreparedDataset
    runs: Folder
    insect: PreparedDataset | None = None
    """INSECT."""
    recipe: Recipe = "corrected"
    num_seeds: int = 1
    fields: tuple[str, ...] = ()
    """Fields of the spec for all points, as `field=value`."""
    only: str | None = None
    """What the labels or rows of the points have to say."""
    wandb: str = "off"

    @property
    def name(self) -> str:
        """What the sweep is called, or all together."""
        return self.sweeps[0].name if len(self.sweeps) == 1 else "paper"

    def base(self, seed: int = _SEEDS[0], plain: bool = False) -> Base:
        """What its points are derived from, also where it is searched.

        Args:
            seed: of the runs.
            plain: whether without the fields that were set.
        """
        fields, spec = () if plain else self.fields, base_spec(self.scale, self.data.facts.data, self.recipe, seed)
        return Base(
            spec=with_fields(spec, fields),
            scale=self.scale,
            data=self.data.facts.data,
            insect=self.insect.facts.data if self.insect else None,
            fields=fields,
        )


@dataclass(frozen=True, slots=True)
class SweepPoints:
    """What a request comes to on its data sets."""

    request: SweepRequest
    by_sweep: Mapping[str, Sequence[Point | Impossible]]

    @property
    def all(self) -> list[Point | Impossible]:
        """Those of all sweeps, in their order."""
        return [point for points in self.by_sweep.values() for point in points]

    @property
    def distinct(self) -> dict[str, Point]:
        """Those that can be, by their ids."""
        return {point.id: point for point in self.all if isinstance(point, Point)}

    def home(self, name: str) -> str:
        """The first sweep that asks for a point."""
        return next(
            s for s, points in self.by_sweep.items() if any(isinstance(p, Point) and p.id == name for p in points)
        )

    def data_of(self, point: Point) -> PreparedDataset:
        """The data set that a point is trained and measured on."""
        insect, own = self.request.insect, (point.spec.dataset, point.spec.data_fingerprint)
        return insect if insect and own == (insect.facts.name, insect.facts.fingerprint) else self.request.data


def points_of(request: SweepRequest) -> SweepPoints:
    """The points of a request on its data sets.

    Raises:
        MissingPathError: there is no prepared data set.
        ModalitiesError: the data set has fewer than two modalities.
        UsageError: a field cannot be set, a sweep varies it itself, or no point is as was asked.
    """
    facts = request.data.facts
    if len(facts.modalities) < 2:
        raise ModalitiesError(facts.name, facts.modalities)
    by_sweep: dict[str, list[Point | Impossible]] = {sweep.name: [] for sweep in request.sweeps}
    for seed in _SEEDS[: request.num_seeds]:
        base = request.base(seed)
        for sweep in request.sweeps:
            points = sweep.points(base)
            if request.fields:
                _check_fields(sweep, sweep.points(request.base(seed, plain=True)), points, base)
            by_sweep[sweep.name] += points
    if request.only is not None:
        kept = matching([point for points in by_sweep.values() for point in points], request.only)
        by_sweep = {name: [p for p in points if p in kept] for name, points in by_sweep.items()}
    return SweepPoints(request, {name: points for name, points in by_sweep.items() if points})


def _check_fields(
    sweep: Sweep, plain: Sequence[Point | Impossible], points: Sequence[Point | Impossible], base: Base
) -> None:
    """Refuse to set what a sweep varies by itself, or decides: its rows would not be what they are called."""
    without, trained = (
        [p for p in some if isinstance(p, Point) and p.spec.objective == base.spec.objective]
        for some in (plain, points)
    )
    for name in base.changed:
        value = attrgetter(name)
        varied = len({value(p.spec) for p in without}) > 1
        other = next((p for p in trained if p.kind == "train" and (varied or value(p.spec) != value(base.spec))), None)
        if other is not None:
            raise UsageError(
                f"--set {name}: the sweep '{sweep.name}' decides this field itself; its point '{other.label}' has "
                f"{value(other.spec)}. Leave out `--set {name}=…`, or pick other points with --filter"
            )


def folders_of(points: SweepPoints) -> dict[str, RunFolder]:
    """The folder of every point and of all that points need: one that is finished under any sweep, else the point's own
    under the first sweep that asks for it."""
    runs, distinct = points.request.runs, points.distinct
    folders = {name: RunFolder(runs / points.home(name) / name) for name in distinct}
    wanted = {name for point in distinct.values() for name in (point.id, *point.needs)}
    for sweep in runs.folders():
        for name in wanted.intersection((runs / sweep).folders()):
            run = RunFolder(runs / sweep / name)
            if name not in folders or (not folders[name].is_finished() and run.is_finished()):
                folders[name] = run
    return folders


def plan_of(
    points: SweepPoints, resources: Resources, failed: Mapping[str, str] | None = None
) -> tuple[Plan, dict[str, RunFolder]]:
    """What is finished, what is to be run, and what cannot be; and the folder of each. Starts nothing."""
    folders, distinct = folders_of(points), points.distinct
    damaged = damaged_in(points, folders)
    states: dict[str, State] = {name: "missing" if name in damaged else run.state() for name, run in folders.items()}
    refused = {
        name: reason
        for name, point in distinct.items()
        if states[name] != "finished" and (reason := _refusal(point, points.data_of(point).facts, resources))
    }
    return plan(points.all, states, {**refused, **damaged}, failed), folders


def damaged_in(points: SweepPoints, folders: Mapping[str, RunFolder]) -> dict[str, str]:
    """Points whose folders are not what was written, or were made as another experiment, and how to go on, by id.

    Also those that begin with such a folder, where it is none of this sweep's.
    """
    found: dict[str, str] = {}
    for name, run in folders.items():
        point = points.distinct.get(name)
        trained = point if point is not None and point.kind in ("train", "untrained") else None
        try:
            stored = run.spec() if run.state() == "finished" and trained is not None else None
            if stored and trained and (difference := first_difference(stored, trained.spec)):
                raise DriftError(name, *difference)
        except DamagedError as error:
            path, reason = error.args[:2]
            found[name] = f"{path} is damaged: {reason}. Move the folder {run.folder} away, and it is made anew."
        except (DriftError, NewerVersionError) as error:
            found[name] = str(error)
        except OSError as error:
            if not run.folder.is_local:  # a store that fails does so for all
                raise
            told = named(error, str(run.folder))
            found[name] = f"{told}. Mend this, or move the folder {run.folder} away, and it is made anew."
    strange = found.keys() - points.distinct.keys()
    begun = {name: next(filter(strange.__contains__, p.needs), None) for name, p in points.distinct.items()}
    return {**{name: f"its start {start}: {found[start]}" for name, start in begun.items() if start}, **found}


def _refusal(point: Point, facts: DatasetFacts, resources: Resources) -> str:
    """Why a point cannot be run on its data set with what is on this machine."""
    if point.kind == "train":
        try:
            check_batch(point.spec, num_trained(point.spec, facts), num_workers=1)
            check_selection(point.spec, facts)
            check_placeable(resources)
        except (TooFewSpecimensError, SpecError, NeverPlaceableError) as error:
            return str(error)
    lacking = missing_weights(point) if resources.offline else {}
    return "; ".join(f"the weights {name} are not on this machine: {remedy}" for name, remedy in lacking.items())


def ready(points: SweepPoints, resources: Resources, console: Console, remote: bool) -> Resources:
    """A look whether anything can be run, and from where weights may come; starts nothing.

    Raises:
        NeverPlaceableError: something is to be trained, and no machine has room for it.
        UsageError: nothing is finished, and nothing can be run.
    """
    todo, _ = plan_of(points, resources)
    if any(isinstance(point, Point) and point.kind == "train" for point, _ in todo.blocked):
        check_placeable(resources)
    lacking = {name for point in todo.to_run for name in missing_weights(point)} if not remote else set()
    if lacking and not resources.offline and not hub_answers():
        console.print("The hub does not answer, so that weights come from this machine alone.")
        resources = replace(resources, offline=True)
        todo, _ = plan_of(points, resources)
    if not todo.finished and not todo.waves:
        reasons = dict.fromkeys(f"{point.label}: {reason}" for point, reason in todo.blocked)
        raise UsageError(f"{points.request.name}: nothing of it can be run. {'; '.join(reasons)}")
    for point, reason in todo.blocked:
        if point.row is not None:
            console.print(f"Not made: {point.label}: {reason}")
    return resources


def write_points(points: SweepPoints, todo: Plan) -> None:
    """Note in RUNS/SWEEP/points.json which rows were asked for, which points stand for them, and what cannot be run."""
    for sweep, asked in points.by_sweep.items():
        folder = points.request.runs / sweep
        entries = [*_noted(folder), *(entry_of(points.request, point, todo.lost) for point in asked)]
        by_key = {repr((entry.get("id"), sorted((entry.get("row") or {}).items()))): entry for entry in entries}
        folder.write_json(POINTS, list(by_key.values()))


def _noted(sweep: Folder) -> list[dict[str, Any]]:
    """What earlier starts have noted; what of it is damaged is noted anew."""
    try:
        return read_points(sweep)
    except DamagedError:
        return []


def entry_of(request: SweepRequest, point: Point | Impossible, lost: Mapping[str, str]) -> dict[str, Any]:
    """A point as points.json has it, and its own point.json."""
    row = None if point.row is None else {k: list(v) if isinstance(v, tuple) else v for k, v in point.row.items()}
    entry: dict[str, Any] = {"row": row, "label": point.label, "scale": request.scale}
    if isinstance(point, Impossible):
        facts = request.data.facts
        entry |= {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "synthetic": facts.synthetic}
        entry |= {"id": None, "kind": None, "needs": [], "recipe": request.recipe, "seed": None}
        return entry | {"impossible": point.reason}
    own = {n: getattr(point.spec, n) for n in ("recipe", "dataset", "data_fingerprint", "synthetic", "seed")}
    about = {"id": point.id, "kind": point.kind, "needs": list(point.needs), "impossible": lost.get(point.id)}
    return {**entry, **own, **about}
