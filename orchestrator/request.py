"""What is asked of a sweep on a data set: its points, their folders, and what of them is to be done.

SweepRequest ──▶ Asked ──▶ Plan            points.json says which rows of which tables were asked for
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from rich.console import Console

from orchestrator.plan import Plan, matching, plan
from orchestrator.resources import Resources
from orchestrator.weights_at_hand import hub_answers, missing_weights
from sweeps.point import Base, Impossible, Point, Sweep
from workloads.data.inputs.batches import check_batch, num_trained
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.errors import ModalitiesError, SpecError, TooFewSpecimensError, UsageError
from workloads.evaluation.selection import check_selection
from workloads.experiments import Scale, base_spec
from workloads.fields import with_fields
from workloads.record import RunFolder, State
from workloads.spec import ExperimentSpec, Recipe
from workloads.storage import Folder

SEEDS = (42, 43, 44, 45, 46)
POINTS = "points.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRequest:
    """Sweeps on a data set, and where they leave their runs."""

    sweeps: tuple[Sweep, ...]
    """One, or all of them, of which a point belongs to the first that asks for it."""
    scale: Scale
    data: Folder
    runs: Folder
    insect: Folder | None = None
    """INSECT, prepared."""
    recipe: Recipe = "corrected"
    num_seeds: int = 1
    fields: tuple[str, ...] = ()
    """Of the spec, as `field=value`, for all points."""
    only: str | None = None
    """What the labels or rows of the points have to say."""
    wandb: str = "off"

    @property
    def name(self) -> str:
        """Of the sweep, or of all together."""
        return self.sweeps[0].name if len(self.sweeps) == 1 else "paper"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request comes to on its data sets."""

    facts: DatasetFacts
    insect: DatasetFacts | None
    by_sweep: Mapping[str, Sequence[Point | Impossible]]

    @property
    def points(self) -> list[Point | Impossible]:
        """Of all sweeps, in their order."""
        return [point for points in self.by_sweep.values() for point in points]

    def home(self, name: str) -> str:
        """The first sweep that asks for a point."""
        return next(
            s for s, points in self.by_sweep.items() if any(isinstance(p, Point) and p.id == name for p in points)
        )

    def is_of_insect(self, spec: ExperimentSpec) -> bool:
        """Whether a spec's specimens are INSECT's and not the base data set's."""
        own = (spec.dataset, spec.data_fingerprint)
        return self.insect is not None and own == (self.insect.name, self.insect.fingerprint)

    def facts_of(self, spec: ExperimentSpec) -> DatasetFacts:
        """The data set that a spec is trained and measured on."""
        return self.insect if self.insect is not None and self.is_of_insect(spec) else self.facts


def asked_of(request: SweepRequest, facts: DatasetFacts, insect: DatasetFacts | None = None) -> Asked:
    """The points of a request on its data sets.

    Raises:
        ModalitiesError: the data set has fewer than two modalities.
        UsageError: a field cannot be set, a sweep varies it itself, or no point is as was asked.
    """
    if len(facts.modalities) < 2:
        raise ModalitiesError(facts.name, facts.modalities)
    found: dict[str, list[Point | Impossible]] = {sweep.name: [] for sweep in request.sweeps}
    for seed in SEEDS[: request.num_seeds]:
        spec = with_fields(base_spec(request.scale, facts.data, request.recipe, seed), request.fields)
        base = Base(
            spec=spec,
            scale=request.scale,
            data=facts.data,
            insect=insect.data if insect else None,
            fields=request.fields,
        )
        for sweep in request.sweeps:
            points = sweep.points(base)
            if request.fields:
                plain = sweep.points(
                    replace(base, spec=base_spec(request.scale, base.data, request.recipe, seed), fields=())
                )
                _check_fields(sweep, plain, points, spec, request.fields)
            found[sweep.name] += points
    if request.only is not None:
        kept = matching([point for points in found.values() for point in points], request.only)
        found = {name: [p for p in points if p in kept] for name, points in found.items()}
    return Asked(facts, insect, {name: points for name, points in found.items() if points})


def asked_on(request: SweepRequest) -> Asked:
    """The points of a request on the prepared data sets that it names.

    Raises:
        MissingPathError: there is none.
        UsageError: as `asked_of`.
    """
    insect = PreparedDataset(request.insect).facts if request.insect else None
    return asked_of(request, PreparedDataset(request.data).facts, insect)


def _check_fields(
    sweep: Sweep,
    plain: Sequence[Point | Impossible],
    points: Sequence[Point | Impossible],
    base: ExperimentSpec,
    fields: Sequence[str],
) -> None:
    """Refuse to set what a sweep varies by itself, or decides: its rows would not be what they are called."""
    for name in (field.partition("=")[0].strip() for field in fields):
        value = attrgetter(name)
        trained = [
            p for p in points if isinstance(p, Point) and p.kind == "train" and p.spec.objective == base.objective
        ]
        by_itself = {value(p.spec) for p in plain if isinstance(p, Point) and p.spec.objective == base.objective}
        other = next((p for p in trained if len(by_itself) > 1 or value(p.spec) != value(base)), None)
        if other is not None:
            raise UsageError(
                f"--set {name}: the sweep '{sweep.name}' decides this field itself; its point '{other.label}' has "
                f"{value(other.spec)}. Leave out `--set {name}=…`, or pick other points with --filter"
            )


def folders_of(request: SweepRequest, asked: Asked) -> dict[str, RunFolder]:
    """The folder of every point and of all that points need: one that is finished under any sweep, else the point's own
    under the first sweep that asks for it."""
    points = [point for point in asked.points if isinstance(point, Point)]
    wanted = {name for point in points for name in (point.id, *point.needs)}
    found = {name: RunFolder(request.runs / asked.home(name) / name) for name in {point.id for point in points}}
    for sweep in request.runs.folders():
        for name in wanted.intersection((request.runs / sweep).folders()):
            run = RunFolder(request.runs / sweep / name)
            if name not in found or (found[name].state() != "finished" and run.state() == "finished"):
                found[name] = run
    return found


def plan_of(
    request: SweepRequest, asked: Asked, resources: Resources, failed: Mapping[str, str] | None = None
) -> tuple[Plan, dict[str, RunFolder]]:
    """What is finished, what is to be run, and what cannot be; and the folder of each. Starts nothing.

    Raises:
        DriftError: a finished run was another experiment.
    """
    folders = folders_of(request, asked)
    states: dict[str, State] = {name: run.state() for name, run in folders.items()}
    distinct = {point.id: point for point in asked.points if isinstance(point, Point)}
    stored = {
        name: folders[name].spec()
        for name, point in distinct.items()
        if states[name] == "finished" and point.kind in ("train", "untrained")
    }
    open_points = [point for name, point in distinct.items() if states[name] != "finished"]
    refused = {point.id: reason for point in open_points if (reason := _refusal(point, asked, resources))}
    return plan(asked.points, states, stored, refused, failed), folders


def ready(request: SweepRequest, asked: Asked, resources: Resources, console: Console, remote: bool) -> Resources:
    """A look whether anything can be run, and from where weights may come; starts nothing.

    Raises:
        UsageError: nothing is finished, and nothing can be run.
        DriftError: a finished run was another experiment.
    """
    todo, _ = plan_of(request, asked, resources)
    lacking = {name for point in todo.to_run for name in missing_weights(point)} if not remote else set()
    if lacking and not resources.offline and not hub_answers():
        console.print("The hub does not answer, so that weights come from this machine alone.")
        resources = replace(resources, offline=True)
        todo, _ = plan_of(request, asked, resources)
    if not todo.finished and not todo.waves:
        reasons = dict.fromkeys(f"{blocked.point.label}: {blocked.reason}" for blocked in todo.blocked)
        raise UsageError(f"{request.name}: nothing of it can be run. {'; '.join(reasons)}")
    for blocked in todo.blocked:
        if blocked.point.row is not None:
            console.print(f"Not made: {blocked.point.label}: {blocked.reason}")
    return resources


def _refusal(point: Point, asked: Asked, resources: Resources) -> str | None:
    """Why a point cannot be run on this data set with what is on this machine."""
    facts = asked.facts_of(point.spec)
    if point.kind == "train":
        try:
            check_batch(point.spec, num_trained(point.spec, facts), num_workers=1)
            check_selection(point.spec, facts)
        except (TooFewSpecimensError, SpecError) as error:
            return str(error)
    if not resources.offline:
        return None
    lacking = missing_weights(point)
    return (
        "; ".join(f"the weights {name} are not on this machine: {remedy}" for name, remedy in lacking.items()) or None
    )


def write_points(request: SweepRequest, asked: Asked, todo: Plan) -> None:
    """Note in RUNS/SWEEP/points.json which rows were asked for, which points stand for them, and what cannot be run."""
    why = {blocked.point.id: blocked.reason for blocked in todo.blocked if isinstance(blocked.point, Point)}
    for sweep, points in asked.by_sweep.items():
        folder = request.runs / sweep
        stored = folder.read_json(POINTS) if folder.has(POINTS) else []
        entries = {_key(entry): entry for entry in stored}
        entries |= {_key(new): new for new in (entry_of(request, asked.facts, point, why) for point in points)}
        folder.write_json(POINTS, list(entries.values()))


def _key(entry: Mapping[str, Any]) -> str:
    return repr((entry["id"], sorted((entry["row"] or {}).items())))


def entry_of(
    request: SweepRequest, facts: DatasetFacts, point: Point | Impossible, why: Mapping[str, str]
) -> dict[str, Any]:
    """A point as points.json has it, and its own point.json."""
    row = None if point.row is None else {k: list(v) if isinstance(v, tuple) else v for k, v in point.row.items()}
    entry: dict[str, Any] = {"row": row, "label": point.label, "scale": request.scale}
    if isinstance(point, Impossible):
        entry |= {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "synthetic": facts.synthetic}
        entry |= {"id": None, "kind": None, "needs": [], "recipe": request.recipe, "seed": None}
        return entry | {"impossible": point.reason}
    spec = point.spec
    own = {name: getattr(spec, name) for name in ("recipe", "dataset", "data_fingerprint", "synthetic", "seed")}
    about = {"id": point.id, "kind": point.kind, "needs": list(point.needs), "impossible": why.get(point.id)}
    return {**entry, **own, **about}
