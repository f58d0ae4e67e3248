"""Top-k accuracies by rank.

Definitions (CLIBD, section 4.2; authors' code): micro is the share of queries of which one of the k nearest keys has
the query's label; macro is the mean of that share over the labels present among the queries. A label that occurs only
among keys has no share of its own. What a missing label does is `workloads.predictions.MissingRank`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.arrays import Codes, Doubles, Indices, Labels, Mask, Names
from workloads.averages import harmonic_mean
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
    """
    rows: list[Measurement] = []
    unseen, metrics = np.asarray(answers.subset == "unseen"), [f"top{k}" for k in ks]
    for rank in RANKS:
        counted, truth, found = answers.counted(rank, missing), answers.truth[rank], answers.found[rank]
        of = unseen
        if not counted.all():
            truth, found, of = truth[counted], found[counted], unseen[counted]
        rows += _rows(
            rank, _sums_of_hits(truth, of, _first_hit(truth, found), found.shape[1], ks), answers.place, metrics
        )
    return rows


def _first_hit(truth: Codes, found: Codes) -> Indices:
    """Which neighbour is the first one that is right, and their number where none is, (queries,)."""
    right = found == truth[:, None]
    first: Indices = right.argmax(axis=1)
    first[~right[np.arange(len(first)), first]] = found.shape[1]
    return first


def accuracies(
    query_labels: Labels,
    key_labels: Labels,
    nearest: Indices,
    subset: Names,
    where: Place,
    missing: MissingRank = "left_out",
    ks: Sequence[int] = (1,),
) -> list[Measurement]:
    """The same from labels and the nearest keys, where nothing is stored.

    Args:
        query_labels: by rank, (queries,), None where missing.
        key_labels: by rank, (keys,), None where missing.
        nearest: indices of the nearest keys, (queries,) or the nearest first (queries, neighbours).
        subset: `seen` or `unseen` for each query, (queries,).
        where: partition, query, key and method of the measurements.
        missing: what a query without a label does.
        ks: numbers of nearest keys.
    """
    return accuracies_of(coded_answers(label_codes(query_labels, key_labels), nearest, subset, where), missing, ks)


def label_codes(query_labels: Labels, key_labels: Labels) -> dict[Rank, tuple[Codes, Codes]]:
    """By rank the codes of queries, (queries,), and of keys, (keys,)."""
    return {rank: shared_codes(query_labels[rank], key_labels[rank]) for rank in RANKS}


def coded_answers(codes: Mapping[Rank, tuple[Codes, Codes]], nearest: Indices, subset: Names, where: Place) -> Answers:
    """A retrieval of which nothing but labels is known: from `label_codes` and the indices of the nearest keys."""
    nearest = nearest.reshape(len(subset), -1)
    truth: dict[Rank, Codes] = {rank: asked for rank, (asked, _) in codes.items()}
    found: dict[Rank, Codes] = {rank: offered[nearest] for rank, (_, offered) in codes.items()}
    nobody = np.full(nearest.shape, None, dtype=object)
    unknown = np.full(nearest.shape, np.nan, dtype=np.float32)
    return Answers(where, nobody[:, 0], subset, truth, found, nobody, unknown)


def shared_codes(query_names: Names, key_names: Names) -> tuple[Codes, Codes]:
    """Numbers for the names of queries and of keys, from 0 up; equal names have equal ones, missing names `MISSING`."""
    every = np.concatenate([query_names, key_names])
    known = np.array([name is not None for name in every], dtype=bool)
    codes = np.full(len(every), MISSING, dtype=np.int32)
    codes[known] = np.unique(every[known].astype(str), return_inverse=True)[1]
    return codes[: len(query_names)], codes[len(query_names) :]


def averages(
    rank: Rank, truth: Codes, counted: Mask, values: Doubles, subset: Names, where: Place, metrics: Sequence[str]
) -> list[Measurement]:
    """Micro and macro means of numbers that every query has, by kind of species.

    Args:
        rank: of the labels.
        truth: codes of the queries' labels, (queries,).
        counted: which queries count, (queries,).
        values: in [0, 1], (queries, metrics).
        subset: `seen` or `unseen`, (queries,).
        where: partition, query, key and method.
        metrics: names of the numbers.

    Returns:
        Rows of seen and unseen species, their harmonic mean, and all queries together; none of a kind without queries.
    """
    unseen = np.asarray(subset == "unseen")[counted]
    places, size = _places(truth[counted], unseen)
    sums = np.stack([np.bincount(places, column, 2 * size) for column in values[counted].T], axis=1)
    sizes = np.bincount(places, minlength=2 * size)
    by_class = _Sums(sums.reshape((2, size, len(metrics))), sizes.reshape((2, size)))
    return _rows(rank, by_class, where, metrics)


@dataclass(frozen=True, slots=True)
class _Sums:
    """What the queries of each class come to, the classes of seen species first, then those of unseen ones."""

    sums: npt.NDArray[Any]
    """(2, classes, metrics)."""
    sizes: npt.NDArray[Any]
    """Queries, (2, classes)."""

    def means(self) -> dict[str, dict[str, tuple[Doubles, int]]]:
        """Micro and macro means, (metrics,), with the count behind them; none of a kind without queries."""
        (seen, unseen), (num_seen, num_unseen) = self.sums, self.sizes
        kinds = {"seen": (seen, num_seen), "unseen": (unseen, num_unseen)}
        kinds["all"] = (seen + unseen, num_seen + num_unseen)
        found = {}
        for kind, (sums, sizes) in kinds.items():
            present = sizes > 0
            if not present.any():
                continue
            count, shares = int(sizes.sum()), sums[present] / sizes[present, None]
            found[kind] = {"micro": (sums.sum(axis=0) / count, count), "macro": (shares.mean(axis=0), len(shares))}
        return found


def _places(truth: Codes, unseen: Mask) -> tuple[Indices, int]:
    """A number for each class and kind of species, and how many classes there are; a missing label is one too."""
    size = int(truth.max(initial=MISSING)) - MISSING + 1
    return (truth - MISSING + size * unseen).astype(np.int64), size


def _sums_of_hits(truth: Codes, unseen: Mask, first: Indices, width: int, ks: Sequence[int]) -> _Sums:
    places, size = _places(truth, unseen)
    counts = np.bincount(places * (width + 1) + first, minlength=2 * size * (width + 1))
    upto = counts.reshape(2, size, width + 1).cumsum(axis=2)
    return _Sums(upto[:, :, [min(k, width) - 1 for k in ks]].astype(np.float64), upto[:, :, -1])


def _rows(rank: Rank, sums: _Sums, where: Place, metrics: Sequence[str]) -> list[Measurement]:
    found = sums.means()
    rows = []
    for column, metric in enumerate(metrics):
        for average in ("micro", "macro"):
            means = {kind: (float(by[average][0][column]), by[average][1]) for kind, by in found.items()}
            if "seen" in means and "unseen" in means:
                (seen, num_seen), (unseen, num_unseen) = means["seen"], means["unseen"]
                means["harmonic_mean"] = (harmonic_mean(seen, unseen), min(num_seen, num_unseen))
            rows += [
                measured(where, level=rank, average=average, species=kind, metric=metric, value=value, count=count)
                for kind, (value, count) in means.items()
            ]
    return rows


def measured(where: Place, **said: Any) -> Measurement:
    """A number of a retrieval; what is said of it are the further fields of a measurement."""
    return Measurement(**asdict(where), **said)
