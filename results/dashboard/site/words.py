"""How templates write numbers, times and states: the same on every page."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from results.dashboard.names import feature_name, partition_name
from results.layout import percent
from workloads.command_line import clock

_DASH = "–"
MARKS = {
    **dict.fromkeys(("finished",), "✓"),
    **dict.fromkeys(("failed", "damaged"), "✗"),
    **dict.fromkeys(("training", "measuring", "starting"), "▶"),
    **dict.fromkeys(("waiting", "stopping"), "⏸"),
    **dict.fromkeys(("interrupted",), "⏏"),
    **dict.fromkeys(("not begun", "impossible"), "○"),
}
"""A sign for each state beside its word, so that colour is never the only one."""


def count(value: float | None) -> str:
    """A whole number with separators."""
    return _DASH if value is None else f"{value:,.0f}"


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits."""
    return _DASH if value is None else f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return _DASH if difference is None else f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value."""
    return _DASH if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    return _DASH if seconds is None else clock(seconds)


def day(moment: float | str | None) -> str:
    """A moment, in UTC: seconds since 1970, or as ISO 8601 writes it; other words stay as they are."""
    try:
        seconds = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment
    except ValueError:
        return str(moment)
    return _DASH if seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def mark(state: str) -> str:
    """The sign of a state."""
    return MARKS.get(state, "•")


FILTERS: Mapping[str, Callable[..., Any]] = {
    "count": count,
    "number": number,
    "percent": percent,
    "points": points,
    "p_value": p_value,
    "duration": duration,
    "day": day,
    "mark": mark,
    "partition": partition_name,
    "feature": feature_name,
}
