"""How well seen and unseen species are told apart, whatever species is then named (CLIBD, Table 15).

Accuracy is that of the decision as it was taken. AUROC and the false positive rate look at the confidence behind it,
with no threshold chosen; queries of seen species are the positive class, as in most work on open sets.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from workloads.averages import Averages
from workloads.evaluation.accuracy import harmonic_mean
from workloads.intervals import bootstrap_intervals
from workloads.predictions import Place
from workloads.record import Measurement

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ACCURACY, AUROC, FALSE_POSITIVES = "seen_unseen_accuracy", "auroc", "fpr_at_95_tpr"
TRUE_POSITIVE_RATE = 0.95


def detection_measurements(place: Place, called_seen: Mask, confidence: Values, is_seen: Mask) -> list[Measurement]:
    """Every number on the decision between seen and unseen.

    - `seen_unseen_accuracy`: the share of seen queries that were called seen, the share of unseen ones that were not,
      and the harmonic mean of the two; with 95 % intervals over queries.
    - `auroc`: the chance that a seen query has a higher confidence than an unseen one; ties count a half.
    - `fpr_at_95_tpr`: the share of unseen queries that pass the highest threshold which 95 % of the seen ones pass.

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
        rows.append(_measurement(place, AUROC, "all", auroc(confidence, is_seen), len(is_seen)))
        rows.append(_measurement(place, FALSE_POSITIVES, "all", false_positive_rate(confidence, is_seen), len(is_seen)))
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
