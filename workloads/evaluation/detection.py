"""How well seen and unseen species are told apart, whatever species is then named (CLIBD, Table 15).

Accuracy is that of the decision as it was taken. AUROC and the false positive rate look at the confidence behind it,
with no threshold chosen; queries of seen species are the positive class, as in most work on open sets.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from workloads.averages import Averages
from workloads.evaluation.accuracy import harmonic_mean
from workloads.intervals import BATCH, CONFIDENCE, REPLICATES, SEED, bootstrap_intervals
from workloads.predictions import Place
from workloads.record import Measurement

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ACCURACY, AUROC, FALSE_POSITIVES = "seen_unseen_accuracy", "auroc", "fpr_at_95_tpr"
TRUE_POSITIVE_RATE = 0.95


def detection_measurements(place: Place, called_seen: Mask, confidence: Values, is_seen: Mask) -> list[Measurement]:
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
        replace(_measurement(place, ACCURACY, kind, value, counts[kind]), low=low, high=high)
        for kind, value in values.items()
        for low, high in [ends.get(kind, (None, None))]
    ]
    if len(values) > 1:
        curve = {AUROC: auroc(confidence, is_seen), FALSE_POSITIVES: false_positive_rate(confidence, is_seen)}
        of_curve = _curve_intervals(confidence, is_seen)
        for metric, value in curve.items():
            low, high = of_curve.get(metric, (None, None))
            rows.append(replace(_measurement(place, metric, "all", value, len(is_seen)), low=low, high=high))
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


def _curve_intervals(confidence: Values, is_seen: Mask) -> dict[str, tuple[float, float]]:
    """Both ends of AUROC and false positive rate, queries drawn anew within each kind; none for a single query."""
    seen, unseen = confidence[is_seen], confidence[~is_seen]
    if min(len(seen), len(unseen)) < 2:
        return {}
    ends = stats.bootstrap(
        (seen, unseen),
        curve_numbers,
        n_resamples=REPLICATES,
        batch=BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    pairs = zip(ends.low, ends.high, strict=True)
    return {name: (float(low), float(high)) for name, (low, high) in zip((AUROC, FALSE_POSITIVES), pairs, strict=True)}


def curve_numbers(seen: Values, unseen: Values, axis: int = -1) -> Values:
    """AUROC and false positive rate of many resamples at once, as `auroc` and `false_positive_rate` define them.

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


def auroc(confidence: Values, is_seen: Mask) -> float:
    """Area under the curve of true over false positives, in [0, 1]; there are queries of both kinds."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_seen, confidence))


def false_positive_rate(confidence: Values, is_seen: Mask, true_positive_rate: float = TRUE_POSITIVE_RATE) -> float:
    """Share of unseen queries at or above the highest threshold that a share of the seen ones reaches, in [0, 1].

    There are queries of both kinds. Nothing is interpolated: of several thresholds the highest that reaches the rate.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(is_seen, confidence, drop_intermediate=False)
    return float(false[np.argmax(true >= true_positive_rate)])


def _measurement(place: Place, metric: str, species: str, value: float, count: int) -> Measurement:
    return Measurement(
        method=place.method,
        partition=place.partition,
        average="micro",
        level="species",
        query=place.query,
        key=place.key,
        keys=place.keys,
        species=species,
        metric=metric,
        value=value,
        count=count,
    )
