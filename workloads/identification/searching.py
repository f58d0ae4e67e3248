"""The nearest keys of every query, exactly, over keys that are mapped and never held whole."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from workloads.arrays import Floats, Indices
from workloads.evaluation.retrieval import nearest_keys

_BLOCK = 65_536
"""Keys that are searched at a time: 256 MB in fp32 where they have 1,024 numbers."""


class Rows(Protocol):
    """Unit vectors of which any block can be had without the others."""

    def __len__(self) -> int:
        """How many there are."""

    def block(self, start: int, stop: int) -> Floats:
        """Some of them, fp32 (stop - start, size)."""


def nearest(queries: Floats, keys: Rows, num_neighbours: int) -> tuple[Indices, Floats]:
    """Exact search, block by block; ties to the lowest key, as if all had been searched at once.

    Args:
        queries: unit rows, (queries, size).
        keys: unit rows of that size, one at least.
        num_neighbours: how many keys to find; all of them when there are fewer.

    Returns:
        Numbers of the keys, nearest first, and their cosines, both (queries, neighbours).
    """
    found: tuple[Indices, Floats] | None = None
    for start, block in _blocks(keys):
        indices, cosines = nearest_keys(queries, block, num_neighbours)
        found = _merged(found, (indices + start, cosines), num_neighbours)
    assert found is not None, "a database has one key at least"
    return found


def _blocks(keys: Rows) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(keys), _BLOCK):
        yield start, keys.block(start, min(start + _BLOCK, len(keys)))


def _merged(found: tuple[Indices, Floats] | None, more: tuple[Indices, Floats], wanted: int) -> tuple[Indices, Floats]:
    """The nearest of two lists; those of the first have lower numbers, so a stable sort keeps ties in order."""
    if found is None:
        return more
    indices = np.concatenate([found[0], more[0]], axis=1)
    cosines = np.concatenate([found[1], more[1]], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :wanted]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(cosines, order, axis=1)
