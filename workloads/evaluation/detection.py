"""How well seen species are told from unseen ones, whatever species is then named (CLIBD, Table 15).

That is the accuracy of the decision as a threshold took it (`workloads.threshold`); and AUROC and the false positive
rate, which look at the confidence behind it, with no threshold chosen. Queries of seen species are the positive class,
as in most work on open sets.
"""

from dataclasses import asdict

import numpy as np
from scipy import stats

from workloads.arrays import Doubles, Mask
from workloads.averages import Averages, harmonic_mean
from workloads.intervals import bootstrap_intervals, bootstrapped
from workloads.predictions import Place
from workloads.record import Measurement

ACCURACY, AUROC, FALSE_POSITIVES = "seen_unseen_accuracy", "auroc", "fpr_at_95_tpr"
_TRUE_POSITIVE_RATE = 0.95


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
