"""What the nearest keys of a query say at each rank: a name, how similar, and the best of another name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from workloads.arrays import Doubles, Floats, Indices, Labels, Mask, Names
from workloads.identification.alignment import aligned
from workloads.identification.confidence import highest_share, lowest_share
from workloads.identification.database import Database, KeyKind
from workloads.identification.searching import nearest
from workloads.spec import RANKS

NUM_NEIGHBOURS = 50
"""Keys that are looked at for names and for their rivals, where confidence is calibrated and where it is given."""
_LAID_OUT = 3
"""Keys with the name, and with others, beside which a barcode is laid: the most similar k-mers are not always those of
the fewest changes, and of 2,169 real barcodes, more than three change nothing (docs/log.md)."""
_ASIDE = 0.16
"""Level of the bounds of identities, one-sided: one standard error of a share, as it is commonly given."""
_NEXT = 10
"""Nearest keys of which it is counted how many have the name."""


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
    agreeing: Floats
    """Share of the ten nearest keys that have the name, 0 to 1, (queries,)."""
    identity: Doubles | None = None
    """Of barcodes laid side by side, with the best of the nearest keys of that name: the lowest that the compared bases
    bear out, so that a piece of 20 bases proves little; (queries,), NaN where there is none. None where barcodes were
    not compared."""
    rival_identity: Doubles | None = None
    """With the best of the nearest keys of other names, the highest that they bear out; where there are none, with the
    last neighbour."""

    def part(self, some: Indices) -> "RankEvidence":
        """The evidence of some queries."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        chosen: dict[str, Any] = {name: None if of is None else of[some] for name, of in columns.items()}
        return replace(self, **chosen)


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
    known = np.array([name is not None for name in names], dtype=bool)
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
    agreeing = (there & ~other)[:, :_NEXT].mean(axis=1, dtype=np.float32)
    return RankEvidence(name, similarity, runner_up, rival, agreeing)


def all_evidence(
    labels: Labels,
    neighbours: Neighbours,
    barcodes: Sequence[str | None] | None,
    barcode_of: Callable[[int], str | None],
) -> dict[str, RankEvidence]:
    """The evidence at every rank, of barcodes with their identities.

    Args:
        labels: names of the keys.
        neighbours: of the queries.
        barcodes: of the queries; None where they are not compared, as of images.
        barcode_of: the barcode of a key, by its number.
    """
    beside = None if barcodes is None else Beside(barcodes, barcode_of)
    return {rank: _whole_evidence(labels[rank], neighbours, beside) for rank in RANKS}


def evidence_of(
    names: Names,
    neighbours: Neighbours,
    barcodes: Sequence[str | None] | None,
    barcode_of: Callable[[int], str | None],
) -> RankEvidence:
    """The same at one rank, of the names of the keys there."""
    return _whole_evidence(names, neighbours, None if barcodes is None else Beside(barcodes, barcode_of))


def _whole_evidence(names: Names, neighbours: Neighbours, beside: "Beside | None") -> RankEvidence:
    found = evidence_at(names, neighbours)
    return found if beside is None else with_identities(found, names, neighbours, beside)


class Beside:
    """Barcodes laid beside those of keys; each pair once, as ranks share most of them."""

    def __init__(self, barcodes: Sequence[str | None], barcode_of: Callable[[int], str | None]) -> None:
        """Lay out nothing yet.

        Args:
            barcodes: of the queries.
            barcode_of: the barcode of a key, by its number.
        """
        self._barcodes, self._barcode_of = barcodes, barcode_of
        self._found: dict[tuple[int, int], tuple[int, int]] = {}

    def best(self, row: int, keys: Indices) -> tuple[int, int]:
        """How many bases of a query agree with the most alike of the first of some keys, and how many are compared;
        0 of 0 where there is none."""
        found = (self._laid(row, key) for key in keys[:_LAID_OUT].tolist())
        return max(found, key=lambda each: each[0] / max(each[1], 1), default=(0, 0))

    def _laid(self, row: int, key: int) -> tuple[int, int]:
        if (row, key) not in self._found:
            barcode, other = self._barcodes[row], self._barcode_of(key)
            self._found[row, key] = _counts(barcode, other) if barcode and other else (0, 0)
        return self._found[row, key]


def with_identities(found: RankEvidence, names: Names, neighbours: Neighbours, beside: Beside) -> RankEvidence:
    """The evidence at one rank with the identity of barcodes.

    Args:
        found: at that rank.
        names: of the keys at that rank.
        neighbours: of the queries.
        beside: the barcodes of the queries, beside those of keys.
    """
    both = np.zeros((2, len(found.name), 2))  # own and rival; how many bases agree, and how many are compared
    for row, name in enumerate(found.name):
        if name is None:
            continue
        own: Indices = neighbours.keys[row]
        theirs = names[own]
        others = own[[each is not None and each != name for each in theirs]]
        sides = own[np.equal(theirs, name)], others if len(others) else own[-1:]
        both[:, row] = [beside.best(row, keys) for keys in sides]
    equal, compared = both[..., 0], both[..., 1]
    bounds = lowest_share(equal[0], compared[0], _ASIDE), highest_share(equal[1], compared[1], _ASIDE)
    lowest, highest = (np.where(each > 0, bound, math.nan) for each, bound in zip(compared, bounds, strict=True))
    return replace(found, identity=lowest, rival_identity=highest)


def _counts(barcode: str, other: str) -> tuple[int, int]:
    """How many bases agree, and how many were compared."""
    if barcode == other:
        certain = sum(map(barcode.count, "ACGTU"))
        return certain, certain
    alignment = aligned(barcode, other)
    return alignment.num_equal, alignment.length


def joined(parts: Sequence[RankEvidence]) -> RankEvidence:
    """The evidence of several lists of queries, one at least, as that of one."""
    columns = {each.name: [getattr(part, each.name) for part in parts] for each in fields(RankEvidence)}
    whole: dict[str, Any] = {
        name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()
    }
    return replace(parts[0], **whole)
