"""Telling seen from unseen species, against the definitions pair by pair and threshold by threshold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from workloads.evaluation.detection import curve_numbers, detection_measurements
from workloads.predictions import Place

PLACE = Place("test", "image", "image+dna", "nn_is_du")

queries_of_both_kinds = st.lists(
    st.tuples(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=2, max_size=60
).filter(lambda rows: len({is_seen for _, is_seen in rows}) == 2)


@given(queries_of_both_kinds)
def test_auroc_is_the_share_of_pairs_in_the_right_order(queries: list[tuple[float, bool]]) -> None:
    seen = [score for score, is_seen in queries if is_seen]
    unseen = [score for score, is_seen in queries if not is_seen]
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in seen for b in unseen)
    assert curve_numbers(np.array(seen), np.array(unseen))[0] == pytest.approx(
        wins / len(seen) / len(unseen), abs=1e-12
    )


@given(queries_of_both_kinds)
def test_false_positives_are_counted_at_the_highest_threshold_that_keeps_95_percent_of_the_seen(
    queries: list[tuple[float, bool]],
) -> None:
    seen = [score for score, is_seen in queries if is_seen]
    unseen = [score for score, is_seen in queries if not is_seen]
    for threshold in sorted({score for score, _ in queries}, reverse=True):
        if 100 * sum(score >= threshold for score in seen) >= 95 * len(seen):
            break
    expected = sum(score >= threshold for score in unseen) / len(unseen)
    assert curve_numbers(np.array(seen), np.array(unseen))[1] == pytest.approx(expected, abs=1e-12)


def test_a_worked_case() -> None:
    is_seen = np.array([True, True, True, True, False, False])
    called_seen = np.array([True, True, True, False, True, False])
    confidence = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.1])
    rows = detection_measurements(PLACE, called_seen, confidence, is_seen)
    assert {(row.metric, row.species): (row.value, row.count) for row in rows} == {
        ("seen_unseen_accuracy", "seen"): (0.75, 4),
        ("seen_unseen_accuracy", "unseen"): (0.5, 2),
        ("seen_unseen_accuracy", "harmonic_mean"): (pytest.approx(0.6), 2),
        ("auroc", "all"): (7 / 8, 6),
        ("fpr_at_95_tpr", "all"): (0.5, 6),
    }
    assert {(row.method, row.key, row.average, row.level) for row in rows} == {
        ("nn_is_du", "image+dna", "micro", "species")
    }


def test_one_kind_alone_has_an_accuracy_and_no_curve() -> None:
    rows = detection_measurements(PLACE, np.array([True, False]), np.array([0.9, 0.1]), np.array([False, False]))
    assert [(row.metric, row.species, row.value) for row in rows] == [("seen_unseen_accuracy", "unseen", 0.5)]


def test_accuracies_have_the_spread_of_a_share() -> None:
    random = np.random.default_rng(0)
    is_seen = np.arange(3000) < 1000
    called_seen = np.where(random.random(3000) < 0.8, is_seen, ~is_seen)
    rows = detection_measurements(PLACE, called_seen, random.random(3000), is_seen)
    for row in rows:
        if row.species in ("seen", "unseen"):
            assert row.low is not None
            assert row.high is not None
            error = math.sqrt(row.value * (1 - row.value) / row.count)
            # The normal interval of a share; 1,000 resamples place an end within a fifth of a standard error.
            assert row.low == pytest.approx(row.value - 1.96 * error, abs=0.2 * error)
            assert row.high == pytest.approx(row.value + 1.96 * error, abs=0.2 * error)


@settings(deadline=None)  # the first call of scikit-learn is slow
@given(queries_of_both_kinds)
def test_resamples_are_measured_as_the_queries_themselves(queries: list[tuple[float, bool]]) -> None:
    scores, is_seen = map(np.array, zip(*queries, strict=True))
    seen, unseen = scores[is_seen], scores[~is_seen]
    found = curve_numbers(np.stack([seen, seen[::-1]]), np.stack([unseen, unseen[::-1]]))
    false, true, _ = roc_curve(is_seen, scores, drop_intermediate=False)
    expected = [roc_auc_score(is_seen, scores), false[np.argmax(true >= 0.95)]]
    assert found.shape == (2, 2)
    for resample in found.T:
        assert resample == pytest.approx(expected, abs=1e-12)


def test_the_curve_s_intervals_shrink_as_queries_grow_and_single_queries_have_none() -> None:
    random = np.random.default_rng(1)
    widths = {}
    for count in (200, 3200):
        is_seen = np.arange(count) < count // 2
        confidence = random.standard_normal(count) + is_seen
        rows = detection_measurements(PLACE, is_seen, confidence, is_seen)
        for row in rows:
            if row.metric in ("auroc", "fpr_at_95_tpr"):
                assert row.low is not None
                assert row.high is not None
                assert row.low <= row.value <= row.high
                widths[row.metric, count] = row.high - row.low
    # Sixteen times the queries, a quarter of the width; drawing makes it vary.
    assert 0.15 < widths["auroc", 3200] / widths["auroc", 200] < 0.4
    assert widths["fpr_at_95_tpr", 3200] < widths["fpr_at_95_tpr", 200]
    alone = detection_measurements(
        PLACE, np.array([True, False, False]), np.array([0.9, 0.1, 0.2]), np.array([True, False, False])
    )
    assert {(row.low, row.high) for row in alone if row.metric == "auroc"} == {(None, None)}
