"""The paper's published numbers (CLIBD, ICLR 2025), in long form.

`published_tables.json`, and of Appendix D.4 `published_costs.json`, hold one object a number, as printed: accuracies in
percent, hours, gigabytes. A `note` marks a number that cannot be right as printed, or says what it must mean. Here
accuracies are shares in [0, 1], like ours, and lists are tuples.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_DETECTION = "seen_unseen_accuracy"
"""The one statistic that is an accuracy (Table 15)."""


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """One printed number and the fields that place it."""

    where: Mapping[str, Any]
    value: float
    note: str | None

    @property
    def in_cell(self) -> dict[str, Any]:
        """What a cell says of it."""
        return {"published": self.value, "published_note": self.note}


@cache
def _entries() -> list[dict[str, Any]]:
    files = [resources.files("results") / name for name in ("published_tables.json", "published_costs.json")]
    return [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))]


@cache
def published_table(number: int | str) -> tuple[PublishedNumber, ...]:
    """Every number of one published table; none of a table that the paper does not have."""
    return tuple(_number(entry) for entry in _entries() if entry["table"] == number)


def _number(entry: Mapping[str, Any]) -> PublishedNumber:
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    where = {name: value for name, value in told.items() if name not in ("value", "note", "table")}
    is_share = where.get("statistic", _DETECTION) == _DETECTION
    if is_share and "average" not in where:  # Table 15, whose rates are of what a measurement calls its metric
        where["metric"] = where.pop("statistic", "top1")
    return PublishedNumber(where, entry["value"] / 100.0 if is_share else entry["value"], entry.get("note"))


@cache
def _fields(number: int | str) -> frozenset[str]:
    return frozenset(name for entry in published_table(number) for name in entry.where)


@cache
def _index(number: int | str, fields: tuple[str, ...]) -> Mapping[tuple[Any, ...], PublishedNumber]:
    """Numbers of a table by the values of some fields; the first of several."""
    entries = reversed(published_table(number))
    return {tuple(entry.where.get(name) for name in fields): entry for entry in entries}


def find_published(number: int | str, where: Mapping[str, Any]) -> PublishedNumber | None:
    """The printed number at a place, None where the paper has a dash; fields that the table lacks say nothing."""
    known = tuple(sorted(_fields(number) & where.keys()))
    return _index(number, known).get(tuple(where[name] for name in known)) if known else None
