"""What every query of an evaluation was answered, in arrays that are small enough to be kept, and quick to choose from.

One million answers with five keys each take some 50 MB: specimens are rows of a table of ids and names, and what is
asked of them again and again, such as the lowest rank that a query shares with its nearest key, is counted once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from results.dashboard.catalog import Catalog
from results.dashboard.page import NotThereError
from results.evaluated import EvaluatedFolder
from results.figures.keys_of_taxa import searched_splits
from results.run import UNREADABLE
from workloads.arrays import Codes, Floats, Indices, Mask, Names
from workloads.predictions import MISSING, NO_KEY, PAPERS_PAIRS, MissingRank, Place, Predictions
from workloads.spec import RANKS, Rank

DEPTHS: Final = ("none", *RANKS)
"""The lowest rank that a query shares with its nearest key, by its code."""
UNSEEN: Final = {"seen": False, "unseen": True}
_READING = Lock()
"""One evaluation is read at a time: what that takes for a moment is several times what is kept."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One retrieval: who asked and what was found, as rows of the specimens of its evaluation."""

    place: Place
    queries: Codes
    """(queries,)."""
    unseen: Mask
    """Whether a query is of an unseen species, (queries,)."""
    keys: Codes
    """The nearest keys, the nearest first, -1 beyond the last one, (queries, neighbours)."""
    cosines: Floats
    """NaN beyond the last one, (queries, neighbours)."""
    depth: NDArray[np.int8]
    """How deep the names of a query are those of its nearest key: a place in `DEPTHS`, (queries,)."""

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def nearest(self) -> Codes:
        """Rows of the nearest keys, -1 where there is none, (queries,)."""
        return self.keys[:, 0] if self.keys.shape[1] else np.full(len(self), -1, dtype=np.int32)

    @property
    def similarity(self) -> Floats:
        """Cosines of the nearest keys, NaN where there is none, (queries,)."""
        return self.cosines[:, 0] if self.cosines.shape[1] else np.full(len(self), np.nan, dtype=np.float32)

    @property
    def words(self) -> str:
        """The pair as addresses have it."""
        return f"{self.place.query}-{self.place.key}"

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(each.nbytes for each in (self.queries, self.unseen, self.keys, self.cosines, self.depth))


class Answered:
    """All retrievals of one evaluation."""

    def __init__(self, name: str, facts: Mapping[str, Any], predictions: Predictions) -> None:
        """Take what was read; `name` is the id of the evaluation."""
        self.name, self.facts = name, facts
        self.ids: pa.Array = predictions.specimens["specimen_id"].combine_chunks()
        splits = predictions.specimens["split"].combine_chunks().dictionary_encode()
        self._splits = [str(split) for split in splits.dictionary.to_pylist()]
        self._split: NDArray[np.int8] = splits.indices.fill_null(-1).to_numpy().astype(np.int8)
        self.codes: Mapping[Rank, Codes] = {rank: predictions.codes(rank) for rank in RANKS}
        """Of the specimens' names by rank, `MISSING` where there is none, (specimens,)."""
        self.names: Mapping[Rank, Names] = {rank: predictions.names(rank) for rank in RANKS}
        places = [place for place in predictions.places if _is_first(place, predictions.places)]
        self.retrievals: tuple[Retrieval, ...] = tuple(
            _retrieval(predictions, self.codes, place) for place in sorted(places, key=_order)
        )

    @property
    def missing(self) -> MissingRank:
        """The rule for queries without a name at a rank."""
        return "a_class" if self.facts["missing_rank"] == "a_class" else "left_out"

    @property
    def synthetic(self) -> bool:
        """Whether its specimens are drawn."""
        return bool(self.facts["synthetic"])

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all arrays and names."""
        own = (int(self.ids.nbytes), self._split.nbytes, *(each.nbytes for each in self.codes.values()))
        return (
            sum(own)
            + sum(len(name) + 60 for names in self.names.values() for name in names)
            + sum(one.nbytes for one in self.retrievals)
        )

    @property
    def partitions(self) -> list[str]:
        """Partitions whose queries were asked."""
        return list(dict.fromkeys(one.place.partition for one in self.retrievals))

    def pairs(self, partition: str) -> list[Retrieval]:
        """The retrievals of a partition, those of the paper first."""
        return [one for one in self.retrievals if one.place.partition == partition]

    def retrieval(self, partition: str = "", pair: str = "") -> Retrieval:
        """One retrieval; where it is not said which, the first one: validation, and image to DNA, if there is that.

        Raises:
            NotThereError: there is none; it says which ones there are.
        """
        for one in self.retrievals:
            if partition in ("", one.place.partition) and pair in ("", one.words):
                return one
        have = ", ".join(f"{one.place.partition} {one.words}" for one in self.retrievals)
        raise NotThereError(f"'{self.name}' has no {partition} queries {pair}; there are {have or 'none at all'}.")

    def truth(self, one: Retrieval, rank: Rank) -> Codes:
        """Codes of the queries' names, (queries,)."""
        return self.codes[rank][one.queries]

    def found(self, one: Retrieval, rank: Rank) -> Codes:
        """Codes of the names of their nearest keys, `NO_KEY` where there is none, (queries,)."""
        return np.where(one.nearest < 0, np.int32(NO_KEY), self.codes[rank][one.nearest])

    def counted(self, one: Retrieval, rank: Rank) -> Mask:
        """Which queries count at a rank, (queries,)."""
        return np.ones(len(one), dtype=bool) if self.missing == "a_class" else self.truth(one, rank) != MISSING

    def hits(self, one: Retrieval, rank: Rank) -> Mask:
        """Whether the nearest key has the query's name, (queries,)."""
        return np.asarray(self.truth(one, rank) == self.found(one, rank))

    def searched(self, place: Place) -> Mask:
        """Which specimens were keys of a retrieval, (specimens,)."""
        chosen = searched_splits(self._splits, place.keys)
        return np.isin(self._split, [self._splits.index(split) for split in chosen])

    def split(self, row: int) -> str:
        """The split of a specimen."""
        code = int(self._split[row])
        return "" if code < 0 else self._splits[code]

    def row(self, specimen: str) -> int | None:
        """The row of a specimen by its id."""
        place = pc.index(self.ids, pa.scalar(specimen, pa.string())).as_py()
        return None if place < 0 else int(place)

    def rows(self, specimens: Sequence[str]) -> Indices:
        """Rows of those of some specimens that there are."""
        found = pc.index_in(pa.array(specimens, pa.string()), value_set=self.ids).drop_null()
        return np.asarray(found.to_numpy(), dtype=np.int64)

    def id(self, row: int) -> str:
        """The id of a specimen by its row."""
        return str(self.ids[int(row)].as_py())

    def name_of(self, row: int, rank: Rank) -> str | None:
        """The name of a specimen at a rank."""
        return self.called(rank, int(self.codes[rank][row]))

    def called(self, rank: Rank, code: int) -> str | None:
        """The name of a code; None of a missing one."""
        return None if code < 0 else str(self.names[rank][code])


def answered(catalog: Catalog, evaluation: str) -> Answered:
    """The answers of an evaluation by its id, read once.

    Raises:
        NotThereError: there is none, or its predictions cannot be read; it says why.
    """
    evaluated = catalog.evaluated(evaluation)
    place = catalog.place(evaluation.partition("/")[0])
    return catalog.kept(("answered", evaluation, catalog.now.version(place)), lambda: _read(evaluated, evaluation))


def _read(evaluated: EvaluatedFolder, evaluation: str) -> Answered:
    try:  # not by way of `evaluated.predictions`, which would stay in memory
        with _READING:
            return Answered(evaluation, evaluated.facts, Predictions.read(evaluated.folder))
    except UNREADABLE as error:
        raise NotThereError(f"The answers of '{evaluation}' cannot be read: {error}") from error
    finally:
        pa.default_memory_pool().release_unused()  # a million rows have taken half a GB for a moment


def _retrieval(predictions: Predictions, codes: Mapping[Rank, Codes], place: Place) -> Retrieval:
    found = predictions.found(place)
    queries, keys = found.queries.astype(np.int32), found.keys.astype(np.int32)
    depth = np.zeros(len(queries), dtype=np.int8)
    if keys.shape[1]:
        for number, rank in enumerate(RANKS, start=1):
            truth, nearest = codes[rank][queries], codes[rank][keys[:, 0]]
            depth[(truth != MISSING) & (keys[:, 0] >= 0) & (truth == nearest)] = number
    unseen = np.asarray(pc.equal(found.subset, "unseen").to_numpy())
    return Retrieval(place, queries, unseen, keys, found.cosines, depth)


def _is_first(place: Place, places: Sequence[Place]) -> bool:
    """Whether a retrieval is among all keys, or else the first one of its pair."""
    same = [each for each in places if _pair(each) == _pair(place)]
    return place == next((each for each in same if each.keys == "all"), same[0])


def _pair(place: Place) -> tuple[str, str, str]:
    return place.partition, place.query, place.key


def _order(place: Place) -> tuple[bool, bool, int]:
    """Validation first, and image to DNA before the paper's other pairs, and these before all others."""
    pairs = [("image", "dna"), *(pair for pair in PAPERS_PAIRS if pair != ("image", "dna"))]
    pair = (place.query, place.key)
    return place.partition != "val", pair not in pairs, pairs.index(pair) if pair in pairs else 0
