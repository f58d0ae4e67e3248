"""The tables that sweeps declare: each published number has one place, and each published row a point or a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from results.published import PublishedNumber, published_table
from sweeps import SWEEPS
from sweeps.point import Sweep
from sweeps.table import Column, Table, is_statistic
from tests.sweep_cases import base, every_scale, every_sweep
from workloads.experiments import Scale

every_table = pytest.mark.parametrize(
    "table", [table for sweep in SWEEPS.values() for table in sweep.tables], ids=lambda table: str(table.number)
)


def printed(table: Table) -> tuple[PublishedNumber, ...]:
    return published_table(table.number) if isinstance(table.number, int) else ()


def rows_of(table: Table) -> list[Mapping[str, Any]]:
    """Names of a table's published rows."""
    if table.rows is not None:
        return [row.names for row in table.rows if row.published]
    names = [tuple((name, hashable(number.where.get(name))) for name in table.row_fields) for number in printed(table)]
    return [dict(row) for row in dict.fromkeys(names)]


def hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@every_sweep
@every_scale
def test_every_published_row_has_a_point_or_a_reason(sweep: Sweep, scale: Scale) -> None:
    found = sweep.points(base(scale))
    for table in sweep.tables:
        rows = [point.row for point in found if point.row and table.takes.items() <= point.row.items()]
        for names in rows_of(table):
            assert any(names.items() <= row.items() for row in rows), (table.number, names)


def reaches(table: Table, place: "Place", number: PublishedNumber) -> bool:
    """Whether a column, a level and a row are those of a published number."""
    column, level, names = place
    said = {name: hashable(value) for name, value in number.where.items()}
    if said.get("statistic") == "seen_unseen_accuracy":  # the one statistic that is an accuracy (Table 15)
        said["metric"] = said.pop("statistic")
    asked = {**column.where, **({} if is_statistic(column.where) else {"level": level, "partition": table.partition})}
    if is_statistic(asked) != is_statistic(said) or asked.get("metric") != said.get("metric"):
        return False
    same = all(said.get(name, value) == value for name, value in asked.items())  # Table 15 has no level or average
    return same and all(said.get(name) == hashable(value) for name, value in names.items())


Place = tuple[Column, str, Mapping[str, Any]]


def places(table: Table) -> Iterator[Place]:
    for level in table.levels:
        for names in rows_of(table):
            for block in table.blocks:
                yield from ((column, level, names) for column in block.columns if column.published)


@every_table
def test_every_published_number_has_one_place_in_its_table(table: Table) -> None:
    there = list(places(table))
    for number in printed(table):
        assert sum(reaches(table, place, number) for place in there) == 1, number


@every_table
def test_every_published_column_finds_numbers(table: Table) -> None:
    for column in {id(column): column for column, *_ in places(table)}.values():
        here = [place for place in places(table) if place[0] is column]
        assert any(reaches(table, place, number) for place in here for number in printed(table)), column


def test_each_of_the_papers_tables_of_accuracies_is_declared_once() -> None:
    numbers = [table.number for sweep in SWEEPS.values() for table in sweep.tables]
    assert sorted(number for number in numbers if isinstance(number, int)) == [1, 2, 3, 4, *range(8, 21)]
    own = {sweep.name: [t.number for t in sweep.tables if isinstance(t.number, str)] for sweep in SWEEPS.values()}
    names = ("dna-pooling", "improvements", "seeds")
    assert {name: tables for name, tables in own.items() if tables} == {name: [name] for name in names}
