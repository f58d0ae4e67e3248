"""What can be an answer in open-set recognition: key specimens, and the classes of a classifier.

Both stand in one numbering, the keys first, so that a query may be answered from either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Doubles, Indices, Labels, Mask, Names
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.evaluation.embedded import Embedded, has_feature, key_features, query_features
from workloads.evaluation.retrieval import nearest_keys
from workloads.spec import RANKS, Modality

NUM_ANSWERS = 5
NOTHING = -1
"""Number of an answer that there is not, as there are fewer keys."""
CLASS = "class"
"""Kind of specimen that stands for a species of the classifier, in ids and as their split."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Everything that can be an answer."""

    ids: Names
    """Specimens' ids, and for a species of the classifier `class NAME`, (answers,)."""
    is_seen: Mask
    """Whether the species is seen in training, (answers,)."""
    labels: Labels
    """Names by rank, None where missing, (answers,) each."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The best answers to each query that one source has, the best first."""

    answers: Indices
    """Numbers in `Answering`, `NOTHING` beyond the last one, (queries, 5)."""
    scores: Doubles
    """Cosines or probabilities, NaN beyond the last one, (queries, 5)."""


def answering(keys: Embedded, classes: Sequence[str] = (), lineages: Labels | None = None) -> Answering:
    """Keys and classes in one numbering.

    Args:
        keys: the specimens.
        classes: species that a classifier tells apart; all are seen ones.
        lineages: names by rank of these species and perhaps others, in any order; None: as most keys of the species
            have it, the first in the alphabet of equally many. A species without a key then has no name above its own.

    Raises:
        UsageError: the lineages lack one of the classes.
    """
    found = lineages_of(keys.labels, classes) if lineages is None else _chosen(lineages, classes)
    return Answering(
        np.array([*keys.ids, *(f"{CLASS} {name}" for name in classes)], dtype=object),
        np.append(keys.subset == "seen", np.ones(len(classes), dtype=bool)),
        {rank: np.array([*keys.labels[rank], *found[rank]], dtype=object) for rank in RANKS},
    )


def lineages_of(labels: Mapping[str, Names], classes: Sequence[str]) -> dict[str, Names]:
    """The names of each class at every rank, as most specimens of the species have it; None where all lack it.

    Args:
        labels: of the specimens, (specimens,) by rank, None where missing.
        classes: species, in any order.
    """
    return {rank: _commonest(labels, rank, classes) for rank in RANKS}


def _commonest(labels: Mapping[str, Names], rank: str, classes: Sequence[str]) -> Names:
    columns = [pa.array(labels[name], pa.string()) for name in ("species", rank)]
    named = pa.table(columns, ["species", "name"]).drop_null()
    counts = named.group_by(["species", "name"]).aggregate([([], "count_all")])
    # Of names that are equally common the first in the alphabet, on any machine.
    ordered = counts.sort_by([("count_all", "descending"), ("name", "ascending")])
    found = {name: name for name in classes} if rank == "species" else {}
    for species, name in zip(ordered["species"].to_pylist(), ordered["name"].to_pylist(), strict=True):
        found.setdefault(species, name)
    return np.array([found.get(species) for species in classes], dtype=object)


def _chosen(lineages: Labels, classes: Sequence[str]) -> Labels:
    rows = {name: row for row, name in enumerate(lineages["species"])}
    if absent := [name for name in classes if name not in rows]:
        raise UsageError(f"the lineages of {len(absent):,} species are not known, {absent[0]} is the first")
    return {rank: names[[rows[name] for name in classes]] for rank, names in lineages.items()}


def search(queries: Embedded, keys: Embedded, modality: Modality, kind: Literal["seen", "unseen"]) -> Offer:
    """The nearest keys of each image.

    Args:
        queries: which ask by image.
        keys: all of them.
        modality: of the keys.
        kind: of the species whose keys are searched.

    Raises:
        UsageError: images or the keys' modality are not among the embeddings, or there is not one such key.
    """
    if not (has_feature(queries, "image") and has_feature(keys, modality)):
        raise UsageError(
            "open-set recognition needs images of queries, and images and barcodes of keys; embedded are "
            f"{', '.join(queries.rows) or 'none'} of queries and {', '.join(keys.rows) or 'none'} of keys"
        )
    asking, offered = query_features(queries, "image"), key_features(keys, modality)
    members = np.flatnonzero(keys.subset == kind)
    if not len(members):
        raise UsageError(f"there are no keys of {kind} species, so a query that is called {kind} has no answer")
    indices, cosines = nearest_keys(asking, offered.rows[members], NUM_ANSWERS)
    short = ((0, 0), (0, NUM_ANSWERS - indices.shape[1]))
    return Offer(
        np.pad(members[indices], short, constant_values=NOTHING),
        np.pad(cosines.astype(np.float64), short, constant_values=np.nan),
    )


def classified(table: pa.Table, part: str, ids: Names, classes: Sequence[str], first: int) -> Offer:
    """The most probable species of each query.

    Args:
        table: of a classifier's evaluation (`workloads.evaluation.classification`).
        part: partition of the queries.
        ids: of the queries, (queries,).
        classes: species, in the order in which `answering` has them.
        first: number of the first of them in `Answering`.

    Raises:
        MissingPathError: a query was not classified.
        DamagedError: a species is none of the classes.
    """
    rows = table.filter(pc.equal(table["partition"], part)).combine_chunks()
    at = pc.index_in(pa.array(ids, pa.string()), value_set=rows["specimen_id"].combine_chunks())
    if at.null_count:
        absent = ids[np.asarray(pc.is_null(at))]
        raise MissingPathError(
            "classifier.parquet",
            f"predictions for {len(absent):,} of {len(ids):,} {part} queries ({absent[0]} is the first)",
            "Evaluate the classifier on the same data set: `clibd evaluate CLASSIFIER --data DIR`.",
        )
    rows = rows.take(at).combine_chunks()
    predicted, probability = rows["predicted"].combine_chunks(), rows["probability"].combine_chunks()
    num = pc.list_value_length(predicted).to_numpy(zero_copy_only=False)
    numbers = pc.index_in(predicted.flatten(), value_set=pa.array(classes, pa.string()))
    paired = pc.list_value_length(probability).equals(pc.list_value_length(predicted))
    if numbers.null_count or not num.all() or not paired:
        raise DamagedError("classifier.parquet", "its species and probabilities do not belong together")
    there = np.arange(NUM_ANSWERS)[None, :] < num[:, None]
    answers, scores = np.full(there.shape, NOTHING, dtype=np.int64), np.full(there.shape, np.nan)
    answers[there] = first + numbers.to_numpy()
    scores[there] = probability.flatten().to_numpy()
    return Offer(answers, scores)


def routed(seen: Offer, unseen: Offer, called_seen: Mask) -> Offer:
    """Each place from one of two offers, independently of the other places.

    Where the one that a place is taken from is too short, the place stays empty.

    Args:
        seen: answers from seen species.
        unseen: answers from unseen species.
        called_seen: where the former are taken, (queries, 5).
    """
    return Offer(np.where(called_seen, seen.answers, unseen.answers), np.where(called_seen, seen.scores, unseen.scores))


def merged(one: Offer, other: Offer) -> Offer:
    """The best of two offers of nearest keys, as if both had been searched together: ties to the lowest number."""
    answers = np.concatenate([one.answers, other.answers], axis=1)
    scores = np.concatenate([one.scores, other.scores], axis=1)
    order = np.lexsort((answers, -scores), axis=1)[:, :NUM_ANSWERS]  # NaN, which is no answer, goes last
    return Offer(np.take_along_axis(answers, order, axis=1), np.take_along_axis(scores, order, axis=1))


def classes_of(table: pa.Table) -> list[str]:
    """The species that a classifier ever named, in the alphabet."""
    return sorted(pc.unique(table["predicted"].combine_chunks().flatten()).to_pylist())
