"""Bounds of shares, and confidences of thresholds, against plain definitions and by simulation."""

import numpy as np
import pytest
from scipy import stats

from workloads.arrays import Doubles
from workloads.identification.confidence import (
    FEWEST,
    Group,
    Promise,
    confidence_steps,
    design_effect,
    highest_share,
    lowest_share,
)


@pytest.mark.parametrize(("right", "number"), [(0, 7), (1, 1), (50, 50), (47, 50), (499, 500)])
def test_bounds_are_those_of_the_exact_binomial_test(right: int, number: int) -> None:
    lower = float(lowest_share(np.array(right * 1.0), np.array(number * 1.0), 0.05))
    upper = float(highest_share(np.array(right * 1.0), np.array(number * 1.0), 0.05))

    exact = stats.binomtest(right, number, alternative="greater").proportion_ci(0.95, "exact")
    assert lower == pytest.approx(exact.low, abs=1e-9)
    exact = stats.binomtest(right, number, alternative="less").proportion_ci(0.95, "exact")
    assert upper == pytest.approx(exact.high, abs=1e-9)


def test_the_design_effect_is_the_number_of_a_species_where_all_of_it_do_the_same() -> None:
    species = np.repeat(np.arange(40), 5)
    hits = np.isin(species, np.arange(8))

    by_species, independent = design_effect(hits, np.ones(200, dtype=bool), species)

    assert by_species / independent == pytest.approx(5 * 40 / 39)


def by_loops(scores: Doubles, right: list[bool], thresholds: Doubles, asked: float, level: float) -> float:
    """The loosest threshold at which names can be given when a confidence is asked for: tests one after the other."""

    def given_at(threshold: float) -> list[bool]:
        return [ok for score, ok in zip(scores, right, strict=True) if score >= threshold]

    def begun(number: int, confidence: float) -> bool:
        if number >= len(given_at(thresholds[-1])) / 2:
            return bool(number >= FEWEST and confidence**number <= level)
        return bool(max(confidence, 0.95) ** (number / 2) <= level)

    best = np.inf
    for threshold in thresholds:
        given = given_at(threshold)
        for confidence in np.arange(0.01, asked + 1e-9, 0.01).tolist():
            if begun(len(given), confidence):
                test = stats.binomtest(sum(given), len(given), confidence, alternative="greater")
                if test.pvalue > level:
                    return best
        if begun(len(given), asked):
            best = threshold
    return best


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_tests_of_thresholds_one_after_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.random(300))
    right = rng.random(300) < 0.6 + 0.4 * scores**0.5
    thresholds = scores[::-13]
    group = Group("names", scores, right, np.arange(300))

    steps = confidence_steps([group], np.ones(len(thresholds)), thresholds)

    for asked in (0.5, 0.7, 0.8, 0.9):
        given = scores[steps(scores) >= asked]
        assert (given.min() if len(given) else np.inf) == by_loops(scores, right.tolist(), thresholds, asked, 0.05)


def test_two_wrong_names_at_the_top_do_not_end_what_hundreds_of_others_prove() -> None:
    scores = np.arange(400.0)
    right = scores < 398  # 2 of 50 would prove 0.88, and 2 of 117 prove 0.94
    group = Group("names", scores, right, np.arange(400))

    steps = confidence_steps([group], np.ones(400), scores[::-1])

    assert (steps(scores) >= 0.94).all()


def test_strangers_get_names_in_no_larger_share_than_is_left_of_the_confidence() -> None:
    scores = np.arange(400.0)
    group = Group("strangers", scores, np.zeros(400, dtype=bool), np.arange(400))

    steps = confidence_steps([group], np.ones(400), scores[::-1])

    given = int((steps(scores) >= 0.95).sum())
    assert stats.binomtest(given, 400, 0.05, alternative="less").pvalue <= 0.05
    assert stats.binomtest(given + 1, 400, 0.05, alternative="less").pvalue > 0.05


def test_a_confidence_is_no_larger_than_the_score_itself_says() -> None:
    scores = np.linspace(0, 1, 500)
    group = Group("names", scores, np.ones(500, dtype=bool), np.arange(500))

    steps = confidence_steps([group], scores[::-1], scores[::-1])

    assert (steps(scores) <= scores).all()


def test_of_fewer_than_fifty_names_nothing_is_promised() -> None:
    scores = np.arange(49.0)
    group = Group("names", scores, np.ones(49, dtype=bool), np.arange(49))

    assert not confidence_steps([group], np.ones(49), scores[::-1])(scores).any()


def test_no_name_has_no_confidence() -> None:
    scores = np.arange(100.0)
    group = Group("names", scores, np.ones(100, dtype=bool), np.arange(100))

    steps = confidence_steps([group], np.ones(100), scores[::-1])

    assert steps(np.array([-np.inf, np.nan])).tolist() == [0.0, 0.0]


def drawn(rng: np.random.Generator, promise: Promise, of_a_species: int) -> Group:
    """Specimens of some species: names with higher scores are right more often, and those of a species alike."""
    species = np.repeat(np.arange(600 // of_a_species), of_a_species)
    hard = rng.random(species[-1] + 1)[species] < 0.15
    scores = rng.normal(np.where(hard, -1.0, 1.0), 1.0)
    wrong = rng.random(len(scores)) < np.where(hard, 0.5, 0.02)
    return Group(promise, scores, ~wrong, species)


@pytest.mark.parametrize("of_a_species", [1, 5])
def test_the_promise_holds_in_at_least_nineteen_of_twenty_draws(of_a_species: int) -> None:
    rng = np.random.default_rng(0)
    many = [drawn(rng, "names", of_a_species) for _ in range(100)]
    scores = np.concatenate([group.scores for group in many])
    right = np.concatenate([group.right for group in many])
    broken, answered = 0, 0
    for _ in range(100):
        group = drawn(rng, "names", of_a_species)
        thresholds = np.sort(group.scores)[::-10]
        steps = confidence_steps([group], np.ones(len(thresholds)), thresholds)
        given = steps(scores) >= 0.9
        broken += bool(given.any() and right[given].mean() < 0.9)
        answered += bool(given.any())

    assert answered > 75
    assert stats.binomtest(broken, 100, 0.05, alternative="greater").pvalue > 0.05
