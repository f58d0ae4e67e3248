"""What to run, what to skip, and how long it will take: decisions without disk, clock or Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.point import Point
from workloads.errors import DriftError
from workloads.record import State
from workloads.spec import ExperimentSpec, first_difference


@dataclass(frozen=True, slots=True)
class Plan:
    """The points of a sweep, sorted by what is to be done."""

    finished: tuple[Point, ...]
    to_run: tuple[Point, ...]


def plan(points: Sequence[Point], states: Mapping[str, State], stored: Mapping[str, ExperimentSpec]) -> Plan:
    """Skip what finished, run the rest; two points with one spec run once.

    Args:
        points: what the sweep asks for.
        states: state of each run folder, by run id; a missing id never began.
        stored: the specs of finished runs, by run id.

    Raises:
        DriftError: a finished run was another experiment.
    """
    finished, to_run = [], []
    for point in {point.spec.id: point for point in points}.values():
        if states.get(point.spec.id, "missing") != "finished":
            to_run.append(point)
            continue
        if difference := first_difference(stored[point.spec.id], point.spec):
            raise DriftError(point.spec.id, *difference)
        finished.append(point)
    return Plan(tuple(finished), tuple(to_run))


@dataclass(slots=True)
class Pace:
    """What the finished part of a sweep says about the rest. Work is counted in specimens seen."""

    work: Mapping[str, float]
    """Of each run to do."""
    done: dict[str, float]
    """Of each run, so far."""
    seconds_of_training: float = 0.0
    work_of_training: float = 0.0
    overhead: float = 25.0
    """Seconds a run takes beside training: a first guess, then the last measured."""

    def seconds_left(self, num_open: int, at_once: int = 1) -> float | None:
        """Expected seconds until the last run ends; None before anything was measured.

        Args:
            num_open: runs that have not begun to train.
            at_once: runs side by side.
        """
        if not self.seconds_of_training:
            return None
        left = sum(self.work.values()) - sum(self.done.values())
        rate = self.work_of_training / self.seconds_of_training
        return (left / rate + num_open * self.overhead) / at_once
