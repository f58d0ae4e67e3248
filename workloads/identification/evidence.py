"""What the nearest keys of a query say at each rank: a name, how similar, and the best of another name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Floats, Indices, Labels, Mask, Names
from workloads.identification.database import Database, KeyKind
from workloads.identification.searching import nearest
from workloads.spec import RANKS


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest keys of some queries, each standing for all specimens that have it."""

    keys: Indices
    """Nearest first, (queries, neighbours)."""
    cosines: Floats
    """(queries, neighbours)."""


@dataclass(frozen=True, slots=True)
class RankEvidence:
    """What stands for and against the name of each query at one rank."""

    name: Names
    """That most specimens of the nearest key with a name have; None where no neighbour has one, (queries,)."""
    similarity: Floats
    """Of the nearest key with that name, NaN where there is none, (queries,)."""
    runner_up: Names
    """Name of the nearest key without that name, None where all neighbours have it, (queries,)."""
    rival: Floats
    """Its similarity; where all neighbours have one name, that of the last of them, which no other exceeds."""


def neighbours_of(database: Database, kind: KeyKind, rows: Floats, num_neighbours: int) -> Neighbours:
    """Exact search among the keys of a modality."""
    return Neighbours(*nearest(rows, database.keys(kind), num_neighbours))


def names_of_keys(database: Database, kind: KeyKind) -> Labels:
    """The name of each key at each rank: that of most specimens that have it, ties to the first in the alphabet; None
    where none of them has one, (keys,) each."""
    order, starts = database.members(kind)
    return {rank: commonest(database.labels[rank][order], starts) for rank in RANKS}


def commonest(names: Names, starts: Indices) -> Names:
    """The commonest name of each key, ties to the first in the alphabet; None where it has none, (keys,).

    Args:
        names: of specimens, sorted by key.
        starts: where those of each key begin among them, (keys + 1,).
    """
    found = np.full(len(starts) - 1, None, dtype=object)
    known = np.array([name is not None for name in names])
    values, codes = np.unique(names[known].astype(str), return_inverse=True)
    key = np.repeat(np.arange(len(found)), np.diff(starts))[known]
    if not len(key):
        return found
    pairs, counts = np.unique(key * len(values) + codes, return_counts=True)
    own, code = pairs // len(values), pairs % len(values)
    order = np.lexsort((code, -counts, own))
    first = order[np.r_[True, own[order][1:] != own[order][:-1]]]
    found[own[first]] = values[code[first]]
    return found


def evidence_at(names: Names, neighbours: Neighbours) -> RankEvidence:
    """The evidence at one rank.

    Args:
        names: of the keys at that rank (`names_of_keys`).
        neighbours: of the queries.
    """
    found: Names = names[neighbours.keys]  # (queries, neighbours)
    there: Mask = np.not_equal(found, np.array(None, dtype=object))
    rows, first = np.arange(len(found)), there.argmax(axis=1)
    name: Names = found[rows, first]
    similarity = np.where(there.any(axis=1), neighbours.cosines[rows, first], np.nan).astype(np.float32)
    other = there & np.not_equal(found, name[:, None])
    place, has_other = other.argmax(axis=1), other.any(axis=1)
    runner_up: Names = np.where(has_other, found[rows, place], np.array(None, dtype=object))
    rival = np.where(has_other, neighbours.cosines[rows, place], neighbours.cosines[:, -1]).astype(np.float32)
    return RankEvidence(name, similarity, runner_up, rival)


def all_evidence(labels: Labels, neighbours: Neighbours, ranks: Sequence[str] = RANKS) -> dict[str, RankEvidence]:
    """The evidence at every rank."""
    return {rank: evidence_at(labels[rank], neighbours) for rank in ranks}
