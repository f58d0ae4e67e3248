"""The cells of a table: published, ours over seeds, and the difference, each with the runs behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from results.collect import FinishedRun, Group
from results.published import find_published, published_table
from results.tables import Column, Table

MISSING = object()
Value = tuple[float, float | None, float | None]
"""A value, and the ends of its interval."""


@dataclass(frozen=True, slots=True)
class Ours:
    """Our value at a place of a table."""

    mean: float
    standard_error: float | None
    """Over seeds; None for a single run."""
    runs: tuple[str, ...]
    low: float | None = None
    """Lower end of a single run's 95 % interval; None for several, and for costs."""
    high: float | None = None
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a table. Accuracies are shares in [0, 1], costs have the unit of their column."""

    block: str
    column: str
    is_accuracy: bool
    published: float | None
    note: str | None
    """Why the published number cannot be right as printed."""
    ours: Ours | None

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        if self.ours is None or self.published is None:
            return None
        return self.ours.mean - self.published


@dataclass(frozen=True, slots=True)
class Row:
    """One published row, and what was run for it."""

    level: str
    names: Mapping[str, Any]
    label: str | None
    """The run as it really was; None when it is not finished."""
    cells: tuple[Cell, ...]


def table_rows(table: Table, group: Group) -> list[Row]:
    """Every published row of a table, filled with the group's runs."""
    rows = []
    for level in table.levels:
        for names in _published_rows(table):
            runs = [run for run in group.runs if all(run.row.get(k, MISSING) == v for k, v in names.items())]
            cells = tuple(
                _cell(table, block.title, column, level, names, runs)
                for block in table.blocks
                for column in block.columns
            )
            rows.append(Row(level, names, runs[0].label if runs else None, cells))
    return rows


def _published_rows(table: Table) -> list[dict[str, Any]]:
    """The rows in the order of print."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number in published_table(table.number):
        names = {name: number.where.get(name) for name in table.row_fields}
        rows.setdefault(tuple(names.values()), names)
    return list(rows.values())


def _cell(
    table: Table, block: str, column: Column, level: str, names: Mapping[str, Any], runs: list[FinishedRun]
) -> Cell:
    is_accuracy = "statistic" not in column.where
    where = {**column.where, **({"level": level, "partition": table.partition} if is_accuracy else {})}
    printed = find_published(table.number, {**where, **names})
    values = {run.id: _value(run, where) for run in runs}
    return Cell(
        block=block,
        column=column.header,
        is_accuracy=is_accuracy,
        published=printed.value if printed else None,
        note=printed.note if printed else None,
        ours=over_seeds({name: value for name, value in values.items() if value is not None}),
    )


def _value(run: FinishedRun, where: Mapping[str, Any]) -> Value | None:
    """A run's value with the ends of its interval."""
    if "statistic" in where:
        cost = run.statistic(where["statistic"])
        return None if cost is None else (cost, None, None)
    wanted = {"method": "clibd", "metric": "top1", "keys": "all", **where}
    for row in run.measurements:
        if all(getattr(row, name) == value for name, value in wanted.items()):
            return row.value, row.low, row.high
    return None


def over_seeds(values: Mapping[str, Value]) -> Ours | None:
    """Mean and standard error over runs that differ in their seed; of a single run its value and interval."""
    if not values:
        return None
    runs = tuple(sorted(values))
    if len(values) == 1:
        [(value, low, high)] = values.values()
        return Ours(value, None, runs, low, high)
    found = [value for value, _, _ in values.values()]
    return Ours(float(np.mean(found)), float(stats.sem(found)), runs)
