"""What keys say of specimens that are left out of them: alone, with all of their species, or with all of a taxon.

A key goes where nobody else has it; where others do, its names are those of the others. So a species whose barcode
another species has too is named as that one when it is taken out, as it would be if nobody had ever brought it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Floats, Indices, Names
from workloads.errors import UsageError
from workloads.identification.database import Database, KeyKind
from workloads.identification.evidence import (
    NUM_NEIGHBOURS,
    Neighbours,
    RankEvidence,
    all_evidence,
    commonest,
    evidence_of,
    joined,
    names_of_keys,
    neighbours_of,
)
from workloads.identification.searching import KeySearch, nearest
from workloads.spec import RANKS, Rank

_AT_ONCE = 1024
_FEW = 2000
"""Keys of a taxon that are searched with the others and left out then; of more the others are searched alone."""
_SPECIES = RANKS[-1]


@dataclass(frozen=True, slots=True)
class Asked:
    """Specimens to be named by the keys of a database."""

    rows: Floats
    """Unit vectors, (specimens, size)."""
    species: Names
    """Theirs, (specimens,)."""
    barcodes: Names
    """(specimens,), None where there is none."""
    numbers: Indices
    """Of the specimens in the database itself, which are left out whatever is asked; -1 of others, (specimens,)."""

    def part(self, some: slice | Indices) -> "Asked":
        """Some of them."""
        return Asked(self.rows[some], self.species[some], self.barcodes[some], self.numbers[some])


class LeavingOut:
    """The keys of one modality of a `database`, without some specimens."""

    def __init__(self, database: Database, kind: KeyKind) -> None:
        """Read which specimens have which key."""
        self.database, self._kind = database, kind
        self._members, self._starts = database.members(kind)
        self._labels, self._species = names_of_keys(database, kind), database.labels[_SPECIES]
        self._barcodes = database.specimens["barcode"]
        keys = np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))
        self._key_of = dict(zip(self._members.tolist(), keys.tolist(), strict=True))
        self._specimens_of: dict[str | None, list[int]] = {}
        for number in self._members.tolist():
            self._specimens_of.setdefault(self._species[number], []).append(number)
        self._new: dict[tuple[int, ...], int] = {}
        """Numbers, above those of all keys, of keys whose names are of some of their specimens alone."""

    def has(self, species: str, but: int) -> bool:
        """Whether a key has a specimen of a species, other than the one of that number."""
        return any(number != but for number in self._specimens_of.get(species, ())[:2])

    def has_several(self, rank: Rank) -> bool:
        """Whether the keys have names of several taxa at a rank, so that one can be missed among them."""
        return len({*self._labels[rank].tolist()} - {None}) > 1

    def evidence(self, asked: Asked, with_species: bool, tell: Callable[[int], None]) -> dict[str, RankEvidence]:
        """The evidence at every rank.

        Args:
            asked: what is to be named.
            with_species: whether other specimens of their species stay.
            tell: is told how many more are done.

        Raises:
            UsageError: there is nothing but their species.
        """
        parts = list[dict[str, RankEvidence]]()
        for start in range(0, len(asked.rows), _AT_ONCE):
            some = asked.part(slice(start, start + _AT_ONCE))
            parts.append(self._some(some, with_species))
            tell(len(some.rows))
        return {rank: joined([part[rank] for part in parts]) for rank in RANKS}

    def outside(self, asked: Asked, taxa: Names, rank: Rank, tell: Callable[[int], None]) -> RankEvidence:
        """The evidence at a rank of keys of other taxa alone, as if nobody had ever brought one of theirs.

        Args:
            asked: what is to be named.
            taxa: theirs at that rank, (specimens,), none of which all keys have.
            rank: above the species.
            tell: is told how many more are done.
        """
        names, counts = self._labels[rank], Counter(self._labels[rank].tolist())
        sizes = np.array([counts[taxon] for taxon in taxa.tolist()])
        few = np.argsort(sizes, kind="stable")[: np.count_nonzero(sizes <= _FEW)]
        batches = [few[start : start + _AT_ONCE] for start in range(0, len(few), _AT_ONCE)]
        batches += [np.flatnonzero(np.equal(taxa, taxon)) for taxon in dict.fromkeys(taxa[sizes > _FEW].tolist())]
        parts = []
        for rows in batches:
            near = self._others(asked.rows[rows], names, taxa[rows], int(sizes[rows].max()))
            barcodes = asked.barcodes[rows].tolist() if self._kind == "dna" else None
            parts.append(evidence_of(names, near, barcodes, self._barcode_of))
            tell(len(rows))
        return joined(parts).part(np.argsort(np.concatenate(batches)))

    def _others(self, rows: Floats, names: Names, taxa: Names, most: int) -> Neighbours:
        """The nearest keys of other taxa than each query's; of a taxon with many keys all queries are."""
        keys = self.database.keys(self._kind)
        if most > _FEW:
            others = np.not_equal(names, taxa[0]).astype(bool)
            return Neighbours(*KeySearch(keys, NUM_NEIGHBOURS, others).nearest(rows))
        found, cosines = nearest(rows, keys, NUM_NEIGHBOURS + most)
        stays = np.not_equal(names[found], taxa[:, None]).astype(bool)
        size = min(NUM_NEIGHBOURS, int(stays.sum(axis=1).min()))
        first = np.argsort(~stays, axis=1, kind="stable")[:, :size]
        return Neighbours(np.take_along_axis(found, first, axis=1), np.take_along_axis(cosines, first, axis=1))

    def _some(self, asked: Asked, with_species: bool) -> dict[str, RankEvidence]:
        goes = [self._leaving(*each, with_species) for each in zip(asked.species, asked.numbers.tolist(), strict=True)]
        most = max(len({self._key_of[number] for number in each}) for each in goes)
        found = neighbours_of(self.database, self._kind, asked.rows, NUM_NEIGHBOURS + most)
        left = [self._left(*each) for each in zip(found.keys, found.cosines, goes, strict=True)]
        size = min(NUM_NEIGHBOURS, *(len(keys) for keys, _ in left))
        if not size:
            raise UsageError(
                f"all keys of {self.database.folder} are of one species, {asked.species[0]}, so that nothing can be "
                "said of others; build it of several species"
            )
        near = Neighbours(np.stack([keys[:size] for keys, _ in left]), np.stack([near[:size] for _, near in left]))
        barcodes = asked.barcodes.tolist() if self._kind == "dna" else None
        return all_evidence(self._all_labels(), near, barcodes, self._barcode_of)

    def _leaving(self, species: str, number: int, with_species: bool) -> set[int]:
        """Numbers of the specimens that are left out while one is asked about."""
        alone = {number} & self._key_of.keys()
        return alone if with_species else alone | set(self._specimens_of.get(species, ()))

    def _left(self, keys: Indices, cosines: Floats, goes: set[int]) -> tuple[Indices, Floats]:
        """The neighbours that stay; those with other names than before by their new number."""
        kept, stays = keys.copy(), np.ones(len(keys), dtype=bool)
        for place in np.flatnonzero(np.isin(keys, [self._key_of[number] for number in goes])):
            others = tuple(number for number in self._specimens(int(keys[place])) if number not in goes)
            stays[place] = bool(others)
            if others:
                kept[place] = self._new.setdefault(others, len(self._starts) - 1 + len(self._new))
        return kept[stays], cosines[stays]

    def _specimens(self, key: int) -> list[int]:
        numbers: list[int] = self._members[self._starts[key] : self._starts[key + 1]].tolist()
        return numbers

    def _all_labels(self) -> dict[str, Names]:
        """Names of keys, and behind them of those that have new numbers."""
        members = np.array([number for others in self._new for number in others], dtype=np.int64)
        starts = np.cumsum([0, *map(len, self._new)])
        new = {rank: commonest(self.database.labels[rank][members], starts) for rank in RANKS}
        return {rank: np.concatenate([self._labels[rank], new[rank]]) for rank in RANKS}

    def _barcode_of(self, key: int) -> str | None:
        """The barcode of a key, by either number; all specimens of a key have the same."""
        old = len(self._starts) - 1
        first = self._specimens(key)[0] if key < old else list(self._new)[key - old][0]
        text: str | None = self._barcodes[first].as_py()
        return text
