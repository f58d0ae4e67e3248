"""Top-k accuracies by rank.

Definitions (CLIBD, section 4.2; authors' code): micro is the share of queries of which one of the k nearest keys has
the query's label; macro is the mean of that share over the labels present among the queries. A label that occurs only
among keys has no share of its own. What a missing label does is `workloads.predictions.MissingRank`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Codes, Doubles, Indices, Labels, Names
from workloads.averages import check_subset, harmonic_means
from workloads.data.specimens.schema import stands_for_nothing
from workloads.errors import UsageError
from workloads.predictions import MISSING, Answers, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS, Rank

KS = (1, 3, 5)
"""How many of the nearest keys may hold the answer (authors' code; the paper prints k = 1)."""


def accuracies_of(answers: Answers, missing: MissingRank, ks: Sequence[int] = KS) -> list[Measurement]:
    """Every accuracy of one retrieval: four ranks, each k, micro and macro, by kind of species.

    Args:
        answers: the retrieval.
        missing: what a query without a label does.
        ks: numbers of nearest keys.

    Raises:
        UsageError: a query is neither of a seen nor of an unseen species.
    """
    check_subset(answers.subset)
    rows: list[Measurement] = []
    for rank in RANKS:
        right = np.logical_or.accumulate(answers.truth[rank] == answers.found[rank].T)  # (neighbours, queries)
        hits = right[[min(k, len(right)) - 1 for k in ks]].T
        rows += averages(answers, rank, missing, hits, [(answers.place, f"top{k}") for k in ks])
    return rows


def averages(
    queries: Answers, rank: Rank, missing: MissingRank, values: npt.NDArray[Any], numbers: Sequence[tuple[Place, str]]
) -> list[Measurement]:
    """Micro and macro means of numbers that every query has, by kind of species.

    Args:
        queries: any retrieval of these queries, for their subsets and labels.
        rank: of the labels.
        missing: what a query without a label does.
        values: in [0, 1], or whether the query is right, (queries, numbers).
        numbers: where each number is from, and its metric.

    Returns:
        Rows of seen and unseen species, all queries together, and the harmonic mean of the former two; none of a kind
        without queries.
    """
    counted = queries.counted(rank, missing)
    classes = (queries.truth[rank][counted] - MISSING).astype(np.int64)  # a missing label is one too
    num_classes = int(classes.max(initial=0)) + 1
    classes += num_classes * (queries.subset[counted] == "unseen")
    shape = (2, num_classes, len(numbers))
    sums = np.stack([np.bincount(classes, column[counted], 2 * num_classes) for column in values.T], axis=1)
    sums, sizes = sums.reshape(shape), np.bincount(classes, minlength=2 * num_classes).reshape(shape[:2])
    means: dict[tuple[str, str], tuple[Doubles, int]] = {}
    for kind, members in (("seen", [0]), ("unseen", [1]), ("all", [0, 1])):
        total, size = sums[members].sum(axis=0), sizes[members].sum(axis=0)
        if count := int(size.sum()):
            shares = total[size > 0] / size[size > 0, None]
            means["micro", kind] = total.sum(axis=0) / count, count
            means["macro", kind] = shares.mean(axis=0), len(shares)
    if means.keys() >= {("micro", "seen"), ("micro", "unseen")}:
        for average in ("micro", "macro"):
            (seen, num_seen), (unseen, num_unseen) = means[average, "seen"], means[average, "unseen"]
            means[average, "harmonic_mean"] = harmonic_means(seen, unseen), min(num_seen, num_unseen)
    return [
        Measurement(
            **asdict(place),
            level=rank,
            average=average,
            species=kind,
            metric=metric,
            value=float(value[column]),
            count=count,
        )
        for column, (place, metric) in enumerate(numbers)
        for average in ("micro", "macro")
        for (of, kind), (value, count) in means.items()
        if of == average
    ]


def label_codes(query_labels: Labels, key_labels: Labels) -> dict[Rank, tuple[Codes, Codes]]:
    """By rank the codes of queries, (queries,), and of keys, (keys,).

    They count from 0 up in the order of the alphabet; `MISSING` stands for none: for None, NaN, and words such as
    `not_classified`.
    """
    codes: dict[Rank, tuple[Codes, Codes]] = {}
    for rank in RANKS:
        names = pa.chunked_array(
            [pa.array(labels[rank], pa.string(), from_pandas=True) for labels in (query_labels, key_labels)]
        )
        known = pa.array(sorted(n for n in _distinct(names) if not stands_for_nothing(n)), pa.string())
        shared = pc.index_in(names, value_set=known, skip_nulls=True)
        both = shared.fill_null(MISSING).to_numpy()
        codes[rank] = both[: len(query_labels[rank])], both[len(query_labels[rank]) :]
    return codes


def _distinct(names: pa.ChunkedArray) -> list[str]:
    found: list[str] = pc.unique(names).drop_null().to_pylist()
    return found


def coded_answers(codes: Mapping[Rank, tuple[Codes, Codes]], nearest: Indices, subset: Names, where: Place) -> Answers:
    """A retrieval of which nothing but labels is known.

    Args:
        codes: of `label_codes`.
        nearest: indices of the nearest keys, (queries,) or the nearest first (queries, neighbours).
        subset: `seen` or `unseen` for each query, (queries,).
        where: partition, query, key and method.

    Raises:
        UsageError: `nearest` names no key, or `subset` has another word.
    """
    num_keys = len(next(iter(codes.values()))[1])
    if nearest.size and not 0 <= nearest.min() <= nearest.max() < num_keys:
        span = f"{nearest.min()} to {nearest.max()}"
        raise UsageError(f"nearest goes from {span}, and the keys are 0 to {num_keys - 1}")
    check_subset(subset)
    nearest = nearest.reshape(len(subset), -1)
    truth: dict[Rank, Codes] = {rank: asked for rank, (asked, _) in codes.items()}
    found: dict[Rank, Codes] = {rank: offered[nearest] for rank, (_, offered) in codes.items()}
    nobody = np.full(nearest.shape, None, dtype=object)
    unknown = np.full(nearest.shape, np.nan, dtype=np.float32)
    return Answers(where, nobody[:, 0], subset, truth, found, nobody, unknown)


def lineages_of(labels: Mapping[str, Names], classes: Sequence[str]) -> dict[str, Names]:
    """The names of each class at every rank, as most specimens of the species have it; None where all lack it.

    Args:
        labels: of the specimens, (specimens,) by rank, None where missing.
        classes: species, in any order.
    """
    lineages: dict[str, Names] = {}
    for rank in RANKS:
        columns = [pa.array(labels[name], pa.string()) for name in ("species", rank)]
        named = pa.table(columns, ["species", "name"]).drop_null()
        counts = named.group_by(["species", "name"]).aggregate([([], "count_all")])
        # The last of a species counts: its commonest name, of equally common ones the first in the alphabet.
        ordered = counts.sort_by([("count_all", "ascending"), ("name", "descending")])
        commonest = dict(zip(ordered["species"].to_pylist(), ordered["name"].to_pylist(), strict=True))
        if rank == "species":
            commonest |= {name: name for name in classes}
        lineages[rank] = np.array([commonest.get(species) for species in classes], dtype=object)
    return lineages
