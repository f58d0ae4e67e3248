"""What an evaluation scores that has learned nothing: keys at random, and the commonest name among the keys.

Both depend on the labels of queries and keys alone, so they are exact, not drawn. (Table 7 of the paper counts other
things: `workloads.data.specimens.statistics`.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import hypergeom

from workloads.arrays import Codes, Doubles, Labels, Mask, Names
from workloads.evaluation.accuracy import KS, averages, shared_codes
from workloads.predictions import MISSING, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS, Rank

BASELINES = (*(("random_key", f"top{k}") for k in KS), ("majority", "top1"))
"""Method and metric of each column of `baseline_scores`."""


def baseline_scores(query_labels: Labels, key_labels: Labels, missing: MissingRank) -> dict[Rank, Doubles]:
    """What each query scores, in the order of `BASELINES`, (queries, baselines) by rank.

    Args:
        query_labels: by rank, (queries,), None where missing.
        key_labels: by rank, of the keys that are searched, (keys,).
        missing: whether a missing key label is the right answer to a query without one.
    """
    found = {}
    for rank in RANKS:
        truth, keys = shared_codes(query_labels[rank], key_labels[rank])
        columns = [random_key_chance(truth, keys, k) for k in KS]
        found[rank] = np.stack([*columns, _majority(truth, keys, missing)], axis=1)
    return found


def random_key_chance(truth: Codes, keys: Codes, k: int) -> Doubles:
    """The probability that one of k different keys, drawn at random, has a query's label, (queries,).

    Of N keys m have it, so that none of k has with the probability C(N-m, k) / C(N, k).
    """
    size = max(truth.max(initial=MISSING), keys.max(initial=MISSING)) - MISSING + 1
    right = np.bincount(keys - MISSING, minlength=size)[truth - MISSING]
    counts, which = np.unique(right, return_inverse=True)  # few differ, and each takes scipy long
    chance: Doubles = hypergeom.sf(0, len(keys), counts, min(k, len(keys)))[which]
    return chance


def random_key_accuracies(
    query_labels: Labels,
    key_labels: Labels,
    subset: Names,
    where: Place,
    missing: MissingRank = "left_out",
    ks: Sequence[int] = (1,),
) -> list[Measurement]:
    """What keys at random score on average."""
    rows: list[Measurement] = []
    place = replace(where, method="random_key")
    for rank in RANKS:
        truth, keys = shared_codes(query_labels[rank], key_labels[rank])
        chance = np.stack([random_key_chance(truth, keys, k) for k in ks], axis=1)
        rows += averages(rank, truth, _counted(truth, missing), chance, subset, place, [f"top{k}" for k in ks])
    return rows


def baseline_measurements(
    query_labels: Labels, scores: Mapping[Rank, Doubles], subset: Names, where: Place, missing: MissingRank
) -> list[Measurement]:
    """The averages of `baseline_scores`."""
    rows: list[Measurement] = []
    for rank in RANKS:
        truth, _ = shared_codes(query_labels[rank], query_labels[rank][:0])
        counted = _counted(truth, missing)
        for column, (method, metric) in enumerate(BASELINES):
            place = replace(where, method=method)
            rows += averages(rank, truth, counted, scores[rank][:, [column]], subset, place, [metric])
    return rows


def _counted(truth: Codes, missing: MissingRank) -> Mask:
    return np.ones(len(truth), dtype=bool) if missing == "a_class" else np.asarray(truth != MISSING)


def _majority(truth: Codes, keys: Codes, missing: MissingRank) -> Doubles:
    """Whether a query has the label that most keys have.

    Of equally common ones it is the first in the alphabet, and a missing one, where it counts, before all.
    """
    named = keys if missing == "a_class" else keys[keys != MISSING]
    if not len(named):
        return np.zeros(len(truth))
    commonest = np.bincount(named - MISSING).argmax() + MISSING
    hits: Doubles = (truth == commonest).astype(np.float64)
    return hits
