"""What is learned of the seen species, and which of them stand for the unseen ones."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from workloads.bzsl.model import nearest_surrogates
from workloads.bzsl.species import SeenSpecies, fit_species, principal_axes
from workloads.bzsl.task import ZeroShotTask
from workloads.errors import ZeroShotError

Problem = Callable[..., ZeroShotTask]


def fit_test(features: ZeroShotTask, num_components: int) -> SeenSpecies:
    return fit_species(features.images[features.test.train], features.labels[features.test.train], num_components)


def test_whitening_makes_the_mean_covariance_of_species_with_two_images_or_more_the_identity(problem: Problem) -> None:
    features = problem(0)  # the fourth species has a single image
    species = fit_test(features, 7)
    assert species.counts.tolist() == [7, 2, 4, 1, 30, 3, 6, 2, 5]
    train, labels = features.images[features.test.train], features.labels[features.test.train]
    white = species.whitened(train).T
    covariances = [np.cov(white[labels == c], rowvar=False) for c in range(9) if c != 3]
    np.testing.assert_allclose(np.mean(covariances, axis=0), np.eye(7), atol=1e-10)
    means = np.array([white[labels == c].mean(axis=0) for c in range(9)])
    np.testing.assert_allclose(species.directions[:-1], means, atol=1e-10)
    np.testing.assert_allclose(means.mean(axis=0), 0, atol=1e-10)


def test_the_rows_of_a_species_are_orthogonal_and_make_up_its_scatter(problem: Problem) -> None:
    features = problem(1)
    species = fit_test(features, 7)
    white, labels = species.whitened(features.images[features.test.train]).T, features.labels[features.test.train]
    assert np.diff(species.starts).tolist() == [6, 1, 3, 0, 7, 2, 5, 1, 4]
    for c in range(9):
        rows = species.rows[species.starts[c] : species.starts[c + 1]]
        off = white[labels == c] - white[labels == c].mean(axis=0)
        np.testing.assert_allclose(rows.T @ rows, off.T @ off, atol=1e-9)
        own = species.eigenvalues[species.starts[c] : species.starts[c + 1]]
        np.testing.assert_allclose(rows @ rows.T, np.diag(own), atol=1e-9)


def test_components_are_eigenvectors_in_falling_order_whose_largest_entry_is_positive() -> None:
    random = np.random.default_rng(2)
    train = (random.normal(size=(50, 6)) * [1, 5, 2, 4, 3, 0.5] + 100).astype(np.float32)
    axes = principal_axes(train, 4)
    assert axes.shape == (6, 4)
    covariance = np.cov(train.astype(float), rowvar=False)
    variances = np.diag(axes.T @ covariance @ axes)
    np.testing.assert_allclose(covariance @ axes, axes * variances, atol=1e-9)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(variances, np.sort(np.linalg.eigvalsh(covariance))[::-1][:4])
    assert (axes[np.abs(axes).argmax(axis=0), range(4)] > 0).all()
    assert principal_axes(train, 500).shape == (6, 6)


def test_axes_along_which_only_rounding_varies_are_no_components() -> None:
    random = np.random.default_rng(3)
    narrow = random.normal(size=(200, 5)) * [1, 3, 0.2, 1, 0.01]
    wide = (narrow @ random.normal(size=(5, 12)) + 0.3).astype(np.float32)  # what a layer makes of a narrow state
    assert principal_axes(wide, 500).shape == (12, 5)
    np.testing.assert_allclose(principal_axes(wide, 500), principal_axes(wide, 5))
    assert principal_axes(np.ones((4, 3), dtype=np.float32), 500).shape == (3, 1)


def test_too_few_images_for_the_components_are_refused_with_the_remedy(problem: Problem) -> None:
    features = problem(3, sizes=(1, 2, 3, 1), num_unseen=1)  # with two more of the first: 1 + 2 + 2 directions
    assert fit_test(features, 5).size == 5
    with pytest.raises(ZeroShotError, match=r"3 species .* 5 directions for 6 .*--pca 2"):
        fit_test(features, 6)
    alone = replace(features.test, train=np.array([1]))
    with pytest.raises(ZeroShotError, match="0 directions for 6 "):
        fit_test(replace(features, test=alone), 6)


def test_components_that_do_not_vary_within_species_are_refused_and_nothing_is_added(problem: Problem) -> None:
    features = problem(4)
    images = features.images.copy()
    images[:, 0] = features.labels  # tells species apart, and is constant within each
    with pytest.raises(ZeroShotError, match="1 of 11 components"):
        fit_test(replace(features, images=images), 11)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_surrogates_follow_the_published_rule(
    published_sets: Callable[[np.ndarray, np.ndarray, int], list[list[int]]], seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    unseen, seen = random.normal(size=(9, 2)).astype(np.float32), random.normal(size=(12, 2)).astype(np.float32)
    expected = published_sets(unseen, seen, count)
    assert nearest_surrogates(unseen, seen, count).tolist() == expected
    assert len({frozenset(members) for members in expected}) == 9


def test_the_later_of_two_alike_gives_its_farthest_surrogate_up_and_ties_go_to_the_first_species() -> None:
    seen = np.array([[0.0], [1.0], [-1.0], [5.0]], dtype=np.float32)
    unseen = np.zeros((3, 1), dtype=np.float32)
    assert nearest_surrogates(unseen, seen, 1).tolist() == [[0], [1], [2]]
    assert nearest_surrogates(unseen, seen, 2).tolist() == [[0, 1], [0, 2], [0, 3]]


def test_where_every_set_is_taken_a_species_keeps_its_nearest() -> None:
    seen, unseen = np.array([[0.0], [1.0]], dtype=np.float32), np.array([[0.1], [0.2], [0.9]], dtype=np.float32)
    assert nearest_surrogates(unseen, seen, 1).tolist() == [[0], [1], [1]]
    assert nearest_surrogates(unseen, seen, 2).tolist() == [[0, 1], [0, 1], [1, 0]]
    with pytest.raises(ZeroShotError, match=r"3 surrogates .* 2 "):
        nearest_surrogates(unseen, seen, 3)
