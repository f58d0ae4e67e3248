"""What a sweep is made of: points, each a run or a measurement of runs, and the tables that they feed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from operator import attrgetter
from typing import Literal

from sweeps.table import Table, Value
from workloads.experiments import Data, Experiment, Scale, base_spec, experiment_spec, scaled_batch, starting_from
from workloads.fields import with_fields
from workloads.naming import slug
from workloads.spec import MODALITIES, ExperimentSpec, Modality
from workloads.tower_specs import RUN_PREFIX

PointKind = Literal["train", "untrained", "openclip", "open_set", "bzsl", "attention", "costs"]
"""Trained and measured; measured as it was before training; another model, measured as it is; or a measurement of
finished runs: open-set recognition, Bayesian zero-shot learning, attention maps, costs."""
_MODALITIES = {"image": "images", "dna": "DNA", "text": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One folder of runs: what is made in it, and which rows of tables it stands for."""

    row: Mapping[str, Value] | None
    """Fields that name its rows in the tables; None for a point that only others need."""
    label: str
    """The row as a reader says it, at the scale that really ran."""
    spec: ExperimentSpec
    """The run; of other kinds the data set, recipe and seed that they belong to."""
    kind: PointKind = "train"
    model: str | None = None
    """openclip: which model, as OpenCLIP or the hub names it."""
    uses: Mapping[str, str] = field(default_factory=dict)
    """Other points whose folders this one reads, by what for and their ids: `run` (all measurements of runs),
    `classifier` (open_set), `images` and `dna` (bzsl). Of bzsl `insect` stands for the published features."""

    @property
    def id(self) -> str:
        """Name of its folder: known before anything is trained, and the same on every machine."""
        if self.kind == "train":
            return self.spec.id
        if self.kind == "untrained":
            return f"{self.spec.id}-untrained"
        seed = {"recipe": self.spec.recipe, "data": self.spec.data_fingerprint, "seed": self.spec.seed}
        what = json.dumps([self.kind, self.model, dict(self.uses), seed], sort_keys=True)
        digits = hashlib.sha256(what.encode()).hexdigest()[:8]
        return f"{slug(self.spec.dataset)}-{self.kind.replace('_', '-')}-s{self.spec.seed}-{digits}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the points that have to be finished before this one begins."""
        weights = [getattr(self.spec, name).weights for name in MODALITIES if name in self.spec.modalities]
        starts = [name.removeprefix(RUN_PREFIX) for name in weights if name and name.startswith(RUN_PREFIX)]
        of_spec = starts if self.kind in ("train", "untrained") else []
        return tuple(dict.fromkeys([*of_spec, *(name for name in self.uses.values() if name != "insect")]))


@dataclass(frozen=True, slots=True)
class Impossible:
    """A row that a data set cannot fill, and why; it stands in the plan and in the table."""

    row: Mapping[str, Value]
    label: str
    reason: str


Points = Sequence[Point | Impossible]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the points of a sweep are derived from."""

    spec: ExperimentSpec
    """Alignment of everything that the data set has, for the epochs of the paper's ablations."""
    scale: Scale
    data: Data
    insect: Data | None = None
    """INSECT, prepared, where it was given; points whose spec names it are trained and measured on it."""
    fields: tuple[str, ...] = ()
    """`NAME=VALUE` of every field that was set; `spec` has them, and `experiment` gives them to other experiments."""

    @property
    def changed(self) -> list[str]:
        """The names of the fields that were set."""
        return [field.partition("=")[0].strip() for field in self.fields]

    def batch(self, published: int) -> int:
        """A published batch size at its scale."""
        return scaled_batch(published, self.scale)

    def experiment(self, name: Experiment) -> ExperimentSpec:
        """A named experiment, for the epochs of the paper's main results or those that were set.

        Other fields that were set are not where the experiment itself decides them.

        Raises:
            SpecError: the data set lacks a modality that it needs (`lacks`), or fields contradict each other.
        """
        spec = experiment_spec(name, self.scale, self.data, self.spec.recipe, self.spec.seed)
        plain = base_spec(self.scale, self.data, self.spec.recipe, self.spec.seed)
        free = (name == "epochs" or attrgetter(name)(spec) == attrgetter(name)(plain) for name in self.changed)
        return with_fields(spec, list(compress(self.fields, free)))

    def lacks(self, *needed: Modality, pixels: bool = False) -> str | None:
        """What a row needs and the data set has not, as a sentence; None where it has all.

        Args:
            needed: modalities.
            pixels: whether features in place of images will not do.
        """
        if missing := [_MODALITIES[name] for name in needed if name not in self.data.modalities]:
            return f"{self.data.name} has no {' and no '.join(missing)}, which this row needs"
        if pixels and self.data.image_features:
            return f"{self.data.name} has features in place of images, and this row needs pixels"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One question of the paper, the points that answer it, and the tables that they fill."""

    name: str
    question: str
    points: Callable[[Base], Points]
    tables: tuple[Table, ...] = ()


def point_unless(
    reason: str | None, row: Mapping[str, Value], label: str, spec: Callable[[], ExperimentSpec]
) -> Point | Impossible:
    """A run, or the reason why there is none; its spec is only made where it can be."""
    return Impossible(row, label, reason) if reason else Point(row=row, label=label, spec=spec())


def started(
    start: Point | Impossible, row: Mapping[str, Value], label: str, spec: Callable[[], ExperimentSpec]
) -> Point | Impossible:
    """A run that begins with the towers of another one, or why that one cannot be."""
    if isinstance(start, Impossible):
        return Impossible(row, label, start.reason)
    return Point(row=row, label=label, spec=starting_from(spec(), f"{RUN_PREFIX}{start.id}", start.spec))


def measured(
    kind: PointKind,
    row: Mapping[str, Value],
    label: str,
    uses: Mapping[str, Point | Impossible | str],
    spec: ExperimentSpec | None = None,
) -> Point | Impossible:
    """A measurement of finished runs, or why one of them cannot be.

    Args:
        kind: of the measurement.
        row: that it stands for.
        label: of the row.
        uses: the runs, by what for; what is no run is there by its name.
        spec: the data set, recipe and seed that it belongs to; None: those of the first run.
    """
    for used in uses.values():
        if isinstance(used, Impossible):
            return Impossible(row, label, used.reason)
    runs = [used for used in uses.values() if isinstance(used, Point)]
    ids = {name: used.id if isinstance(used, Point) else str(used) for name, used in uses.items()}
    return Point(row=row, label=label, spec=spec or runs[0].spec, kind=kind, uses=ids)


def behind(*points: Point | Impossible) -> list[Point]:
    """Points that others need, without a row of their own; those that cannot be are named by the others."""
    return [replace(point, row=None) for point in points if isinstance(point, Point)]
