"""The same queries, answered by two runs: read from two evaluated folders, and refused where they are not the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.arrays import Names
from workloads.errors import IncomparableError
from workloads.predictions import PAPERS_PAIRS, Answers, MissingRank, Place, Predictions
from workloads.record import read_evaluation
from workloads.spec import RANKS, Rank
from workloads.storage import Folder


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """One retrieval of both runs; row i is the same query in both."""

    first: Answers
    second: Answers

    @property
    def place(self) -> Place:
        """Which retrieval."""
        return self.first.place


@dataclass(frozen=True, slots=True)
class Pairing:
    """What two evaluations have in common."""

    pairs: tuple[PairedAnswers, ...]
    missing: MissingRank
    facts: dict[str, Any]
    """The first one's evaluation.json."""
    same_data: bool
    """Whether both were evaluated on the same version of the data set, so that they had the same keys."""
    only_first: tuple[Place, ...]
    """Retrievals that the second run does not have."""
    only_second: tuple[Place, ...]


class Evaluation:
    """An evaluated folder: a run's own, or one of an evaluation in it."""

    def __init__(self, folder: Folder) -> None:
        """Open it.

        Raises:
            MissingPathError: nothing was evaluated there.
            DamagedError: a file is not what was written.
        """
        self.name, self.facts = str(folder), read_evaluation(folder)
        self.predictions = Predictions.read(folder)

    def places(self, partition: str | None, every: bool) -> list[Place]:
        """The retrievals of a partition, or of all: every one, or those of the paper's tables."""
        places = [place for place in self.predictions.places if partition in (None, place.partition)]
        return [
            place for place in places if every or (place.keys == "all" and (place.query, place.key) in PAPERS_PAIRS)
        ]

    def names(self, answers: Answers, rank: Rank) -> Names:
        """The queries' names, None where missing, (queries,)."""
        names = np.array([*self.predictions.names(rank), None], dtype=object)
        return np.asarray(names[answers.truth[rank]])  # the code of a missing name is -1: the last one


def pair(first: Folder, second: Folder, partition: str | None = None, every: bool = False) -> Pairing:
    """Bring the answers of two runs into one order.

    Args:
        first: an evaluated folder.
        second: another one.
        partition: `val` or `test`; None for both.
        every: whether all retrievals are wanted, or those of the paper's tables, among all keys.

    Raises:
        MissingPathError: nothing was evaluated there.
        IncomparableError: they share no retrieval, or differ in their queries, in what these are called, in which of
            them are of unseen species, or in what a missing name means.
    """
    one, other = Evaluation(first), Evaluation(second)
    rules = one.facts["missing_rank"], other.facts["missing_rank"]
    if rules[0] != rules[1]:
        raise IncomparableError(one.name, other.name, f"missing names are {rules[0]} in one, {rules[1]} in the other")
    places, others = one.places(partition, every), other.places(partition, every)
    common = [place for place in places if place in others]
    if not common:
        raise IncomparableError(one.name, other.name, f"they share no retrieval of {partition or 'any'} queries")
    return Pairing(
        tuple(_paired(one, other, place) for place in common),
        rules[0],
        one.facts,
        all(one.facts.get(name) == other.facts.get(name) for name in ("dataset", "data_fingerprint")),
        tuple(place for place in places if place not in common),
        tuple(place for place in others if place not in common),
    )


def _paired(one: Evaluation, other: Evaluation, place: Place) -> PairedAnswers:
    first, second = one.predictions.answers(place), other.predictions.answers(place)
    retrieval = f"{place.partition} queries by {place.query} to {place.key}"

    def refuse(reason: str) -> IncomparableError:
        return IncomparableError(one.name, other.name, f"{retrieval}: {reason}")

    row = {name: number for number, name in enumerate(second.ids)}
    if strangers := sorted(set(first.ids) ^ set(row)):
        raise refuse(f"{len(strangers)} of them are in one run only ({_some(strangers)})")
    second = second.take(np.array([row[name] for name in first.ids]))
    if (moved := first.subset != second.subset).any():
        raise refuse(f"{moved.sum()} of them are seen in one run and unseen in the other ({_some(first.ids[moved])})")
    for rank in RANKS:
        differ = one.names(first, rank) != other.names(second, rank)
        if differ.any():
            raise refuse(f"{differ.sum()} of them have another {rank} in each run ({_some(first.ids[differ])})")
    return PairedAnswers(first, second)


def _some(names: Sequence[str] | Names) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
