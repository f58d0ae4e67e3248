"""The paper's published numbers (CLIBD, ICLR 2025), in long form.

`published_tables.json` holds one object a number, as printed: accuracies in percent, hours, gigabytes. A `note` marks a
number that cannot be right as printed. Here accuracies are shares in [0, 1], like ours, and lists are tuples.
"""

import json
from collections import defaultdict
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


@cache
def _tables() -> Mapping[int, tuple[PublishedNumber, ...]]:
    text = resources.files("results").joinpath("published_tables.json").read_text(encoding="utf-8")
    found: dict[int, list[PublishedNumber]] = defaultdict(list)
    for entry in json.loads(text):
        found[entry["table"]].append(_number(entry))
    return {number: tuple(entries) for number, entries in found.items()}


def published_table(number: int) -> tuple[PublishedNumber, ...]:
    """Every number of one published table; none of a table that the paper does not have."""
    return _tables().get(number, ())


def _number(entry: Mapping[str, Any]) -> PublishedNumber:
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    where = {name: value for name, value in told.items() if name not in ("value", "note", "table")}
    is_share = where.get("statistic", _DETECTION) == _DETECTION
    if is_share and "average" not in where:  # Table 15, whose rates are of what a measurement calls its metric
        where["metric"] = where.pop("statistic", "top1")
    return PublishedNumber(where, entry["value"] / (100.0 if is_share else 1.0), entry.get("note"))


@cache
def _fields(number: int) -> frozenset[str]:
    return frozenset(name for entry in published_table(number) for name in entry.where)


@cache
def _index(number: int, fields: tuple[str, ...]) -> Mapping[tuple[Any, ...], PublishedNumber]:
    """Numbers of a table by the values of some fields; the first of several."""
    found: dict[tuple[Any, ...], PublishedNumber] = {}
    for entry in published_table(number):
        found.setdefault(tuple(entry.where.get(name) for name in fields), entry)
    return found


def find_published(number: int, where: Mapping[str, Any]) -> PublishedNumber | None:
    """The printed number at a place, None where the paper has a dash; fields that the table lacks say nothing."""
    known = tuple(sorted(_fields(number) & where.keys()))
    return _index(number, known).get(tuple(where[name] for name in known)) if known else None
