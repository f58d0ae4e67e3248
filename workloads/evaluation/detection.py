"""Telling seen species from unseen ones: the threshold that serves both best, and how well the decision does.

A query whose confidence in the seen species is above the threshold, strictly, is answered from these, any other query
from the unseen species (CLIBD, section B.2). The best threshold has the highest harmonic mean of both kinds' accuracies
after that choice (micro, top-1), not of the choice's own accuracy: calling a query seen is worth nothing where the
answer is wrong. All that changes with the threshold is how many of the least confident queries are answered from the
unseen species, so one pass over the sorted scores meets every outcome there is. Among equally good thresholds the
smallest is taken, as the authors do on their grid.

How well the decision does, whatever species is then named (Table 15), is its accuracy as it was taken; and AUROC and
the false positive rate, which look at the confidence behind it, with no threshold chosen. Queries of seen species are
the positive class, as in most work on open sets.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from workloads.arrays import Doubles, Mask
from workloads.averages import Averages, harmonic_mean
from workloads.errors import UsageError
from workloads.intervals import bootstrap_intervals, bootstrapped
from workloads.predictions import Place
from workloads.record import Measurement

ACCURACY, AUROC, FALSE_POSITIVES = "seen_unseen_accuracy", "auroc", "fpr_at_95_tpr"
_TRUE_POSITIVE_RATE = 0.95


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


def best_threshold(
    scores: Doubles, right_if_seen: Mask, right_if_unseen: Mask, is_seen: Mask, grid: Doubles | None = None
) -> Threshold:
    """The threshold with the highest harmonic mean of seen and unseen accuracy, the smallest of several.

    With n queries this takes O(n log n), whatever the grid.

    Without a grid the result is exact: no threshold whatever does better. Tried are -inf, which calls every query seen,
    and every distinct score, of which the highest calls every query unseen; in between nothing changes. When no
    threshold helps both kinds all harmonic means are 0, and the smallest threshold calls every query seen.

    Args:
        scores: confidence that the species is a seen one, (queries,); any finite numbers, cosines may be negative.
        right_if_seen: whether the answer from the seen species is right, (queries,).
        right_if_unseen: whether the answer from the unseen species is, (queries,).
        is_seen: whether the query's species is seen, (queries,).
        grid: ascending thresholds to try instead, (points,); None for all that differ.

    Raises:
        UsageError: there are no queries of one kind, so that no mean can be made; or a score is not finite.
    """
    num_seen, num_unseen = int(is_seen.sum()), int((~is_seen).sum())
    for kind, count in (("seen", num_seen), ("unseen", num_unseen)):
        if not count:
            raise UsageError(f"there are no queries of {kind} species on validation to choose a threshold with")
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise UsageError(f"{bad:,} of the scores to choose a threshold by are not finite")
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    values = np.append(-math.inf, np.unique(ranked)) if grid is None else grid
    cuts = np.searchsorted(ranked, values, side="right")  # how many scores are not above each
    gain = right_if_unseen.astype(np.int64) - right_if_seen
    seen, unseen = (  # right answers to queries of each kind, at each threshold
        np.count_nonzero(right_if_seen & kind) + np.append(0, np.cumsum((gain * kind)[order]))[cuts]
        for kind in (is_seen, ~is_seen)
    )
    # One division of whole numbers, so that means that are equal as fractions are equal as floats, and ties are ties.
    means = 2 * seen * unseen / np.maximum(seen * num_unseen + unseen * num_seen, 1)
    best = int(means.argmax())  # the first of several
    return Threshold(
        value=float(values[best]),
        seen=float(seen[best] / num_seen),
        unseen=float(unseen[best] / num_unseen),
        harmonic_mean=float(means[best]),
        num_tried=len(values),
    )


def detection_measurements(place: Place, called_seen: Mask, confidence: Doubles, is_seen: Mask) -> list[Measurement]:
    """Every number on the decision between seen and unseen.

    - `seen_unseen_accuracy`: the share of seen queries that were called seen, the share of unseen ones that were not,
      and the harmonic mean of the two.
    - `auroc`: the chance that a seen query has a higher confidence than an unseen one; ties count a half.
    - `fpr_at_95_tpr`: the share of unseen queries that pass the highest threshold which 95 % of the seen ones pass.

    All have 95 % intervals over queries, seen and unseen ones drawn apart; none where a kind has a single query.

    Args:
        place: of the measurements.
        called_seen: whether the answer is a seen species, (queries,).
        confidence: that the species is a seen one, (queries,).
        is_seen: whether it is, (queries,).

    Returns:
        What there are queries for: without those of one kind only the other's accuracy.
    """
    right, queries = called_seen == is_seen, np.arange(len(is_seen))
    subset, one_class = np.where(is_seen, "seen", "unseen").astype(object), np.zeros_like(queries)
    averages = Averages(subset, queries, [(one_class, right[:, None].astype(np.float64))])
    ends: dict[str, tuple[float, float]] = {
        part: (own.low[0], own.high[0]) for part, own in bootstrap_intervals(averages).items()
    }
    counts = {kind: int(of.sum()) for kind, of in (("seen", is_seen), ("unseen", ~is_seen)) if of.any()}
    numbers = [(ACCURACY, kind, right[subset == kind].mean(), count, ends.get(kind)) for kind, count in counts.items()]
    if len(counts) == 2:
        mean, fewer = harmonic_mean(*(share for _, _, share, _, _ in numbers)), min(counts.values())
        numbers.append((ACCURACY, "harmonic_mean", mean, fewer, ends.get("harmonic_mean")))
        sides = confidence[is_seen], confidence[~is_seen]
        of_curve = zip(*bootstrapped(sides, curve_numbers), strict=True) if fewer > 1 else (None, None)
        for metric, value, both in zip((AUROC, FALSE_POSITIVES), curve_numbers(*sides), of_curve, strict=True):
            numbers.append((metric, "all", value, len(is_seen), both))
    return [
        Measurement(
            **asdict(place),
            average="micro",
            level="species",
            species=kind,
            metric=metric,
            value=float(value),
            count=count,
            low=None if both is None else float(both[0]),
            high=None if both is None else float(both[1]),
        )
        for metric, kind, value, count, both in numbers
    ]


def curve_numbers(seen: Doubles, unseen: Doubles, axis: int = -1) -> Doubles:
    """AUROC and false positive rate, of many resamples at once; nothing is interpolated.

    AUROC from ranks (Mann-Whitney's U): with R the sum of the ranks of n seen among m unseen, (R - n(n+1)/2) / nm.

    Args:
        seen: confidences of seen queries, (..., seen).
        unseen: of unseen ones, (..., unseen).
        axis: the last one, as scipy asks for.

    Returns:
        (2, ...).
    """
    num_seen, num_unseen = seen.shape[axis], unseen.shape[axis]
    ranks = stats.rankdata(np.concatenate([seen, unseen], axis=axis), axis=axis)[..., :num_seen].sum(axis=axis)
    area = (ranks - num_seen * (num_seen + 1) / 2) / (num_seen * num_unseen)
    # The smallest number of seen queries that is a large enough share of them.
    enough = int(np.argmax(np.arange(1, num_seen + 1) / num_seen >= _TRUE_POSITIVE_RATE)) + 1
    threshold = np.sort(seen, axis=axis)[..., num_seen - enough]
    return np.stack([area, (unseen >= threshold[..., None]).mean(axis=axis)])
