"""Names for what was sent: each specimen with its answer, all ranks beside it, and the nearest keys.

Those who ask at once take turns, some specimens at a time, so that nobody waits for all of another's.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from clibd.serving.uploads import Specimen
from workloads.identification.identifying import Asking, Identifier

Row = dict[str, Any]
"""A row of `workloads.identification.answers.ANSWERS`; what is not finite is None."""
_IMAGES, _BARCODES = 8, 64
"""Specimens of a turn: some seconds of one core, with a large image tower too."""


@dataclass(frozen=True, slots=True)
class Named:
    """A specimen with all that is said of it."""

    specimen: Specimen
    answer: Row
    """The deepest rank that holds."""
    ranks: Sequence[Row]
    """Each rank with its confidence, whether it holds or not; none where nothing could be compared."""
    neighbours: Sequence[Row]
    """The nearest keys, nearest first."""


class Turns:
    """Answers those who ask in turns."""

    def __init__(self, identifier: Identifier) -> None:
        self._identifier, self._turn = identifier, threading.Lock()

    def named(self, specimens: Sequence[Specimen], confidence: float, neighbours: int) -> Iterator[Named]:
        """Specimens in their order, some at a time.

        Args:
            specimens: to be named.
            confidence: least one of a name that is given.
            neighbours: how many of the nearest keys to list.
        """
        askings = [Asking(confidence=confidence), Asking(confidence=confidence, all_ranks=True), Asking(k=neighbours)]
        for some in _in_turns(specimens):
            # Ids may stand twice, so that numbers take their place meanwhile.
            queries = [replace(one.query, id=str(number)) for number, one in enumerate(some)]
            with self._turn:
                tables = self._identifier.answers(queries, askings)
            answers, ranks, near = (_by_number(table, some) for table in tables)
            for number, specimen in enumerate(some):
                named = [row for row in ranks[number] if row["rank"] is not None]
                yield Named(specimen, answers[number][0], named, [row for row in near[number] if not row["error"]])


def _in_turns(specimens: Sequence[Specimen]) -> Iterator[Sequence[Specimen]]:
    start = 0
    while start < len(specimens):
        size = _IMAGES if specimens[start].query.image is not None else _BARCODES
        yield specimens[start : start + size]
        start += size


def _by_number(table: pa.Table, specimens: Sequence[Specimen]) -> list[list[Row]]:
    """The rows of each specimen, under its own id again."""
    rows: list[list[Row]] = [[] for _ in specimens]
    for row in table.to_pylist():
        number = int(row["specimen_id"])
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        query = specimens[number].query
        rows[number].append({**plain, "specimen_id": query.id, "file_name": query.where or query.id})
    return rows
