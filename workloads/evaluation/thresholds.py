"""The threshold between seen and unseen species that serves the two best (CLIBD, section B.2).

A query whose confidence in the seen species is above the threshold, strictly, is answered from these, any other query
from the unseen species. The best threshold has the highest harmonic mean of both kinds' accuracies after that choice
(micro, top-1), not of the choice's own accuracy: calling a query seen is worth nothing where the answer is wrong.

All that changes with the threshold is how many of the least confident queries are answered from the unseen species, so
one pass over the sorted scores meets every outcome there is. Among equally good thresholds the smallest is taken, as
the authors do on their grid.
"""

import math
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Doubles, Indices, Mask
from workloads.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choices:
    """What a threshold decides over: the queries of one partition, all arrays (queries,)."""

    scores: Doubles
    """Confidence that the species is a seen one; any finite numbers, cosines may be negative."""
    right_if_seen: Mask
    """Whether the answer from the seen species is right."""
    right_if_unseen: Mask
    """Whether the answer from the unseen species is."""
    is_seen: Mask
    """Whether the query's species is seen."""


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


def best_threshold(choices: Choices, grid: Doubles | None = None) -> Threshold:
    """The threshold with the highest harmonic mean of seen and unseen accuracy, the smallest of several.

    With n queries this takes O(n log n), whatever the grid.

    Without a grid the result is exact: no threshold whatever does better. Tried are -inf, which calls every query seen,
    and every distinct score, of which the highest calls every query unseen; in between nothing changes. When no
    threshold helps both kinds all harmonic means are 0, and the smallest threshold calls every query seen.

    Args:
        choices: over which queries.
        grid: ascending thresholds to try instead, (points,); None for all that differ.

    Raises:
        UsageError: there are no queries of one kind, so that no mean can be made; or a score is not finite.
    """
    _check(choices)
    order = np.argsort(choices.scores, kind="stable")
    ranked = choices.scores[order]
    values, cuts = _all_cuts(ranked) if grid is None else (grid, np.searchsorted(ranked, grid, side="right"))
    seen, unseen = (_hits(choices, order, kind)[cuts] for kind in (choices.is_seen, ~choices.is_seen))
    num_seen = int(choices.is_seen.sum())
    num_unseen = len(ranked) - num_seen
    means = _harmonic_means(seen, unseen, num_seen, num_unseen)
    best = int(means.argmax())  # the first of several
    return Threshold(
        value=float(values[best]),
        seen=float(seen[best] / num_seen),
        unseen=float(unseen[best] / num_unseen),
        harmonic_mean=float(means[best]),
        num_tried=len(values),
    )


def even_grid(num_points: int) -> Doubles:
    """Thresholds from 0 to 1 at equal distances, both ends among them: 1,000 in the paper (section B.2)."""
    return np.linspace(0, 1, num_points)


def _check(choices: Choices) -> None:
    for kind, missing in (("seen", not choices.is_seen.any()), ("unseen", bool(choices.is_seen.all()))):
        if missing:
            raise UsageError(f"there are no queries of {kind} species on validation to choose a threshold with")
    if bad := np.count_nonzero(~np.isfinite(choices.scores)):
        raise UsageError(f"{bad:,} of the scores to choose a threshold by are not finite")


def _all_cuts(ranked: Doubles) -> tuple[Doubles, Indices]:
    """Every threshold that makes a difference, and how many scores are not above it."""
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(ranked))
    return np.append(-math.inf, ranked[ends - 1]), np.append(0, ends)


def _hits(choices: Choices, order: Indices, kind: Mask) -> Indices:
    """Right answers to queries of a kind, by how many of the lowest scores are not called seen, (queries + 1,)."""
    gain = choices.right_if_unseen.astype(np.int64) - choices.right_if_seen
    at_first = np.count_nonzero(choices.right_if_seen & kind)
    return at_first + np.append(0, np.cumsum((gain * kind)[order]))


def _harmonic_means(seen: Indices, unseen: Indices, num_seen: int, num_unseen: int) -> Doubles:
    """2 / (1/a + 1/b) of a = seen / num_seen and b = unseen / num_unseen; 0 where one of them is.

    One division of whole numbers, so that means that are equal as fractions are equal as floats, and ties are ties.
    """
    below = seen * num_unseen + unseen * num_seen
    return np.asarray(2 * seen * unseen / np.maximum(below, 1), dtype=np.float64)
