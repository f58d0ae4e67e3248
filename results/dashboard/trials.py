"""The trials of a sweep: what stands in a row of its page, by what it may be sorted, and its charts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from results.dashboard.catalog import Catalog
from results.dashboard.charts import Axis, Chart, Line, Series, parallel, scatter
from results.dashboard.page import Asked
from results.dashboard.summaries import CHIEF_WORDS, Summary, state_of
from results.dashboard.training_log import training_log
from results.layout import value_text
from results.sweep_status import OVER, Standing
from sweeps.table import Value
from workloads.record import EVALUATION, Measurement

_MOST_FIELDS = 9
"""Upright axes of parallel lines beside the numbers; more are no picture any more."""
_LAST = ("dataset", "seed")
_CHIEF = "Accuracy (%)"
NUMBERS = {
    "accuracy": (_CHIEF, lambda one: one.chief.value if one.chief else None),
    "score": ("Score of selection (%)", lambda one: one.score),
    "memory": ("Memory (GB)", lambda one: one.memory_gb),
    "hours": ("Hours an epoch", lambda one: one.hours_per_epoch),
    "gpu-hours": ("GPU hours", lambda one: one.spent.gpu_hours if one.spent else None),
}
"""Numbers of a run that fields are drawn against: the title of their axis, and the number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A point of a sweep as its page shows it."""

    standing: Standing
    state: str
    summary: Summary | None
    loss: float | None
    """The last one that was logged."""
    rate: float | None
    """Specimens a second, of all workers."""
    comparable: bool
    """Whether it was evaluated, and so may be compared."""

    @property
    def name(self) -> str:
        """What the sweep calls it; those of several seeds with the seed."""
        seed = self.summary.fields.get("seed") if self.summary else None
        return f"{self.standing.label}, seed {seed}" if seed is not None else self.standing.label


def trials(catalog: Catalog, standings: Sequence[Standing], known: Mapping[str, Summary]) -> list[Trial]:
    """All points of a sweep."""
    return [_trial(catalog, one, known) for one in standings]


def _trial(catalog: Catalog, standing: Standing, known: Mapping[str, Summary]) -> Trial:
    run, state, loss, rate, there = standing.run, state_of(standing, known), None, None, False
    if run and standing.folder:
        log = training_log(catalog, run)
        loss, rate = log.last("loss"), standing.specimens_per_second or log.last("specimens_per_second")
        place = catalog.place(run)
        there = state == "finished" and f"{place}/{EVALUATION}" in catalog.now.modified
    return Trial(standing=standing, state=state, summary=known.get(run or ""), loss=loss, rate=rate, comparable=there)


# --- Order --------------------------------------------------------------------------------------------------------

_ORDER = ("damaged", "failed", "training", "measuring", "starting", "waiting", "stopping", "interrupted", "not begun")
SORTS: Mapping[str, Callable[[Trial], str | float | None]] = {
    "state": lambda one: (*_ORDER, *OVER).index(one.state) if one.state in (*_ORDER, *OVER) else 99,
    "trial": lambda one: one.name,
    "accuracy": lambda one: one.summary.chief.value if one.summary and one.summary.chief else None,
    "loss": lambda one: one.loss,
    "epoch": lambda one: one.standing.epoch,
    "rate": lambda one: one.rate,
    "memory": lambda one: one.summary.memory_gb if one.summary else None,
    "hours": lambda one: one.summary.hours_per_epoch if one.summary else None,
    "restarts": lambda one: one.standing.restarts,
}
"""By what trials are sorted; without a word they stay in the order in which they were asked for."""


def in_order(shown: Sequence[Trial], by: str, down: bool) -> list[Trial]:
    """Trials in an order; those that have nothing to be sorted by come last."""
    if by not in SORTS:
        return list(shown)
    keyed = [(SORTS[by](one), one) for one in shown]
    there = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: (pair[0],), reverse=down)
    return [one for _, one in there] + [one for key, one in keyed if key is None]


# --- Charts -------------------------------------------------------------------------------------------------------


def varying(shown: Sequence[Trial]) -> list[str]:
    """Fields of the spec in which trials differ: those that name rows of tables first."""
    specs = [one.summary.fields for one in shown if one.summary and one.summary.fields]
    rows = dict.fromkeys(name for one in shown if one.summary for name in one.summary.row)
    names = dict.fromkeys(name for fields in specs for name in fields)
    differing = [name for name in names if len({value_text(fields.get(name)) for fields in specs}) > 1]
    return sorted(differing, key=lambda name: (name in _LAST, name not in rows))


def parallel_chart(shown: Sequence[Trial]) -> Chart | None:
    """A line for each trial over the fields in which they differ, and over what came out; None of fewer than two."""
    drawn = [(one, one.summary) for one in shown if one.summary and one.summary.fields]
    fields = varying(shown)[:_MOST_FIELDS]
    numbers = {title: get for title, get in NUMBERS.values() if any(get(known) is not None for _, known in drawn)}
    if len(drawn) < 2 or len(fields) + len(numbers) < 2:
        return None
    lines = [
        Line(
            name=one.name,
            group=one.state,
            values={name: known.fields.get(name) for name in fields} | _shown_numbers(numbers, known),
            link=Asked("run", known.run),
        )
        for one, known in drawn
    ]
    left = len(varying(shown)) - len(fields)
    note = f"Each line is a run, over the fields in which they differ and what came out. Accuracy: {CHIEF_WORDS}."
    note += f" {left} more fields differ; the next chart has them." if left else ""
    return parallel("Fields and what came out", [*fields, *numbers], lines, note)


def _shown_numbers(numbers: Mapping[str, Callable[[Summary], float | None]], known: Summary) -> dict[str, Value]:
    values = {title: get(known) for title, get in numbers.items()}
    return {title: 100 * value if value is not None and "(%)" in title else value for title, value in values.items()}


def field_chart(shown: Sequence[Trial], field: str, number: str) -> Chart:
    """A field of the spec against a number, a series for each state."""
    title, get = NUMBERS[number]
    points = [(one, one.summary, get(one.summary)) for one in shown if one.summary and field in one.summary.fields]
    there = [(one, known, value) for one, known, value in points if value is not None]
    values = [known.fields[field] for _, known, _ in there]
    numeric = bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    series = []
    for state in dict.fromkeys(one.state for one, _, _ in there):
        own = [each for each in there if each[0].state == state]
        low, high = _ends([known for _, known, _ in own]) if number == "accuracy" else ((), ())
        series.append(
            Series(
                name=state,
                x=[_place(known.fields[field], numeric) for _, known, _ in own],
                y=[value for _, _, value in own],
                low=low,
                high=high,
                words=[f"{one.name}: {field} {value_text(known.fields[field])}" for one, known, _ in own],
                links=[Asked("run", known.run) for _, known, _ in own],
                drawn="points",
            )
        )
    note = f"Accuracy: {CHIEF_WORDS}; 95 % intervals." if number == "accuracy" else ""
    axes = Axis(title=field, words=not numeric), Axis(title=title, share="(%)" in title)
    return scatter(f"{title} by {field}", *axes, series, note)


def _place(value: Value, numeric: bool) -> float | str:
    return float(value) if numeric and isinstance(value, int | float) else value_text(value)


def _ends(known: Sequence[Summary]) -> tuple[list[float | None], list[float | None]]:
    chiefs = [one.chief for one in known]
    if not all(one and one.low is not None and one.high is not None for one in chiefs):
        return [], []
    return [one.low for one in chiefs if one], [one.high for one in chiefs if one]


def pareto_chart(shown: Sequence[Trial], number: str) -> Chart | None:
    """Accuracy against what it costs, with the line of those that none beats in both; None without two such runs.

    Runs of other data sets were asked other queries, and have points and a line of their own.
    """
    title, get = NUMBERS[number]
    there = [(one, one.summary, one.summary.chief) for one in shown if one.summary and one.summary.chief]
    points = [
        _Point(one.name, known, chief, cost)
        for one, known, chief in there
        if chief and (cost := get(known)) is not None
    ]
    if len(points) < 2:
        return None
    datasets = dict.fromkeys(point.known.dataset for point in points)
    series = []
    for dataset in datasets:
        own = sorted(
            (one for one in points if one.known.dataset == dataset), key=lambda one: (one.cost, -one.chief.value)
        )
        series += _front(own, f" on {dataset}" if len(datasets) > 1 else "")
    note = f"Accuracy: {CHIEF_WORDS}; 95 % intervals. The line joins runs that no other beats in both."
    named = f"Accuracy against {title[:1].lower()}{title[1:]}"
    return scatter(named, Axis(title=title), Axis(title=_CHIEF, share=True), series, note)


class _Point(NamedTuple):
    """A run by what it reached and what that took."""

    name: str
    known: Summary
    chief: Measurement
    cost: float


def _front(points: Sequence[_Point], where: str) -> list[Series]:
    """Points in the order of their costs, and the line of the best."""
    values = [one.chief.value for one in points]
    best = [n for n, value in enumerate(values) if all(value > other for other in values[:n])]
    low, high = _ends([one.known for one in points])
    runs = Series(
        name=f"runs{where}",
        x=[one.cost for one in points],
        y=values,
        low=low,
        high=high,
        words=[one.name for one in points],
        links=[Asked("run", one.known.run) for one in points],
        drawn="points",
    )
    front = Series(name=f"Pareto line{where}", x=[points[n].cost for n in best], y=[values[n] for n in best])
    return [runs, front]
