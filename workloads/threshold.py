"""The threshold between seen and unseen species that serves both best, exactly.

A query whose confidence in the seen species is above the threshold, strictly, is answered from these, any other query
from the unseen species (CLIBD, section B.2). The best threshold has the highest harmonic mean of both kinds' accuracies
after that choice (top-1), not of the choice's own accuracy: calling a query seen is worth nothing where the answer is
wrong. All that changes with the threshold is how many of the least confident queries are answered from the unseen
species, so one pass over the sorted scores meets every outcome there is. Among equally good thresholds the smallest is
taken, as the authors do on their grid.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workloads.arrays import Codes, Doubles, Mask
from workloads.errors import UsageError

Weights = npt.NDArray[Any]
"""Whole numbers, of Python where they may be large."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The best of some thresholds, and what it reaches on the queries it was chosen on."""

    value: float
    """A query is called seen where its score is above; -inf calls every query seen."""
    seen: float
    """Share of seen queries that are answered rightly; in [0, 1] as all that follow."""
    unseen: float
    harmonic_mean: float
    num_tried: int
    """How many thresholds were compared."""


class Choices(NamedTuple):
    """Queries that are answered from the seen or from the unseen species, and what becomes of either."""

    scores: Doubles
    """Confidence that the species is a seen one, any finite numbers, (queries,)."""
    right_if_seen: Mask
    """Whether the answer from the seen species is right, (queries,)."""
    right_if_unseen: Mask
    """Whether the answer from the unseen species is, (queries,)."""
    is_seen: Mask
    """Whether the query's species is seen, (queries,)."""


class Outcomes(NamedTuple):
    """What each of some thresholds comes to."""

    values: Doubles
    """The thresholds, ascending, (thresholds,)."""
    seen: Weights
    """Weight of the seen queries that are answered rightly, (thresholds,)."""
    unseen: Weights
    all_seen: int
    """Weight of all seen queries."""
    all_unseen: int


def best_threshold(choices: Choices, grid: Doubles | None = None, weights: Weights | None = None) -> Threshold:
    """The threshold with the highest harmonic mean of seen and unseen accuracy, the smallest of several.

    With n queries this takes O(n log n), whatever the grid.

    Without a grid the result is exact: no threshold whatever does better. Tried are -inf, which calls every query seen,
    and every distinct score, of which the highest calls every query unseen; in between nothing changes. When no
    threshold helps both kinds all harmonic means are 0, and the smallest threshold calls every query seen.

    Args:
        choices: the queries.
        grid: ascending thresholds to try instead, (points,); None for all that differ.
        weights: of the queries within their kind, such as `macro_weights`; None: one each, the micro accuracy.

    Raises:
        UsageError: there are no queries of one kind, so that no mean can be made; or a score is not finite.
    """
    values, seen, unseen, all_seen, all_unseen = outcomes_at(choices, grid, weights)
    # One division of whole numbers, so that means that are equal as fractions are equal as floats, and ties are ties.
    means = 2 * seen * unseen / np.maximum(seen * all_unseen + unseen * all_seen, 1)
    best = int(means.argmax())  # the first of several
    return Threshold(
        value=float(values[best]),
        seen=float(seen[best] / all_seen),
        unseen=float(unseen[best] / all_unseen),
        harmonic_mean=float(means[best]),
        num_tried=len(values),
    )


def outcomes_at(choices: Choices, grid: Doubles | None = None, weights: Weights | None = None) -> Outcomes:
    """What every threshold comes to; arguments and errors as of `best_threshold`."""
    scores, right_if_seen, right_if_unseen, is_seen = choices
    for kind, count in (("seen", is_seen.sum()), ("unseen", (~is_seen).sum())):
        if not count:
            raise UsageError(f"there are no queries of {kind} species on validation to choose a threshold with")
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise UsageError(f"{bad:,} of the scores to choose a threshold by are not finite")
    weights = np.ones(len(scores), dtype=np.int64) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    values = np.append(-math.inf, np.unique(ranked)) if grid is None else grid
    cuts = np.searchsorted(ranked, values, side="right")  # how many scores are not above each
    gain = weights * (right_if_unseen.astype(np.int64) - right_if_seen)
    seen, unseen = (  # right answers to queries of each kind, at each threshold
        np.sum(weights[right_if_seen & kind]) + np.append(0, np.cumsum((gain * kind)[order]))[cuts]
        for kind in (is_seen, ~is_seen)
    )
    return Outcomes(values, seen, unseen, weights[is_seen].sum(), weights[~is_seen].sum())


def macro_weights(classes: Codes, is_seen: Mask) -> Weights:
    """Weights that make an accuracy the mean over classes, seen and unseen ones apart, without a fraction.

    A query of a class of n weighs L / n, with L the least common multiple of all n of its kind: as fractions of unequal
    denominators are added, floats could not tell ties.

    Args:
        classes: of the queries, (queries,).
        is_seen: whether they are of a seen species, (queries,).

    Returns:
        Whole numbers of Python, which have no largest, (queries,).
    """
    weights = np.zeros(len(classes), dtype=object)
    for kind in (is_seen, ~is_seen):
        _, which, sizes = np.unique(classes[kind], return_inverse=True, return_counts=True)
        multiple = math.lcm(*sizes.tolist())
        weights[kind] = np.array([multiple // size for size in sizes.tolist()], dtype=object)[which]
    return weights
