"""Small charts: lines, points, bars and parallel lines, as data that the page draws, as words, and as a table.

Here they are numbers; `static/chart.js` draws them in the colours of the page. Whoever sees no picture has its summary
and the table of its numbers, which `templates/charts.html.j2` puts below each.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from results.dashboard.page import Asked, Link
from results.layout import value_text
from sweeps.table import Value
from workloads.printed_text import escaped

SCRIPTS = ("chart.js",)
"""Scripts of a page with charts; it loads Plotly when there is something to draw."""
MOST_POINTS = 2_000
"""Of one series that are drawn; of more the least and the most of each part."""
_MOST_ROWS = 200
"""Of the table below a chart."""
Drawn = Literal["line", "points", "both"]
Number = float | int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """What is measured along an axis."""

    title: str
    """With the unit in brackets, where it has one."""
    log: bool = False
    share: bool = False
    """Whether values are shares, which are shown in percent; the title says so."""
    words: bool = False
    """Whether values are words, which stand side by side in the order of their first sight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points that belong together: one colour, one dash, one marker."""

    name: str
    x: Sequence[Number | str]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    """Lower ends of the 95 % intervals; empty where there are none."""
    high: Sequence[Number] = ()
    words: Sequence[str] = ()
    """What each point is, shown when it is pointed at and in the table."""
    links: Sequence[Asked | None] = ()
    """Where a click on each point leads."""
    drawn: Drawn = "line"
    column: str | None = None
    """Of the columns that bring further points, while a run goes on."""
    of: int | None = None
    """How many points there were before only the extreme ones of each part were kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class More:
    """The further points of a run that goes on: columns, as `column_file` makes them.

    The macro is given their address; the options `after` and `mark` then say how many rows are known, and which. None
    of these comes again, unless some are other ones now: `from` says of which row the first is. They are called
    NAME-AFTER.
    """

    run: str
    name: str
    after: int
    """Rows that are known so far."""
    mark: str
    """By which they are known again."""
    x: str
    """Column of the places along x; those of y are the `column` of each series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart, ready to be drawn by the macro `chart`."""

    kind: Literal["lines", "scatter", "bars", "parallel"]
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""
    """What has to be known to read it: n, partition, what an interval is."""
    ticks: tuple[tuple[str, ...], ...] = ()
    """Of parallel lines, what stands at the bottom, or bottom and top, or at each place, of every axis."""
    more: More | None = None
    """None where nothing comes any more."""

    @property
    def summary(self) -> str:
        """The chart in a sentence or two."""
        parts = [_described(one, self.x, self.y) for one in self.series if one.y and self.kind != "parallel"]
        if self.kind == "parallel":
            num = sum(value is None for one in self.series for value in one.y)
            parts = [f"{num} runs, a line each, over {len(self.ticks)} fields"]
        some, rest = parts[:8], len(parts) - 8
        return ". ".join([*some, *([f"And {rest} more series"] if rest > 0 else [])]) + "." if parts else "No points."

    @property
    def thinned(self) -> str:
        """Which series are drawn by their extreme points alone, in words; empty where none is."""
        cut = [f"{one.of:,} of {one.name}" for one in self.series if one.of]
        return f"Drawn by the least and the most of each part: {', '.join(cut)}." if cut else ""

    def data(self, link: Link) -> Mapping[str, Any]:
        """What the script draws, as JSON says it; None for what is missing."""
        return {
            "kind": self.kind,
            "title": escaped(self.title),
            "x": _axis(self.x),
            "y": _axis(self.y),
            "series": [_told(one, link) for one in self.series],
            "ticks": [[escaped(text) for text in texts] for texts in self.ticks],
            "more": self.more.name if self.more else None,
            "moreX": self.more.x if self.more else None,
        }

    @property
    def heads(self) -> tuple[tuple[str, bool], ...]:
        """Heads of the table of its numbers, each with whether numbers stand below it."""
        first = [("Series", False)] if len(self.series) > 1 else []
        ends = [("Low", True), ("High", True)] if any(one.low for one in self.series) else []
        last = [("What", False)] if any(one.words for one in self.series) else []
        return (*first, (self.x.title, not self.x.words), (self.y.title, True), *ends, *last)

    @property
    def rows(self) -> list[tuple[tuple[str, ...], Asked | None]]:
        """Rows of the table, each with what its last cell links to; evenly chosen where there are many."""
        every = [row for one in self.series for row in self._rows_of(one)]
        step = max(1, math.ceil(len(every) / _MOST_ROWS))
        return every[::step]

    @property
    def num_rows(self) -> int:
        """Points that there are."""
        return sum(len(one.y) for one in self.series)

    def _rows_of(self, one: Series) -> Iterator[tuple[tuple[str, ...], Asked | None]]:
        intervals = any(other.low for other in self.series)
        worded = any(other.words for other in self.series)
        for place, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
            if y is None:
                continue
            ends = [_written(_at(ends, place), self.y) for ends in (one.low, one.high)] if intervals else []
            words = [_at(one.words, place) or ""] if worded else []
            first = [one.name] if len(self.series) > 1 else []
            yield (*first, _written(x, self.x), _written(y, self.y), *ends, *words), _at(one.links, place)


def lines(title: str, x: Axis, y: Axis, series: Sequence[Series], note: str = "", more: More | None = None) -> Chart:
    """Lines, such as curves of a training; series of many points are drawn by their extreme ones."""
    return Chart(kind="lines", title=title, x=x, y=y, series=tuple(map(thinned, series)), note=note, more=more)


def scatter(title: str, x: Axis, y: Axis, series: Sequence[Series], note: str = "") -> Chart:
    """Points, each with its words and perhaps a link; a series of a line, such as a Pareto front, may go with them."""
    pointed = [replace(one, drawn="points") if one.drawn == "line" and one.words else one for one in series]
    return Chart(kind="scatter", title=title, x=x, y=y, series=tuple(pointed), note=note)


def bars(title: str, x: Axis, y: Axis, series: Sequence[Series], note: str = "") -> Chart:
    """Bars side by side for each word along x, with intervals where there are some."""
    return Chart(kind="bars", title=title, x=replace(x, words=True), y=y, series=tuple(series), note=note)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One of parallel lines: a run, by its fields and numbers."""

    name: str
    group: str
    """Lines of a group have one colour and one dash."""
    values: Mapping[str, Value]
    link: Asked | None = None


def parallel(title: str, fields: Sequence[str], drawn: Sequence[Line], note: str = "") -> Chart:
    """Parallel lines: a vertical axis for each field, from its least to its most, or a place for each of its words."""
    scales = {field: _Scale([one.values.get(field) for one in drawn]) for field in fields}
    groups: dict[str, list[Line]] = {}
    for one in drawn:
        groups.setdefault(one.group, []).append(one)
    series = tuple(_parallel_series(group, own, fields, scales) for group, own in groups.items())
    ticks = tuple((field, *scales[field].ticks) for field in fields)
    x, y = Axis(title="field", words=True), Axis(title="from least to most")
    return Chart(kind="parallel", title=title, x=x, y=y, series=series, ticks=ticks, note=note)


class _Scale:
    """Where values of a field stand on its axis, from 0 to 1."""

    def __init__(self, values: Sequence[Value]) -> None:
        there = [value for value in values if value is not None]
        self._numbers = bool(there) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in there)
        if self._numbers:
            numbers = [float(value) for value in there if isinstance(value, int | float)]
            self._low, self._high = min(numbers), max(numbers)
            self.ticks = tuple(f"{end:.4g}" for end in dict.fromkeys((self._low, self._high)))
        else:
            self.ticks = tuple(sorted({value_text(value) for value in there}))

    def place(self, value: Value) -> float | None:
        """None for a missing one."""
        if value is None:
            return None
        if self._numbers and isinstance(value, int | float):
            return 0.5 if self._low == self._high else (value - self._low) / (self._high - self._low)
        return 0.5 if len(self.ticks) == 1 else self.ticks.index(value_text(value)) / (len(self.ticks) - 1)


def _parallel_series(group: str, drawn: Sequence[Line], fields: Sequence[str], scales: Mapping[str, _Scale]) -> Series:
    """The lines of a group in one series, each ended by a gap."""
    x: list[Number | str] = []
    y: list[Number] = []
    words: list[str] = []
    links: list[Asked | None] = []
    for one in drawn:
        for number, field in enumerate(fields):
            value = one.values.get(field)
            x.append(number)
            y.append(scales[field].place(value))
            words.append(f"{one.name}: {field} {value_text(value)}")
            links.append(one.link)
        x.append(len(fields) - 1)
        y.append(None)
        words.append("")
        links.append(None)
    return Series(name=group, x=x, y=y, words=words, links=links)


def thinned(one: Series) -> Series:
    """A series of at most some thousand points: of each part along x its least and its most."""
    import numpy as np

    count = len(one.y)
    if count <= MOST_POINTS:
        return one
    values = np.array([np.nan if value is None else value for value in one.y], dtype=float)
    kept: set[int] = {0, count - 1}
    for part in np.array_split(np.arange(count), MOST_POINTS // 2):
        finite = part[np.isfinite(values[part])]
        if len(finite):
            kept |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
    places = sorted(kept)
    some: dict[str, Any] = {
        name: [own[n] for n in places]
        for name in ("x", "y", "low", "high", "words", "links")
        if (own := getattr(one, name))
    }
    return replace(one, of=count, **some)


def _described(one: Series, x: Axis, y: Axis) -> str:
    there = [(at, value) for at, value in zip(one.x, one.y, strict=True) if value is not None]
    if not there:
        return f"{one.name}: no points"
    values = [value for _, value in there]
    first, last = (f"{_written(value, y)} at {_written(at, x)}" for at, value in (there[0], there[-1]))
    if len(there) == 1:
        return f"{one.name}: {first}"
    ends = f"from {first} to {last}" if one.drawn != "points" else f"{len(there):,} points"
    return f"{one.name}: {ends}, least {_written(min(values), y)}, most {_written(max(values), y)}"


def _written(value: Number | str, axis: Axis) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if axis.share:
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


def _axis(axis: Axis) -> dict[str, Any]:
    return {"title": escaped(axis.title), "log": axis.log, "share": axis.share, "words": axis.words}


def _told(one: Series, link: Link) -> dict[str, Any]:
    """A series as JSON; what is no finite number is null."""
    told: dict[str, Any] = {"name": escaped(one.name), "drawn": one.drawn, "column": one.column}
    told |= {name: [_plain(value) for value in getattr(one, name)] for name in ("x", "y", "low", "high", "words")}
    return told | {"links": [link(asked) if asked else None for asked in one.links]}


def _plain(value: Number | str) -> float | int | str | None:
    if isinstance(value, str):
        return escaped(value)
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.7g}")
