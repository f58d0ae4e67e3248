"""Evaluated folders as figures and comparisons see them: by which rules they were measured, and what was answered.

Two of them are compared on the same queries alone, and refused where these are not the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from workloads.arrays import Floats, Names
from workloads.errors import DamagedError, IncomparableError, MissingPathError, UsageError
from workloads.predictions import PAPERS_PAIRS, Answers, Place, Predictions
from workloads.record import read_evaluation
from workloads.seals import sealed_folder
from workloads.spec import MODALITIES, RANKS, Rank
from workloads.storage import Folder


@dataclass(frozen=True)
class EvaluatedFolder:
    """A run that was evaluated, or one of its evaluations on other specimens."""

    folder: Folder
    run: str
    """Id of the run; behind a slash the evaluation, where it is not the run's own."""
    facts: Mapping[str, Any]
    """Its evaluation.json."""

    @cached_property
    def predictions(self) -> Predictions:
        """What every query was answered."""
        return Predictions.read(self.folder)

    def answers(self, partition: str, query: str, key: str) -> Answers:
        """One retrieval, among all keys where these were searched, else among those that were.

        Raises:
            UsageError: the evaluation has no such retrieval; it says which ones there are.
        """
        self.pairs(partition, [(query, key)])
        places = [p for p in self.predictions.places if (p.partition, p.query, p.key) == (partition, query, key)]
        return self.predictions.answers(next((place for place in places if place.keys == "all"), places[0]))

    def pairs(self, partition: str, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of the wanted query and key features that the evaluation has.

        Raises:
            UsageError: it has none of them.
        """
        places = self.predictions.places
        there = {(place.query, place.key) for place in places if place.partition == partition}
        if not there & set(wanted):
            listed = ", ".join(f"{query} to {key}" for query, key in wanted)
            raise UsageError(f"{self.folder} has no {partition} queries by {listed}; {_what_there_is(places)}")
        return [pair for pair in wanted if pair in there]

    def embeddings(self, partition: str) -> tuple[pa.Table, dict[str, Floats]]:
        """Ids and names of the queries of a partition, and their embeddings by modality, (queries, size) each.

        A query that lacks a modality has NaN there.

        Raises:
            MissingPathError: they are not there.
            DamagedError: they are not what an evaluation writes.
        """
        folder, name = sealed_folder(self.folder) / "embeddings", f"{partition}.parquet"
        if not folder.has(name):
            raise MissingPathError(
                f"{folder}/{name}",
                f"embeddings of {partition} queries",
                "Evaluate the run again with `clibd evaluate RUN --data DIR`, or ask for the other partition.",
            )
        table = folder.read_table(name)
        labels = ["specimen_id", "split", *RANKS]
        if not set(labels) <= set(table.column_names):
            raise DamagedError(f"{folder}/{name}", "it has no names beside its embeddings")
        rows = {modality: _rows(table[modality]) for modality in MODALITIES if modality in table.column_names}
        counts = self.facts.get("num_lacking", {}).get(partition, {})
        lost = [name for name in rows if table[name].null_count != counts.get(name, 0)]
        there = {name: np.asarray(table[name].is_valid()) for name in rows}
        finite = (len(own) == len(table) and np.isfinite(own[there[name]]).all() for name, own in rows.items())
        if lost or not all(finite):
            raise DamagedError(f"{folder}/{name}", "a specimen has no finite embedding")
        return table.select(labels), {str(modality): own for modality, own in rows.items()}


def read_evaluated(folder: Folder) -> EvaluatedFolder:
    """The evaluation in a folder: a run folder, or `evaluation-NAME` in one.

    Raises:
        MissingPathError: no evaluation is there; it says where there is one, or how to make one.
        DamagedError: it does not say what it is of.
    """
    facts = read_evaluation(folder)
    run = folder.name if folder.has("spec.json") else f"{folder.parent.name}/{folder.name}"
    return EvaluatedFolder(folder, run, facts)


def _what_there_is(places: Sequence[Place]) -> str:
    """Which retrievals an evaluation has."""
    parts = []
    for partition in dict.fromkeys(place.partition for place in places):
        pairs = dict.fromkeys((place.query, place.key) for place in places if place.partition == partition)
        parts.append(f"{partition} queries by {', '.join(f'{query} to {key}' for query, key in pairs)}")
    return f"there are {'; '.join(parts)}" if parts else "it has no queries at all"


def _rows(column: pa.ChunkedArray) -> Floats:
    """A column of lists of one length as a matrix, NaN for null."""
    lists = column.combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    own = np.asarray(flat, dtype=np.float32).reshape(len(lists) - lists.null_count, -1)
    if not lists.null_count:
        return own
    rows = np.full((len(lists), own.shape[1]), np.nan, dtype=np.float32)
    rows[np.asarray(lists.is_valid())] = own
    return rows


# --- The same queries, answered by two runs -------------------------------------------------------------------------

PairedAnswers = tuple[Answers, Answers]
"""One retrieval of both runs; row i is the same query in both."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """What two evaluations have in common."""

    pairs: tuple[PairedAnswers, ...]
    facts: Mapping[str, Any]
    """The first one's evaluation.json; both have the same rule for missing names."""
    same_data: bool
    """Whether both were evaluated on the same version of the data set, so that they had the same keys."""
    only_first: tuple[Place, ...]
    """Retrievals that the second run does not have."""
    only_second: tuple[Place, ...]


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
    return paired(read_evaluated(first), read_evaluated(second), partition, None if every else PAPERS_PAIRS)


def paired(
    one: EvaluatedFolder,
    other: EvaluatedFolder,
    partition: str | None,
    retrievals: Collection[tuple[str, str]] | None = PAPERS_PAIRS,
) -> Pairing:
    """`pair` of evaluations that were read before.

    Args:
        one: an evaluation.
        other: another one.
        partition: `val` or `test`; None for both.
        retrievals: query and key features, searched among all keys; None: every retrieval.

    Raises:
        IncomparableError: as of `pair`.
    """
    first, second = one.folder, other.folder
    rules = one.facts["missing_rank"], other.facts["missing_rank"]
    if rules[0] != rules[1]:
        raise IncomparableError(
            str(first), str(second), f"missing names are {rules[0]} in one, {rules[1]} in the other"
        )
    places, others = _places(one, partition, retrievals), _places(other, partition, retrievals)
    common = [place for place in places if place in others]
    if not common:
        raise IncomparableError(str(first), str(second), f"they share no retrieval of {partition or 'any'} queries")
    return Pairing(
        tuple(_paired(one, other, place) for place in common),
        one.facts,
        all(one.facts.get(name) == other.facts.get(name) for name in ("dataset", "data_fingerprint")),
        tuple(place for place in places if place not in common),
        tuple(place for place in others if place not in common),
    )


def _places(
    evaluated: EvaluatedFolder, partition: str | None, retrievals: Collection[tuple[str, str]] | None
) -> list[Place]:
    places = [place for place in evaluated.predictions.places if partition in (None, place.partition)]
    if retrievals is None:
        return places
    return [place for place in places if place.keys == "all" and (place.query, place.key) in retrievals]


def _paired(one: EvaluatedFolder, other: EvaluatedFolder, place: Place) -> PairedAnswers:
    first, second = one.predictions.answers(place), other.predictions.answers(place)
    row = {name: number for number, name in enumerate(second.ids)}
    if strangers := sorted(set(first.ids) ^ set(row)):
        raise _refusal(one, other, place, f"{len(strangers)} of them are in one run only", strangers)
    second = second.take(np.array([row[name] for name in first.ids]))
    if (moved := first.subset != second.subset).any():
        reason = f"{moved.sum()} of them are seen in one run and unseen in the other"
        raise _refusal(one, other, place, reason, first.ids[moved])
    for rank in RANKS:
        differ = _names(one, first, rank) != _names(other, second, rank)
        if differ.any():
            raise _refusal(
                one, other, place, f"{differ.sum()} of them have another {rank} in each run", first.ids[differ]
            )
    return first, second


def _names(evaluated: EvaluatedFolder, answers: Answers, rank: Rank) -> Names:
    """The queries' names, None where missing, (queries,)."""
    names = np.array([*evaluated.predictions.names(rank), None], dtype=object)
    return np.asarray(names[answers.truth[rank]])  # the code of a missing name is -1: the last one


def _refusal(
    one: EvaluatedFolder, other: EvaluatedFolder, place: Place, reason: str, queries: Sequence[str] | Names
) -> IncomparableError:
    retrieval = f"{place.partition} queries by {place.query} to {place.key}"
    some = ", ".join(queries[:3]) + (", …" if len(queries) > 3 else "")
    return IncomparableError(str(one.folder), str(other.folder), f"{retrieval}: {reason} ({some})")
