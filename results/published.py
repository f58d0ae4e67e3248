"""The paper's published numbers (CLIBD, ICLR 2025), in long form.

`published_tables.json` holds one object a number, as printed: accuracies in percent, hours, gigabytes. A `note` marks a
number that cannot be right as printed. Here accuracies are shares in [0, 1], like ours.
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


@cache
def published_table(number: int) -> tuple[PublishedNumber, ...]:
    """Every number of one published table."""
    text = resources.files("results").joinpath("published_tables.json").read_text(encoding="utf-8")
    return tuple(_number(entry) for entry in json.loads(text) if entry["table"] == number)


def _number(entry: dict[str, Any]) -> PublishedNumber:
    where = {name: value for name, value in entry.items() if name not in ("value", "note", "table")}
    scale = 1.0 if entry.get("statistic", _DETECTION) != _DETECTION else 100.0
    return PublishedNumber(where, entry["value"] / scale, entry.get("note"))


def find_published(number: int, where: Mapping[str, Any]) -> PublishedNumber | None:
    """The printed number at a place, None where the paper has a dash."""
    for entry in published_table(number):
        if all(entry.where.get(name) == value for name, value in where.items()):
            return entry
    return None
