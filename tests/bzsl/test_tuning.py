"""Tuning finds what looking at every setting finds, on validation alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.scoring import Score, macro_accuracy, nearest_mean, zero_shot_accuracies
from workloads.bzsl.settings import GRID, ScaleForm, Setting
from workloads.bzsl.task import ZeroShotTask
from workloads.bzsl.tuning import Tuned, tune_freely, tune_on_grid

Problem = Callable[..., ZeroShotTask]


def score_in_loops(features: ZeroShotTask, candidates: np.ndarray, likelihoods: np.ndarray) -> tuple[float, float]:
    """Mean over species of the share of its queries that are right, for seen and unseen ones."""
    predicted = [int(candidates[row.argmax()]) for row in likelihoods]
    found = []
    for queries, answers in (
        (features.tuning.seen, predicted[: len(features.tuning.seen)]),
        (features.tuning.unseen, predicted[len(features.tuning.seen) :]),
    ):
        truth = features.labels[queries].tolist()
        shares = [
            sum(t == c and a == c for t, a in zip(truth, answers, strict=True)) / truth.count(c) for c in set(truth)
        ]
        found.append(sum(shares) / len(shares))
    return found[0], found[1]


@pytest.mark.parametrize("form", ["published", "corrected"])
def test_the_grid_search_chooses_what_an_exhaustive_slow_search_chooses(
    problem: Problem, dense: Callable[..., tuple[np.ndarray, np.ndarray]], form: ScaleForm
) -> None:
    features = problem(11)
    tuned = tune_on_grid(features, GRID, 7, form)
    best, chosen = -1.0, None
    for setting, found in zip(GRID, tuned.scores, strict=True):
        seen, unseen = score_in_loops(features, *dense(features, features.tuning, setting, form, 7))
        assert (found.seen, found.unseen) == pytest.approx((seen, unseen), abs=1e-12)
        harmonic = 2 * seen * unseen / (seen + unseen) if seen and unseen else 0.0
        if harmonic > best + 1e-12:
            best, chosen = harmonic, setting
    assert tuned.settings[tuned.best] == chosen
    assert tuned.scores[tuned.best].harmonic_mean == pytest.approx(best, abs=1e-12)
    assert len({score.harmonic_mean for score in tuned.scores}) > 3


def test_the_published_grid_has_144_settings() -> None:
    assert len(set(GRID)) == 144
    assert GRID[0] == Setting(0.1, 10.0, 5.0, 1.0, 1)
    assert GRID[-1] == Setting(1.0, 25.0, 500.0, 10.0, 3)


def test_the_first_of_equally_good_settings_is_chosen() -> None:
    scores = Score(0.5, 0.1), Score(0.3, 0.6), Score(0.6, 0.3), Score(1.0, 0.0)
    assert Tuned(GRID[:4], scores, 0.0).best == 1
    assert Tuned(GRID[:2], (Score(1.0, 0.0), Score(0.0, 1.0)), 0.0).best == 0


def test_no_search_looks_at_the_test(problem: Problem) -> None:
    features = problem(12)
    images = features.images.copy()
    test_only = np.concatenate([features.test.seen, features.test.unseen, features.test.train[-2:]])
    images[test_only] = 7.5
    blind = replace(features, images=images)
    for one, other in (
        (tune_on_grid(features, GRID, 7, "corrected"), tune_on_grid(blind, GRID, 7, "corrected")),
        (
            tune_freely(features, 7, "corrected", 1, num_trials=6),
            tune_freely(blind, 7, "corrected", 1, num_trials=6),
        ),
    ):
        assert (one.settings, one.scores) == (other.settings, other.scores)


def test_the_free_search_repeats_itself_begins_where_it_is_told_and_stays_within_bounds(problem: Problem) -> None:
    features = problem(13, sizes=(4,) * 6)
    told: list[tuple[int, float]] = []
    first, again, other = (
        tune_freely(
            features,
            5,
            "published",
            seed,
            num_trials=14,
            start=[replace(GRID[70], kappa0=1e-4), GRID[100]],  # the first of them is out of bounds
            tell=lambda number, best: told.append((number, best.harmonic_mean)),
        )
        for seed in (4, 4, 5)
    )
    assert (first.settings, first.scores) == (again.settings, again.scores)
    assert first.settings[0] == other.settings[0] == GRID[100]
    assert first.settings[1:] != other.settings[1:]
    assert all(1e-3 <= s.kappa0 <= 100 and 1 <= s.num_surrogates <= 6 for s in first.settings)  # six seen species
    assert told[:14] == [(n + 1, max(s.harmonic_mean for s in first.scores[: n + 1])) for n in range(14)]
    alone = tune_on_grid(features, first.settings, 5, "published")
    assert alone.scores == first.scores


def test_time_ends_the_free_search(problem: Problem) -> None:
    features = problem(14)
    tuned = tune_freely(features, 5, "corrected", 0, num_trials=100_000, hours=0.2 / 3600)
    assert 1 <= len(tuned.settings) < 100_000


def test_macro_accuracy_is_the_mean_over_the_species_that_were_asked_for() -> None:
    truth, predicted = np.array([3, 3, 3, 3, 8]), np.array([3, 3, 3, 0, 9])
    assert macro_accuracy(truth, predicted) == pytest.approx((3 / 4 + 0) / 2)


def test_measurements_are_accuracies_at_every_known_rank_with_chance_beside(problem: Problem) -> None:
    features = problem(15)
    truth = features.labels[np.concatenate([features.test.seen, features.test.unseen])]
    candidates = np.arange(12)
    predicted = truth.copy()
    predicted[:3] = (truth[:3] + 4) % 12  # right genus, wrong species
    predicted[-1] = (truth[-1] + 1) % 12
    rows = zero_shot_accuracies(features, candidates, predicted, "a_class")
    value = {(m.method, m.level, m.average, m.species): m.value for m in rows}
    assert {m.level for m in rows} == {"genus", "species"}  # order and family are not known
    assert value["bzsl", "genus", "micro", "seen"] == 1
    assert value["bzsl", "species", "micro", "seen"] == pytest.approx(15 / 18)
    assert value["bzsl", "genus", "micro", "unseen"] == pytest.approx(8 / 9)
    assert value["bzsl", "species", "macro", "unseen"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert value["random_key", "species", "micro", "seen"] == pytest.approx(1 / 12)
    assert value["random_key", "genus", "macro", "unseen"] == pytest.approx(3 / 12)
    assert {(m.partition, m.query, m.key) for m in rows} == {("test", "image", "classes")}


def test_the_nearest_mean_is_found_as_in_loops(problem: Problem) -> None:
    features = problem(16)
    model = SurrogateModel(features, features.test, 7, "corrected")
    train, labels = features.images[features.test.train] @ model.species.axes, features.labels[features.test.train]
    means = {c: train[labels == c].mean(axis=0) for c in range(9)}
    means |= {9 + u: np.mean([means[k] for k in model.surrogates(2)[u]], axis=0) for u in range(3)}
    queries = features.images[np.concatenate([features.test.seen, features.test.unseen])] @ model.species.axes
    expected = [min(means, key=lambda c: float(np.linalg.norm(query - means[c]))) for query in queries]
    assert nearest_mean(model, 2).tolist() == expected
