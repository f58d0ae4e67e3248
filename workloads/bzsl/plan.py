"""How many settings are gone through at once: what they share is done once, and memory stays bounded.

The seen species do not depend on the number of surrogates. The unseen ones need a square matrix each, whose side is the
number of their surrogates' images; where all of these would take too much room, the queries are passed several times.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from workloads.arrays import Doubles, Indices
from workloads.bzsl.seen import SeenSpecies
from workloads.bzsl.settings import Form, Setting
from workloads.bzsl.species import Species
from workloads.bzsl.student import Emit, Queries
from workloads.bzsl.unseen import UnseenSpecies, matrix_bytes

SurrogatesOf = Callable[[int], Indices]
"""So many surrogates of each unseen species, (unseen, count)."""
Evaluate = Callable[[Queries, Emit, Emit], None]
"""Hands log-likelihoods of seen and of unseen species over."""
_Unseen = tuple[UnseenSpecies, Indices, int]
"""Some unseen species, the numbers of the settings that they are under, and the place of the first."""

_MATRIX_BYTES = 512 << 20
"""Of the unseen species' matrices in one pass. INSECT's take 3 MB with up to three surrogates."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Some unseen species with one number of surrogates."""

    num_surrogates: int
    first: int
    last: int


class Plan:
    """Settings sorted by what they share, and unseen species by what fits."""

    def __init__(self, species: Species, form: Form, surrogates: SurrogatesOf, settings: Sequence[Setting]) -> None:
        self._species, self._form, self._surrogates, self._settings = species, form, surrogates, settings
        keys = [(s.kappa0, s.kappa1, s.m, s.s) for s in settings]
        first = {key: number for number, key in reversed(list(enumerate(keys)))}
        numbers = sorted(first.values())
        self.seen_settings = [settings[number] for number in numbers]
        self.seen_of = np.array([numbers.index(first[key]) for key in keys])
        """Which of the seen settings each setting has."""
        self._shares = self._shared_out()
        self.num_passes = len(self._shares)
        """How often the queries are gone through."""

    def _shared_out(self) -> list[list[_Share]]:
        shares: list[list[_Share]] = [[]]
        room = _MATRIX_BYTES
        for count in sorted({setting.num_surrogates for setting in self._settings}):
            first = 0
            sizes = matrix_bytes(self._species, self._surrogates(count)).tolist()
            for place, size in enumerate(sizes):
                if size > room and (place > first or shares[-1]):
                    shares[-1] += [_Share(count, first, place)] if place > first else []
                    shares.append([])
                    first, room = place, _MATRIX_BYTES
                room -= size
            shares[-1].append(_Share(count, first, len(sizes)))
        return shares

    def passes(self) -> Iterator[Evaluate]:
        """What is to be done with every batch of queries, pass by pass; each is made when its turn comes."""
        seen: SeenSpecies | None = SeenSpecies(self._species, self.seen_settings, self._form)
        for shares in self._shares:
            yield partial(_evaluate, seen, [self._unseen(share) for share in shares])
            seen = None

    def _unseen(self, share: _Share) -> _Unseen:
        members = np.flatnonzero([setting.num_surrogates == share.num_surrogates for setting in self._settings])
        chosen = [self._settings[number] for number in members.tolist()]
        surrogates = self._surrogates(share.num_surrogates)[share.first : share.last]
        return UnseenSpecies(self._species, surrogates, chosen), members.astype(np.int64), share.first


def _evaluate(
    seen: SeenSpecies | None, unseen: Sequence[_Unseen], queries: Queries, of_seen: Emit, of_unseen: Emit
) -> None:
    if seen is not None:
        seen.evaluate(queries, of_seen)
    for species, members, offset in unseen:
        species.evaluate(queries, _renumbered(of_unseen, members, offset))


def _renumbered(emit: Emit, members: Indices, offset: int) -> Emit:
    return lambda number, first, values: emit(int(members[number]), offset + first, values)


@dataclass(slots=True)
class Best:
    """The most likely candidate so far of each query under each setting; the first of equals."""

    place: Indices
    """(settings, queries)."""
    value: Doubles

    def __init__(self, num_settings: int, num_queries: int) -> None:
        self.place = np.zeros((num_settings, num_queries), dtype=np.int64)
        self.value = np.full((num_settings, num_queries), -np.inf)

    def taking(self, start: int, end: int) -> Emit:
        """Takes log-likelihoods of some candidates for some queries, candidates of a setting in rising order."""

        def offer(setting: int, first: int, values: Doubles) -> None:
            place = values.argmax(axis=0)
            value = values[place, np.arange(len(place))]
            better = value > self.value[setting, start:end]
            self.place[setting, start:end][better] = first + place[better]
            self.value[setting, start:end][better] = value[better]

        return offer
