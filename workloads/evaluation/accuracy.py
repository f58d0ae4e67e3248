"""Top-1 accuracies by rank, and what a random key would score.

Definitions (CLIBD, section 4.2; authors' code): micro is the share of queries whose nearest key has the query's label;
macro is the mean of that share over the labels present among the queries. A label that occurs only among keys has no
share of its own. A query whose label is missing at a rank is left out at that rank; a key whose label is missing is
never right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from workloads.record import Measurement
from workloads.spec import RANKS

Labels = Mapping[str, npt.NDArray[np.object_]]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """What a retrieval's measurements have in common."""

    partition: str
    query: str
    key: str
    method: str = "clibd"


def _averages(truth: npt.NDArray[np.object_], hit: Values) -> dict[str, tuple[float, int]]:
    """Micro and macro mean of per-query values, each with the count behind it; empty without labelled queries."""
    known = np.array([label is not None for label in truth], dtype=bool)
    if not known.any():
        return {}
    hits = hit[known]
    _, group = np.unique(truth[known].astype(str), return_inverse=True)
    sizes = np.bincount(group)
    shares = np.bincount(group, weights=hits) / sizes
    return {"micro": (float(hits.mean()), len(hits)), "macro": (float(shares.mean()), len(sizes))}


def accuracies(
    query_labels: Labels,
    key_labels: Labels,
    nearest: npt.NDArray[np.int64],
    subset: npt.NDArray[np.object_],
    where: Place,
) -> list[Measurement]:
    """Every top-1 accuracy of one retrieval.

    Args:
        query_labels: by rank, (queries,), None where missing.
        key_labels: by rank, (keys,), None where missing.
        nearest: index of the nearest key of each query, (queries,).
        subset: `seen` or `unseen` for each query, (queries,).
        where: partition, query, key and method of the measurements.
    """
    rows: list[Measurement] = []
    for rank in RANKS:
        truth = query_labels[rank]
        hit = (key_labels[rank][nearest] == truth).astype(np.float64)
        rows += _subsets(rank, truth, hit, subset, where)
    return rows


def random_key_accuracies(
    query_labels: Labels, key_labels: Labels, subset: npt.NDArray[np.object_], where: Place
) -> list[Measurement]:
    """What picking a key at random scores on average: each query's share of keys with its label."""
    rows: list[Measurement] = []
    for rank in RANKS:
        names, counts = np.unique([str(name) for name in key_labels[rank] if name is not None], return_counts=True)
        share = dict(zip(names, counts / len(key_labels[rank]), strict=True))
        truth = query_labels[rank]
        chance = np.array([share.get(str(label), 0.0) for label in truth], dtype=np.float64)
        rows += _subsets(rank, truth, chance, subset, replace(where, method="random_key"))
    return rows


def _subsets(
    rank: str,
    truth: npt.NDArray[np.object_],
    hit: Values,
    subset: npt.NDArray[np.object_],
    where: Place,
) -> list[Measurement]:
    """Seen, unseen, their harmonic mean, and all queries together."""
    found = {
        "seen": _averages(truth[subset == "seen"], hit[subset == "seen"]),
        "unseen": _averages(truth[subset == "unseen"], hit[subset == "unseen"]),
        "all": _averages(truth, hit),
    }
    rows = []
    for average in ("micro", "macro"):
        values = {name: averages[average] for name, averages in found.items() if averages}
        if "seen" in values and "unseen" in values:
            (seen, num_seen), (unseen, num_unseen) = values["seen"], values["unseen"]
            values["harmonic_mean"] = (harmonic_mean(seen, unseen), min(num_seen, num_unseen))
        rows += [
            Measurement(
                method=where.method,
                partition=where.partition,
                query=where.query,
                key=where.key,
                level=rank,
                average=average,
                species=name,
                value=value,
                count=count,
            )
            for name, (value, count) in values.items()
        ]
    return rows


def harmonic_mean(a: float, b: float) -> float:
    """2 / (1/a + 1/b), and 0 when either is 0 (as the authors)."""
    return 2 * a * b / (a + b) if a > 0 and b > 0 else 0.0
