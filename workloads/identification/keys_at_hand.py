"""The keys of one modality with what is said of them: names, BINs, specimens, and which of them are on a list."""

from collections.abc import Collection, Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Floats, Indices, Labels, Mask, Names
from workloads.identification.database import Database, KeyKind
from workloads.identification.evidence import NUM_NEIGHBOURS, Neighbours, commonest
from workloads.identification.searching import KeySearch
from workloads.spec import RANKS, Rank


class KeysAtHand:
    """Searches and describes the keys of one modality."""

    def __init__(self, database: Database, kind: KeyKind, within: Collection[str] | None = None) -> None:
        """Read which specimens have which key.

        Args:
            database: that holds them.
            kind: their modality.
            within: taxa of any rank; None for all. Keys whose specimens are of no such taxon are not searched.
        """
        self._database, self._stored = database, database.keys(kind)
        self._members, self._starts = database.members(kind)
        self._chosen: Mask | None = None
        if within is not None:
            listed = np.zeros(len(database.specimens), dtype=bool)
            for rank in RANKS:
                listed |= np.isin(_texts(database.labels[rank]), list(within))
            kept = listed[self._members]
            self._starts = np.r_[0, np.cumsum(kept)][self._starts]
            self._members = self._members[kept]
            self._chosen = np.diff(self._starts) > 0
        self._search: KeySearch | None = None
        self._whole: KeySearch | None = None

    @property
    def num_chosen(self) -> int:
        """How many keys are searched."""
        return len(self._starts) - 1 if self._chosen is None else int(self._chosen.sum())

    @cached_property
    def labels(self) -> Labels:
        """The name of each key at each rank, that of most of its specimens, None where it has none, (keys,) each."""
        return {rank: commonest(self._database.labels[rank][self._members], self._starts) for rank in RANKS}

    def neighbours(self, rows: Floats, at_least: int) -> Neighbours:
        """The nearest keys of unit rows, (queries, size): as many as calibration looked at, or `at_least` so many."""
        wanted = max(NUM_NEIGHBOURS, at_least)
        if self._search is None or self._search.num_neighbours < wanted:
            self._search = KeySearch(self._stored, wanted, self._chosen)
        return Neighbours(*self._search.nearest(rows))

    def nearer_off_the_list(self, rows: Floats, neighbours: Neighbours) -> Mask:
        """For which queries a key that is not on the list is nearer than all that are, (queries,)."""
        if self._chosen is None:
            return np.zeros(len(rows), dtype=bool)
        if self._whole is None:
            self._whole = KeySearch(self._stored, 1)
        nearer: Mask = self._whole.nearest(rows)[1][:, 0] > neighbours.cosines[:, 0]
        return nearer

    def first_of(self, keys: Indices, rank: Rank, name: str) -> int:
        """The first of some keys, nearest first, that has a name."""
        found: Indices = keys[np.equal(self.labels[rank][keys], name)]
        return int(found[0])

    def specimen_id(self, key: int) -> str:
        """Id of the first specimen of a key."""
        found: str = self._columns["specimen_id"][int(self._members[self._starts[key]])].as_py()
        return found

    def barcode(self, key: int) -> str | None:
        """The barcode of that specimen."""
        found: str | None = self._columns["barcode"][int(self._members[self._starts[key]])].as_py()
        return found

    @cached_property
    def _columns(self) -> Mapping[str, pa.Array]:
        """In one piece each, in which a row is found at once."""
        return {name: self._database.specimens[name].combine_chunks() for name in ("specimen_id", "barcode")}

    def bin(self, key: int) -> str | None:
        """The BIN that most specimens of a key have."""
        name: str | None = self._bins[key]
        return name

    @cached_property
    def _bins(self) -> Names:
        return commonest(_objects(self._database, "bin")[self._members], self._starts)

    def num_bins(self, rank: Rank, name: str) -> int:
        """Among how many BINs the keys of a name are dealt."""
        keys = self._numbers[rank].get(name)
        return 0 if keys is None else len({found for found in self._bins[keys] if found is not None})

    def num_keys(self, rank: Rank, name: str) -> int:
        """How many keys have a name."""
        keys = self._numbers[rank].get(name)
        return 0 if keys is None else len(keys)

    @cached_property
    def _numbers(self) -> Mapping[str, Mapping[str, Indices]]:
        """The numbers of the keys of each name, by rank."""
        return {rank: _grouped(self.labels[rank]) for rank in RANKS}

    def untrained(self, key: int) -> bool:
        """Whether the run learned from no specimen of the species of a key, as far as that is known."""
        return bool(self._untrained[self._members[self._starts[key] : self._starts[key + 1]]].all())

    @cached_property
    def _untrained(self) -> Mask:
        known = pc.fill_null(pc.equal(self._database.specimens["trained"], False), False)
        return np.asarray(known.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)

    def lineage(self, rank: Rank, name: str) -> Mapping[str, str | None]:
        """The names above a name, those of most of its specimens."""
        return self._lineages[rank].get(name, {})

    @cached_property
    def _lineages(self) -> Mapping[str, Mapping[str, Mapping[str, str | None]]]:
        """By rank and name; homonyms in several families have the lineage with most specimens."""
        counted = self._database.specimens.group_by(list(RANKS)).aggregate([([], "count_all")])
        found: dict[str, dict[str, dict[str, str | None]]] = {rank: {} for rank in RANKS}
        for line in sorted(counted.to_pylist(), key=lambda line: (-line["count_all"], str(line))):
            for place, rank in enumerate(RANKS):
                if line[rank] is not None:
                    found[rank].setdefault(line[rank], {upper: line[upper] for upper in RANKS[:place]})
        return found


def _grouped(names: Names) -> Mapping[str, Indices]:
    """Where each name stands, in ascending order."""
    encoded = pa.array(names, pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order, values = np.argsort(codes, kind="stable"), encoded.dictionary.to_pylist()
    starts = np.searchsorted(codes[order], np.arange(len(values) + 1))
    return {name: order[starts[number] : starts[number + 1]] for number, name in enumerate(values)}


def _texts(names: Names) -> npt.NDArray[np.str_]:
    return np.array([name or "" for name in names], dtype=str)


def _objects(database: Database, column: str) -> Names:
    values: Names = np.array(database.specimens[column].to_pylist() or [None], dtype=object)
    return values
