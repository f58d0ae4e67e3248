"""What to run, what waits for what, what cannot be, and how long it takes: decisions without disk, clock or Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import mean

from sweeps.point import Impossible, Point, PointKind
from workloads.errors import UsageError
from workloads.record import State


@dataclass(frozen=True, slots=True)
class Plan:
    """The points of a sweep, sorted by what is to be done."""

    finished: tuple[Point, ...]
    waves: tuple[tuple[Point, ...], ...]
    """To run, in this order: the points of a wave need only what is finished, or ends with an earlier wave."""
    blocked: tuple[tuple[Point | Impossible, str], ...] = ()
    """What cannot be run, and why."""

    @property
    def to_run(self) -> tuple[Point, ...]:
        """All that is to run."""
        return tuple(chain(*self.waves))

    @property
    def lost(self) -> dict[str, str]:
        """Why points cannot be run, by id."""
        return {point.id: reason for point, reason in self.blocked if isinstance(point, Point)}


def plan(
    points: Sequence[Point | Impossible],
    states: Mapping[str, State],
    refused: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
) -> Plan:
    """Skip what finished, run the rest as soon as what it needs is there; two points with one id run once.

    Args:
        points: what the sweep asks for.
        states: state of each folder, by id; a missing id never began.
        refused: why points that are not finished, or not what they seem, cannot be run, by id.
        failed: why points ended without success, which are not to be tried again, by id.
    """
    distinct = {point.id: point for point in points if isinstance(point, Point)}
    done = {name for name, state in states.items() if state == "finished" and name not in (refused or {})}
    pending = {name: point for name, point in distinct.items() if name not in done}
    said = {"cannot run": refused or {}, "failed": failed or {}}
    why = {name: (verb, reason) for verb, of in said.items() for name, reason in of.items() if name in pending}
    waves, there = [], set(done)
    while wave := [p for p in pending.values() if p.id not in there and p.id not in why and there.issuperset(p.needs)]:
        waves.append(tuple(wave))
        there |= {point.id for point in wave}
    left = {name: point for name, point in pending.items() if name not in there}
    impossible = [(point, point.reason) for point in points if isinstance(point, Impossible)]
    return Plan(
        tuple(point for name, point in distinct.items() if name in done),
        tuple(waves),
        (*impossible, *((point, _reason(point, left, why, there)) for point in left.values())),
    )


def _reason(point: Point, left: Mapping[str, Point], why: Mapping[str, tuple[str, str]], there: set[str]) -> str:
    """Why a point cannot begin: by itself, or for the first of what it needs that cannot."""
    if point.id in why:
        return why[point.id][1]
    lost = next(name for name in point.needs if name not in there)
    what = f"its start {lost}" if point.kind in ("train", "untrained") else f"{lost}, which it measures,"
    if lost not in left:
        return f"{what} is neither a point of this sweep nor finished under --runs"
    verb = why[lost][0] if lost in why else "cannot run"
    return f"{what} {verb}: {_reason(left[lost], left, why, there)}"


def matching(points: Sequence[Point | Impossible], text: str) -> list[Point | Impossible]:
    """The points whose label holds a text, or whose row says it as `field=value`; what they need comes along.

    Raises:
        UsageError: there is none.
    """
    wanted = text.casefold()
    matches = [p for p in points if wanted in p.label.casefold() or wanted in _row_texts(p)]
    if not matches:
        labels = ", ".join(dict.fromkeys(f"'{p.label}'" for p in points if p.row is not None))
        raise UsageError(f"--filter '{text}': no point has this in its label or as field=value; there are {labels}")
    needed = {name for p in matches if isinstance(p, Point) for name in p.needs}
    known = {p.id: p for p in points if isinstance(p, Point)}
    while further := {name for old in needed & known.keys() for name in known[old].needs} - needed:
        needed |= further
    return [p for p in points if p in matches or (isinstance(p, Point) and p.id in needed)]


def _row_texts(point: Point | Impossible) -> set[str]:
    """The fields of a row as `field=value`, in small letters."""
    texts = {name: "+".join(v) if isinstance(v, tuple) else str(v) for name, v in (point.row or {}).items()}
    return {f"{name}={value}".casefold() for name, value in texts.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What a point is thought to take: seconds, operations, bytes."""

    kind: PointKind
    training: float
    """Seconds, as all times."""
    start: float
    """Until its first batch."""
    end: float
    """Behind its last epoch; of a measurement, all of it."""
    selecting: float = 0.0
    """What is embedded behind each epoch that may be selected."""
    flops: float = 0.0
    """Operations of training and of embedding; 0 for measurements that do neither."""
    devices: int = 1
    """GPUs; of a machine without, itself."""
    memory: float = 0.0
    """What the busiest device holds, bytes: an estimate from below, without what libraries and caches take."""
    disk: float = 0.0
    """Weights and embeddings."""

    @property
    def seconds(self) -> float:
        """On the clock."""
        return self.training + self.selecting + self.start + self.end

    @property
    def device_hours(self) -> float:
        """Hours that GPUs are taken; where there are none, the machine."""
        return self.seconds * self.devices / 3600


@dataclass(slots=True)
class Pace:
    """What the finished part of a sweep says about the rest."""

    expected: Mapping[str, Effort]
    """What each point to run will take, by id."""
    at_once: int = 1
    """Points side by side."""
    done: dict[str, float] = field(default_factory=dict)
    """Share of its training, of each that has begun to train."""
    ended: set[str] = field(default_factory=set)
    seconds_of_training: float = 0.0
    """Measured."""
    thought_of_training: float = 0.0
    """What had been expected of the same."""
    starts: list[float] = field(default_factory=list)
    ends: dict[PointKind, list[float]] = field(default_factory=dict)

    def trained(self, point: str, share: float, seconds: float) -> None:
        """A point has trained up to a share, the last part in so many seconds."""
        self.thought_of_training += self.expected[point].training * (share - self.done.get(point, 0.0))
        self.seconds_of_training += seconds
        self.done[point] = share

    @property
    def seconds_left(self) -> float:
        """Expected seconds until the last point ends."""
        ratio = self.seconds_of_training / self.thought_of_training if self.thought_of_training else 1.0
        left = 0.0
        for name in self.expected.keys() - self.ended:
            point = self.expected[name]
            left += (ratio * point.training + point.selecting) * (1 - self.done.get(name, 0.0))
            left += mean(self.ends.get(point.kind) or [point.end])
            if name not in self.done and point.kind == "train":
                left += mean(self.starts or [point.start])
        return left / self.at_once
