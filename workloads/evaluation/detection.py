"""How well seen and unseen species are told apart, whatever species is then named (CLIBD, Table 15).

Accuracy is that of the decision as it was taken. AUROC and the false positive rate look at the confidence behind it,
with no threshold chosen; queries of seen species are the positive class, as in most work on open sets.
"""

import numpy as np
from scipy import stats

from workloads.arrays import Doubles, Mask
from workloads.averages import Averages, harmonic_mean
from workloads.evaluation.accuracy import measured
from workloads.intervals import bootstrap_intervals, bootstrapped
from workloads.predictions import Place
from workloads.record import Measurement

ACCURACY, AUROC, FALSE_POSITIVES = "seen_unseen_accuracy", "auroc", "fpr_at_95_tpr"
TRUE_POSITIVE_RATE = 0.95
_SAME = {"average": "micro", "level": "species"}


def detection_measurements(place: Place, called_seen: Mask, confidence: Doubles, is_seen: Mask) -> list[Measurement]:
    """Every number on the decision between seen and unseen.

    - `seen_unseen_accuracy`: the share of seen queries that were called seen, the share of unseen ones that were not,
      and the harmonic mean of the two.
    - `auroc`: the chance that a seen query has a higher confidence than an unseen one; ties count a half.
    - `fpr_at_95_tpr`: the share of unseen queries that pass the highest threshold which 95 % of the seen ones pass.

    All have 95 % intervals over queries, seen and unseen ones drawn apart.

    Args:
        place: of the measurements.
        called_seen: whether the answer is a seen species, (queries,).
        confidence: that the species is a seen one, (queries,).
        is_seen: whether it is, (queries,).

    Returns:
        What there are queries for: without those of one kind only the other's accuracy.
    """
    counts = {"seen": int(is_seen.sum()), "unseen": int((~is_seen).sum())}
    right = called_seen == is_seen
    values = {kind: float(right[of].mean()) for kind, of in (("seen", is_seen), ("unseen", ~is_seen)) if counts[kind]}
    if len(values) == 2:
        values["harmonic_mean"] = harmonic_mean(values["seen"], values["unseen"])
        counts["harmonic_mean"] = min(counts.values())
    ends = _intervals(right, is_seen)
    rows = [
        measured(place, **_SAME, species=kind, metric=ACCURACY, value=value, count=counts[kind], low=low, high=high)
        for kind, value in values.items()
        for low, high in [ends.get(kind, (None, None))]
    ]
    if len(values) > 1:
        curve = curve_numbers(confidence[is_seen], confidence[~is_seen]).tolist()
        of_curve = _curve_intervals(confidence, is_seen)
        for metric, value in zip((AUROC, FALSE_POSITIVES), curve, strict=True):
            low, high = of_curve.get(metric, (None, None))
            said = {**_SAME, "metric": metric, "value": value, "low": low, "high": high}
            rows.append(measured(place, **said, species="all", count=len(is_seen)))
    return rows


def _intervals(right: Mask, is_seen: Mask) -> dict[str, tuple[float, float]]:
    """Both ends of each accuracy, queries drawn anew within each kind; none where a kind has a single query."""
    queries = np.arange(len(right))
    one_class = (np.zeros_like(queries), right[:, None].astype(np.float64))
    averages = Averages(np.where(is_seen, "seen", "unseen").astype(object), queries, [one_class])
    return {
        kind: (float(interval.low[0]), float(interval.high[0]))
        for kind, interval in bootstrap_intervals(averages).items()
    }


def _curve_intervals(confidence: Doubles, is_seen: Mask) -> dict[str, tuple[float, float]]:
    """Both ends of AUROC and false positive rate, queries drawn anew within each kind; none for a single query."""
    seen, unseen = confidence[is_seen], confidence[~is_seen]
    if min(len(seen), len(unseen)) < 2:
        return {}
    pairs = zip(*bootstrapped((seen, unseen), curve_numbers), strict=True)
    return {name: (float(low), float(high)) for name, (low, high) in zip((AUROC, FALSE_POSITIVES), pairs, strict=True)}


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
    enough = int(np.argmax(np.arange(1, num_seen + 1) / num_seen >= TRUE_POSITIVE_RATE)) + 1
    threshold = np.sort(seen, axis=axis)[..., num_seen - enough]
    return np.stack([area, (unseen >= threshold[..., None]).mean(axis=axis)])
