"""What a sweep is made of: points, each a row of a published table and the experiment that regenerates it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workloads.experiments import Scale
from workloads.spec import ExperimentSpec

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep."""

    row: Mapping[str, Value]
    """Fields that name the row in the published table."""
    label: str
    """The row as a reader says it, at the scale that really ran."""
    spec: ExperimentSpec


@dataclass(frozen=True, slots=True)
class Sweep:
    """One question of the paper, and the runs that answer it."""

    name: str
    table: int
    """Number of the published table."""
    question: str
    points: Callable[[ExperimentSpec, Scale], list[Point]]
    """The points, derived from a base spec."""
