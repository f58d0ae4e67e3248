"""The best threshold against trying every score, one query at a time and in fractions."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import UsageError
from workloads.threshold import Choices, Threshold, best_threshold

Query = tuple[float, bool, bool, bool]
"""Score, right if called seen, right if called unseen, of a seen species."""


def best(queries: Sequence[Query], grid: npt.NDArray[np.float64] | None = None) -> Threshold:
    scores, *sides = zip(*queries, strict=True)
    if_seen, if_unseen, is_seen = map(np.array, sides)
    return best_threshold(Choices(np.array(scores, dtype=np.float64), if_seen, if_unseen, is_seen), grid)


def accuracies_at(queries: Sequence[Query], threshold: float) -> tuple[Fraction, Fraction]:
    """Of seen and of unseen queries, by the definition."""
    hits, sizes = {True: 0, False: 0}, {True: 0, False: 0}
    for score, if_seen, if_unseen, is_seen in queries:
        sizes[is_seen] += 1
        hits[is_seen] += if_seen if score > threshold else if_unseen
    return Fraction(hits[True], sizes[True]), Fraction(hits[False], sizes[False])


def mean_at(queries: Sequence[Query], threshold: float) -> Fraction:
    seen, unseen = accuracies_at(queries, threshold)
    return Fraction(0) if not seen or not unseen else 2 / (1 / seen + 1 / unseen)


def by_trying(queries: Sequence[Query], thresholds: Sequence[float]) -> tuple[float, Fraction]:
    """The first best of ascending thresholds, and its harmonic mean."""
    best, mean = thresholds[0], mean_at(queries, thresholds[0])
    for threshold in thresholds[1:]:
        if mean_at(queries, threshold) > mean:
            best, mean = threshold, mean_at(queries, threshold)
    return best, mean


def every_threshold(queries: Sequence[Query]) -> list[float]:
    return [-math.inf, *sorted({score for score, *_ in queries})]


# Few different scores, so that ties are the rule; some negative, some above 1.
scores = st.one_of(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0, 1.5]), st.floats(-1, 1, width=32))
query = st.tuples(scores, st.booleans(), st.booleans(), st.booleans())
queries_of_both_kinds = st.lists(query, min_size=2, max_size=25).filter(lambda rows: len({q[3] for q in rows}) == 2)


@given(queries_of_both_kinds)
def test_the_exact_threshold_is_the_smallest_best_of_every_distinct_score(queries: list[Query]) -> None:
    expected, mean = by_trying(queries, every_threshold(queries))
    found = best(queries)
    seen, unseen = accuracies_at(queries, expected)
    assert found == Threshold(
        value=expected,
        seen=float(seen),
        unseen=float(unseen),
        harmonic_mean=float(mean),
        num_tried=len(every_threshold(queries)),
    )


@given(queries_of_both_kinds, st.integers(2, 30))
def test_on_a_grid_the_smallest_best_point_is_found(queries: list[Query], num_points: int) -> None:
    grid = np.linspace(0, 1, num_points)
    expected, mean = by_trying(queries, grid.tolist())
    found = best(queries, grid)
    assert (found.value, found.harmonic_mean, found.num_tried) == (expected, float(mean), num_points)


@given(queries_of_both_kinds)
def test_no_grid_beats_the_exact_threshold(queries: list[Query]) -> None:
    found = best(queries)
    assert best(queries, np.linspace(0, 1, 1000)).harmonic_mean <= found.harmonic_mean
    assert best(queries, np.linspace(-2, 2, 77)).harmonic_mean <= found.harmonic_mean


def test_many_queries_agree_with_trying() -> None:
    random = np.random.default_rng(0)
    is_seen = random.random(600) < 0.4
    cosines = np.clip(random.normal(np.where(is_seen, 0.6, 0.3), 0.3), -1, 1).round(2)
    right = random.random((2, 600)) < 0.6
    queries = list(
        zip(
            cosines.tolist(),
            (right[0] & is_seen).tolist(),
            (right[1] & ~is_seen).tolist(),
            is_seen.tolist(),
            strict=True,
        )
    )
    expected, mean = by_trying(queries, every_threshold(queries))
    found = best(queries)
    assert (found.value, found.harmonic_mean) == (expected, float(mean))
    assert 0 < found.harmonic_mean < 1


def test_a_score_at_the_threshold_is_not_called_seen() -> None:
    queries = [(0.9, True, False, True), (0.5, False, True, False), (0.5, False, True, False)]
    found = best(queries)
    assert (found.value, found.seen, found.unseen) == (0.5, 1.0, 1.0)


def test_calling_every_query_seen_is_tried() -> None:
    # The unseen query is right by luck when called seen, as its genus-mate is there; nothing is right otherwise.
    queries = [(-0.9, True, False, True), (-0.8, True, False, False)]
    assert best(queries).value == -math.inf
    assert best(queries, np.linspace(0, 1, 5)).harmonic_mean == 0.0


def test_calling_every_query_unseen_is_tried() -> None:
    queries = [(0.2, False, True, True), (0.7, False, True, False)]
    found = best(queries)
    assert (found.value, found.harmonic_mean) == (0.7, 1.0)


def test_where_nothing_helps_both_kinds_every_query_is_called_seen() -> None:
    queries = [(0.2, True, False, True), (0.7, False, False, False)]
    found = best(queries)
    assert (found.value, found.seen, found.unseen, found.harmonic_mean) == (-math.inf, 1.0, 0.0, 0.0)


def test_means_that_are_equal_as_fractions_are_ties() -> None:
    # Threshold 0.1 gives 2/3 of seen and 1/3 of unseen queries, 0.3 gives 1/3 and 2/3: one mean, 4/9, in two ways.
    queries = [
        (0.1, True, False, True),
        (0.3, True, False, True),
        (0.5, True, False, True),
        (0.1, False, True, False),
        (0.3, False, True, False),
        (0.5, False, False, False),
    ]
    found = best(queries)
    assert (found.value, found.harmonic_mean) == (0.1, float(Fraction(4, 9)))


@pytest.mark.parametrize(("kind", "is_seen"), [("unseen", True), ("seen", False)])
def test_queries_of_one_kind_alone_are_refused(kind: str, is_seen: bool) -> None:
    with pytest.raises(UsageError, match=f"queries of {kind}"):
        best([(0.5, True, True, is_seen)])


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="1 of the scores"):
        best([(math.nan, True, True, True), (0.1, True, True, False)])
