"""The authors' retrieval and metrics as they do them, in our words: faiss, then lists and dictionaries in Python.

From the description in docs/fidelity.md: features in unit length, an exact index of inner products, five neighbours;
the labels of these as lists of strings, a dictionary a query; hits counted query by query, for each k, rank and
average; seen and unseen queries apart.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Lineage = Mapping[str, str]
RANKS = ("order", "family", "genus", "species")
KS = (1, 3, 5)


def search(queries: Floats, keys: Floats) -> npt.NDArray[np.int64]:
    """The five nearest keys of each query, (queries, 5)."""
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(_unit(keys))
    _, found = index.search(_unit(queries), max(KS))
    return np.asarray(found, dtype=np.int64)


def labels_found(found: npt.NDArray[np.int64], key_labels: Sequence[Lineage]) -> list[dict[str, list[str]]]:
    """For each query, by rank, the labels of its neighbours."""
    return [{rank: [key_labels[key][rank] for key in row] for rank in RANKS} for row in found.tolist()]


def accuracies(
    found: Sequence[Mapping[str, Sequence[str]]], truth: Sequence[Lineage]
) -> dict[tuple[str, int, str], float]:
    """By average, k and rank."""
    numbers = {}
    for k in KS:
        for rank in RANKS:
            numbers["micro", k, rank] = _micro(found, truth, k, rank)
            numbers["macro", k, rank] = _macro(found, truth, k, rank)
    return numbers


def _micro(found: Sequence[Mapping[str, Sequence[str]]], truth: Sequence[Lineage], k: int, rank: str) -> float:
    right = 0
    for labels, own in zip(found, truth, strict=True):
        if own[rank] in labels[rank][:k]:
            right += 1
    return right / len(truth)


def _macro(found: Sequence[Mapping[str, Sequence[str]]], truth: Sequence[Lineage], k: int, rank: str) -> float:
    right: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for labels, own in zip(found, truth, strict=True):
        total[own[rank]] += 1
        if own[rank] in labels[rank][:k]:
            right[own[rank]] += 1
    return sum(right[name] / count for name, count in total.items()) / len(total)


def harmonic_mean(a: float, b: float) -> float:
    """Of seen and unseen."""
    return 2 / (1 / a + 1 / b) if a and b else 0.0


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)
