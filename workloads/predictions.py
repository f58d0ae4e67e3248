"""What every query was answered: `predictions.parquet`, and `specimens.parquet` with the names behind its ids.

All accuracies, intervals, comparisons and figures of an evaluation derive from these two files; neither a model nor
embeddings are needed, nor torch or Ray.

    predictions.parquet   partition, query, key, keys, specimen_id, subset, key_ids, cosines: a row for each query of
                          each retrieval, with its nearest keys, the nearest first
    specimens.parquet     specimen_id, split, order, family, genus, species: every query and key once
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Codes, Floats, Indices, Labels, Mask, Names
from workloads.errors import DamagedError, EmbeddingsError
from workloads.measured_values import check_answers
from workloads.run_files import read_rows
from workloads.seals import sealed_folder
from workloads.spec import RANKS, Rank, Recipe
from workloads.storage import Folder

PREDICTIONS, SPECIMENS = "predictions.parquet", "specimens.parquet"

_PLACE = ["partition", "query", "key", "keys"]
_TEXTS = {PREDICTIONS: (*_PLACE, "specimen_id", "subset"), SPECIMENS: ("specimen_id", "split", *RANKS)}
_LISTS = {PREDICTIONS: {"key_ids": pa.list_(pa.string()), "cosines": pa.list_(pa.float32())}, SPECIMENS: {}}
_SCHEMAS = {name: pa.schema({**dict.fromkeys(texts, pa.string()), **_LISTS[name]}) for name, texts in _TEXTS.items()}

KeyChoice = Literal["all", "seen", "unseen", "own", "calibrated", "csls", "inverted_softmax"]
"""Which keys a query is searched among: all, as in the paper; those of seen or of unseen species; or, for a query of a
seen species, those of seen ones, and of unseen ones for the others. Or all keys by another similarity than the cosine:
`calibrated`, less a constant for keys of seen species (`workloads.calibration`); `csls` and `inverted_softmax`, less
what a key has in common with all queries (`workloads.evaluation.hubness`)."""
CORRECTED: tuple[KeyChoice, ...] = ("calibrated", "csls", "inverted_softmax")
"""Those that search all keys by another similarity, whose values are no cosines."""

NUM_NEIGHBOURS = 5
"""How many of the nearest keys a query is answered with."""

MissingRank = Literal["left_out", "a_class"]
"""What a query without a name at a rank does to the accuracies there: nothing, or, as in the authors' code, it belongs
to a class `not_classified` of its own, and a key without a name is the right answer."""
MISSING_RANK: dict[Recipe, MissingRank] = {"paper": "a_class", "authors": "a_class", "corrected": "left_out"}

PAPERS_PAIRS = (("dna", "dna"), ("image", "image"), ("image", "dna"), ("image", "text"))
"""Query and key features of the paper's tables: what tables of ours show of an evaluation, which has more."""

FUSED = "image+dna"
"""Image and barcode as one row, or the one that a specimen has (`workloads.evaluation.fusion`)."""
FUSED_PAIRS = ((FUSED, "dna"), ("dna", FUSED), ("image", FUSED), (FUSED, "image"), (FUSED, FUSED))
"""What somebody may ask who has the image, the barcode or both, of keys that have both, or one."""

MISSING, NO_KEY = -1, -2
"""Codes of a missing name, and of the name of a neighbour that there is not, as there are fewer keys."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the measurements of one retrieval have in common."""

    partition: str
    query: str
    key: str
    method: str = "clibd"
    keys: KeyChoice = "all"


@dataclass(frozen=True, slots=True)
class Answers:
    """One retrieval: who asked, what was found, and the names of both as numbers."""

    place: Place
    ids: Names
    """Specimen ids of the queries, (queries,)."""
    subset: Names
    """`seen` or `unseen`, (queries,)."""
    truth: Mapping[Rank, Codes]
    """Codes of the queries' names by rank, `MISSING` where there is none, (queries,)."""
    found: Mapping[Rank, Codes]
    """Codes of the names of the nearest keys, the nearest first, (queries, neighbours); of the same numbering."""
    key_ids: Names
    """Specimen ids of these keys, None beyond the last one, (queries, neighbours)."""
    cosines: Floats
    """Their similarities, NaN beyond the last one, (queries, neighbours); no cosines where keys are `CORRECTED`."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: Mask | Indices) -> "Answers":
        """Those of some queries, in the order of their indices where these are given."""
        truth, found = ({rank: codes[chosen] for rank, codes in of.items()} for of in (self.truth, self.found))
        key_ids, cosines = self.key_ids[chosen], self.cosines[chosen]
        return Answers(self.place, self.ids[chosen], self.subset[chosen], truth, found, key_ids, cosines)

    def counted(self, rank: Rank, missing: MissingRank) -> Mask:
        """Which queries count at a rank, (queries,)."""
        if missing == "a_class":
            return np.ones(len(self), dtype=bool)
        return np.asarray(self.truth[rank] != MISSING)

    def hits(self, rank: Rank, k: int = 1) -> Mask:
        """Whether one of the k nearest keys has the query's name, (queries,).

        With fewer keys than k all of them are looked at. Queries that are not `counted` have no meaning here.
        """
        return np.asarray((self.found[rank][:, :k] == self.truth[rank][:, None]).any(axis=1))

    def depth_shared(self, place: int = 0) -> Indices:
        """How deep each query's names are those of one of its keys, (queries,): 0 for no rank, 1 for the order, 4 for
        the species; `place` 0 is the nearest key.
        """
        depth = np.zeros(len(self), dtype=np.int64)
        for number, rank in enumerate(RANKS, start=1):
            depth[(self.truth[rank] != MISSING) & (self.found[rank][:, place] == self.truth[rank])] = number
        return depth


@dataclass(frozen=True, slots=True)
class Found:
    """One retrieval, specimens as rows of `specimens.parquet`."""

    place: Place
    subset: pa.ChunkedArray
    """`seen` or `unseen`, (queries,)."""
    queries: Indices
    """Rows of the queries, (queries,)."""
    keys: Indices
    """Rows of the nearest keys, the nearest first, -1 beyond the last one, (queries, neighbours)."""
    cosines: Floats
    """Their similarities, NaN beyond the last one, (queries, neighbours)."""


def prediction_table(place: Place, ids: Names, subset: Names, key_ids: Names, cosines: Floats) -> pa.Table:
    """The rows of one retrieval.

    Args:
        place: which.
        ids: of the queries, (queries,).
        subset: `seen` or `unseen`, (queries,).
        key_ids: of their nearest keys, the nearest first, None beyond the last one, (queries, neighbours).
        cosines: of these, (queries, neighbours).
    """
    count = len(ids)
    there = np.asarray(key_ids != None)  # noqa: E711  # each of them is asked
    offsets = pa.array(np.append(0, np.cumsum(there.sum(axis=1))).astype(np.int32))
    return pa.table(
        {
            **{name: pa.array([getattr(place, name)] * count, pa.string()) for name in _PLACE},
            "specimen_id": pa.array(ids, pa.string()),
            "subset": pa.array(subset, pa.string()),
            "key_ids": pa.ListArray.from_arrays(offsets, pa.array(key_ids[there], pa.string())),
            "cosines": pa.ListArray.from_arrays(offsets, pa.array(cosines[there], pa.float32())),
        }
    )


def rows_of(table: pa.Table, place: Place) -> pa.Table:
    """The rows of one retrieval."""
    return table.filter(reduce(pc.and_, [pc.equal(table[name], getattr(place, name)) for name in _PLACE]))


class Predictions:
    """The answers of one evaluation, by retrieval."""

    def __init__(self, predictions: pa.Table, specimens: pa.Table, where: str = "predictions") -> None:
        """Take the two tables; `where` is what errors call them."""
        self._table, self._where = predictions, where
        self.specimens = specimens
        """Every query and key once: specimen_id, split and its names."""

    @staticmethod
    def read(folder: Folder) -> "Predictions":
        """The predictions of a run folder, or of an evaluation in it.

        Raises:
            DamagedError: a file is not there, or is not what was written.
        """
        tables, folder = {}, sealed_folder(folder)
        for name, schema in _SCHEMAS.items():
            if not folder.has(name):
                raise DamagedError(f"{folder}/{name}", "it is not there")
            nullable = ("split", *RANKS) if name == SPECIMENS else ()
            tables[name] = read_rows(folder, name, schema, nullable=nullable, least=0)
        if (ids := tables[SPECIMENS]["specimen_id"]).null_count or len(ids.unique()) < len(ids):
            raise DamagedError(f"{folder}/{SPECIMENS}", "a specimen is there twice, or has no id")
        check_answers(tables[PREDICTIONS], ids, f"{folder}/{PREDICTIONS}", CORRECTED)
        return Predictions(tables[PREDICTIONS], tables[SPECIMENS], str(folder))

    def with_rows(self, tables: Sequence[pa.Table]) -> "Predictions":
        """The same and further retrievals of the same specimens."""
        return Predictions(pa.concat_tables([self._table, *tables]), self.specimens, self._where)

    def write(self, folder: Folder) -> None:
        """Put both files into a folder."""
        folder.write_table(SPECIMENS, self.specimens)
        folder.write_table(PREDICTIONS, self._table)

    @cached_property
    def places(self) -> list[Place]:
        """The retrievals that there are, in the order of the file."""
        groups = self._table.select(_PLACE).group_by(_PLACE, use_threads=False).aggregate([])
        return [Place(**row) for row in groups.to_pylist()]

    def found(self, place: Place) -> Found:
        """One retrieval, queries in the order of the file.

        Raises:
            EmbeddingsError: there is no such retrieval, or a specimen of it has no labels.
        """
        rows = rows_of(self._table, place).combine_chunks()
        if not len(rows):
            have = ", ".join(sorted({f"{p.query} to {p.key}" for p in self.places}))
            asked = f"no {place.partition} queries by {place.query} to {place.key}"
            raise EmbeddingsError(f"{asked}; there are {have}", self._where)
        lists = rows["key_ids"].combine_chunks()
        num = pc.list_value_length(lists).to_numpy()
        there = np.arange(num.max())[None, :] < num[:, None]
        keys = np.full(there.shape, -1, dtype=np.int64)
        keys[there] = self._rows_of(lists.flatten())
        cosines = np.full(there.shape, np.nan, dtype=np.float32)
        cosines[there] = rows["cosines"].combine_chunks().flatten().to_numpy()
        return Found(place, rows["subset"], self._rows_of(rows["specimen_id"]), keys, cosines)

    def answers(self, place: Place) -> Answers:
        """The same with ids and names.

        Raises:
            EmbeddingsError: as `found`.
        """
        found = self.found(place)
        there = found.keys >= 0
        codes = {rank: self.codes(rank) for rank in RANKS}
        return Answers(
            place,
            self._ids[found.queries],
            np.array(found.subset.to_pylist(), dtype=object),
            {rank: own[found.queries] for rank, own in codes.items()},
            {rank: np.where(there, own[found.keys], np.int32(NO_KEY)) for rank, own in codes.items()},
            np.where(there, self._ids[found.keys], np.array(None, dtype=object)),
            found.cosines,
        )

    def codes(self, rank: Rank) -> Codes:
        """The code of each specimen's name at a rank, `MISSING` where there is none, (specimens,)."""
        return np.asarray(self._encoded[rank].indices.fill_null(MISSING).to_numpy())

    def names(self, rank: Rank) -> Names:
        """The name of each code at a rank, (codes,)."""
        return np.array(self._encoded[rank].dictionary.to_pylist(), dtype=object)

    @cached_property
    def _ids(self) -> Names:
        return np.array(self.specimens["specimen_id"].to_pylist(), dtype=object)

    @cached_property
    def _encoded(self) -> dict[Rank, pa.DictionaryArray]:
        return {rank: self.specimens[rank].combine_chunks().dictionary_encode() for rank in RANKS}

    def _rows_of(self, ids: pa.Array) -> Indices:
        rows = pc.index_in(ids, value_set=self.specimens["specimen_id"].combine_chunks())
        if rows.null_count:
            stranger = pc.filter(ids, pc.is_null(rows))[0]
            raise EmbeddingsError(f"specimen {stranger} has no labels in {SPECIMENS}", self._where)
        return np.asarray(rows.to_numpy(), dtype=np.int64)


def specimen_table(ids: Sequence[str] | Names, split: Sequence[str] | Names, labels: Labels) -> pa.Table:
    """The rows of `specimens.parquet`; names are None where missing."""
    columns: dict[str, Sequence[str] | Names] = {"specimen_id": ids, "split": split}
    columns |= {rank: labels[rank] for rank in RANKS}
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
