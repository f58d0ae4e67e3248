"""How far sweeps are: points by state, what is waited for, time left, and what has been spent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.summaries import Summary, group_of, state_of, summaries
from results.sweep_status import Standing
from sweeps import SWEEPS

_GROUPS = ("done", "running", "waiting", "failed", "not yet", "cannot be")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepProgress:
    """One sweep."""

    sweep: str
    question: str | None
    """What it asks, of those of the paper."""
    tables: tuple[int | str, ...]
    """That it fills."""
    states: Mapping[str, int]
    """Points by state."""
    groups: Mapping[str, int]
    """By what a reader wants to know: done, running, waiting, failed, not yet, cannot be."""
    waiting_for: Mapping[str, int]
    seconds_left: float | None
    """Of the run that says to take the longest; None where none runs that says it."""
    gpu_hours: float
    other_hours: float
    """Hours of workers on CPUs."""
    unknown: int
    """Runs that have begun and do not say yet what they took or on what."""
    errors: tuple[tuple[str, str, str], ...]
    """Of failed and damaged runs: id, label and why."""
    synthetic: bool
    command: str | None
    """That goes on with it, as the last of its runs has it; other sweeps may have begun the rest."""

    @property
    def num_points(self) -> int:
        """Points in all."""
        return sum(self.states.values())


def progress(catalog: Catalog) -> list[SweepProgress]:
    """Every sweep, in the order of the folder."""
    by_sweep: dict[str, list[Standing]] = {}
    for one in catalog.standings:
        by_sweep.setdefault(one.sweep, []).append(one)
    return [sweep_progress(sweep, own, summaries(catalog, own)) for sweep, own in by_sweep.items()]


def sweep_progress(sweep: str, standings: Sequence[Standing], known: Mapping[str, Summary]) -> SweepProgress:
    """One sweep, by its points and the runs that have begun."""
    states = Counter(sorted((state_of(one, known) for one in standings), key=lambda one: _GROUPS.index(group_of(one))))
    groups = Counter(group_of(state_of(one, known)) for one in standings)
    taken = [one.spent for one in known.values()]
    left = [one.seconds_left for one in standings if one.seconds_left is not None]
    waiting = Counter(one.waiting_for for one in standings if one.waiting_for)
    broken = [one for one in standings if state_of(one, known) in ("failed", "damaged") and one.run]
    own = [one for one in standings if one.folder and one.folder.startswith(f"{sweep}/")]
    of_paper = SWEEPS.get(sweep)
    return SweepProgress(
        sweep=sweep,
        question=of_paper.question if of_paper else None,
        tables=tuple(table.number for table in of_paper.tables) if of_paper else (),
        states=states,
        groups={name: groups[name] for name in _GROUPS if groups[name]},
        waiting_for=waiting,
        seconds_left=max(left, default=None),
        gpu_hours=sum(one.gpu_hours or 0.0 for one in taken if one),
        other_hours=sum(one.seconds * one.workers / 3600 for one in taken if one and one.is_cpu),
        unknown=sum(one is None or one.device is None for one in taken),
        errors=tuple((one.run or "", one.label, _why(one, known)) for one in broken),
        synthetic=any(one.synthetic for one in known.values()),
        command=next((one.command for one in reversed(own) if one.command), None),
    )


def _why(standing: Standing, known: Mapping[str, Summary]) -> str:
    summary = known.get(standing.run or "")
    return (summary.problem if summary and summary.is_damaged else standing.error) or "it does not say why"


def price_of(asked: Asked) -> float | None:
    """What a GPU costs an hour, as the reader has said in the option `price`; None where not."""
    try:
        price = float(asked.option("price"))
    except ValueError:
        return None
    return price if 0 < price < 1e6 else None
