"""The nearest keys of every query, exactly, over keys that are mapped and never held whole."""

from collections.abc import Iterator

import numpy as np

from workloads.arrays import Floats, Indices, Mask
from workloads.errors import EmbeddingsError
from workloads.evaluation.candidates import Chosen, Rows
from workloads.evaluation.retrieval import Keys, check_length, check_units

_BLOCK = 131_072
"""Keys that are searched at a time: 256 MB in bf16 where they have 1,024 numbers."""
_MOST_HELD = 3 << 28
"""Bytes in bf16 of keys that stay ready for the next queries; where there are more, each block is made anew."""


class KeySearch:
    """Exact search among the keys of a database, or among some of them, as often as there are queries."""

    def __init__(self, keys: Rows, num_neighbours: int, chosen: Mask | None = None) -> None:
        """Read nothing yet.

        Args:
            keys: unit rows, one at least.
            num_neighbours: how many keys to find for each query; all of them when there are fewer.
            chosen: among which keys, one at least, (keys,); None for all of them.
        """
        self._keys, self._chosen, self.num_neighbours = keys, chosen, num_neighbours
        self._held: dict[int, Keys] = {}

    def nearest(self, queries: Floats) -> tuple[Indices, Floats]:
        """Ties go to the lowest key, as if all had been searched at once.

        Args:
            queries: unit rows, (queries, size).

        Returns:
            Numbers of the keys, nearest first, and their cosines, both (queries, neighbours).

        Raises:
            EmbeddingsError: queries or keys are not of unit length.
        """
        check_units("queries", queries)
        found: tuple[Indices, Floats] | None = None
        for start, numbers in self._blocks():
            places, cosines = self._ready(start, numbers).nearest(queries)
            found = _merged(found, (numbers[places], cosines), self.num_neighbours)
        if found is None:
            raise EmbeddingsError("there is not one key to search among")
        return found

    def _blocks(self) -> Iterator[tuple[int, Indices]]:
        """Where each block starts, and the numbers of its keys that are searched."""
        for start in range(0, len(self._keys), _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, len(self._keys)))
            if self._chosen is not None:
                numbers = numbers[self._chosen[numbers]]
            if len(numbers):
                yield start, numbers

    def _ready(self, start: int, numbers: Indices) -> Keys:
        """A block that can be searched."""
        if start in self._held:
            return self._held[start]
        ready = Keys(Chosen(self._keys, numbers), self.num_neighbours)
        check_length("keys", ready.longest)
        if len(self._keys) * self._keys.size * 2 <= _MOST_HELD:
            self._held[start] = ready
        return ready


def nearest(queries: Floats, keys: Rows, num_neighbours: int) -> tuple[Indices, Floats]:
    """The search of `KeySearch`, once."""
    return KeySearch(keys, num_neighbours).nearest(queries)


def _merged(found: tuple[Indices, Floats] | None, more: tuple[Indices, Floats], wanted: int) -> tuple[Indices, Floats]:
    """The nearest of two lists; those of the first have lower numbers, so a stable sort keeps ties in order."""
    if found is None:
        return more
    indices = np.concatenate([found[0], more[0]], axis=1)
    cosines = np.concatenate([found[1], more[1]], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :wanted]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(cosines, order, axis=1)
