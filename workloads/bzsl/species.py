"""The seen species in whitened coordinates: all that fitting leaves, and nothing in it depends on a hyperparameter.

With S0 the mean of the species' sample covariances and L its Cholesky factor, z = L^-1 (x - mu0) whitens, where mu0 is
the mean of the species' means. A prior scatter (m - d - 1)/s S0 is a multiple of the identity then, and every scale
matrix, up to a factor,

    a I + R' R + c w w',        a = (m - d - 1)/s,

where R has at most n - 1 rows for a species of n images: R'R is its scatter. The rows of R are orthogonal.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, eigh, eigvalsh, solve_triangular

from workloads.arrays import Doubles, Floats, Indices
from workloads.bzsl.components import principal_axes
from workloads.errors import ZeroShotError


@dataclass(frozen=True, slots=True)
class Species:
    """What is known of the seen species; sizes are d components, C species and R rows of all species together."""

    axes: Doubles
    """Principal axes, (feature size, d)."""
    factor: Doubles
    """Lower Cholesky factor of the mean covariance, (d, d)."""
    centre: Doubles
    """Mean of the species' means, (d,)."""
    numbers: Indices
    """Number that each species has among all classes, rising, (C,)."""
    counts: Doubles
    """Training images of each species, (C,)."""
    means: Doubles
    """Whitened mean of each species, (C, d)."""
    raw_square: Doubles
    """Squared distance of each species' mean from the centre before whitening, (C,)."""
    ones: Doubles
    """The whitened vector of ones, along which the published form errs, (d,)."""
    rows: Doubles
    """Scatter of all species, one below the other, (R, d)."""
    eigenvalues: Doubles
    """Squared length of each row, (R,)."""
    starts: Indices
    """Where the rows of each species begin; the last entry is R, (C + 1,)."""

    @property
    def size(self) -> int:
        """Number of components."""
        return len(self.centre)

    @property
    def log_det(self) -> float:
        """Logarithm of the determinant of the mean covariance."""
        return 2.0 * float(np.log(np.diag(self.factor)).sum())

    def whitened(self, images: Floats) -> Doubles:
        """Image features in whitened coordinates, (d, images)."""
        projected = images.astype(np.float64) @ self.axes - self.centre
        return solve_triangular(self.factor, projected.T, lower=True, check_finite=False)  # type: ignore[no-any-return] # scipy has no types


def fit(images: Floats, labels: Indices, num_components: int) -> Species:
    """Learn the seen species.

    Args:
        images: of training, (specimens, size).
        labels: number of each specimen's species, (specimens,).
        num_components: principal components to keep, at most the size of the features.

    Raises:
        ZeroShotError: the mean covariance is singular.
    """
    numbers, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _check_freedom(sizes, min(num_components, images.shape[1]))
    axes = principal_axes(images, num_components)
    projected = images.astype(np.float64) @ axes
    order = np.argsort(which, kind="stable")
    projected = projected[order]
    ends = np.cumsum(sizes)
    means = np.add.reduceat(projected, ends - sizes, axis=0) / sizes[:, None]
    centre = means.mean(axis=0)
    projected -= np.repeat(means, sizes, axis=0)
    factor = _factor(projected, sizes)
    deviations = solve_triangular(factor, projected.T, lower=True, check_finite=False).T
    scatters = [_scatter_rows(deviations[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    rows = np.concatenate([rows for rows, _ in scatters])
    return Species(
        axes=axes,
        factor=factor,
        centre=centre,
        numbers=numbers.astype(np.int64),
        counts=sizes.astype(np.float64),
        means=np.ascontiguousarray(_solve(factor, (means - centre).T).T),
        raw_square=np.square(means - centre).sum(axis=1),
        ones=_solve(factor, np.ones(len(centre))),
        rows=rows,
        eigenvalues=np.concatenate([values for _, values in scatters]),
        starts=np.concatenate([[0], np.cumsum([len(rows) for rows, _ in scatters])]).astype(np.int64),
    )


def _solve(factor: Doubles, values: Doubles) -> Doubles:
    solved: Doubles = solve_triangular(factor, values, lower=True, check_finite=False)
    return solved


def _check_freedom(sizes: npt.NDArray[np.int64], num_components: int) -> None:
    if (freedom := int((sizes - 1).sum())) < num_components:
        reason = (
            f"the mean covariance of {(sizes > 1).sum():,} species with two training images or more is singular: "
            f"they give {freedom:,} directions for {num_components:,} components"
        )
        raise ZeroShotError(reason, f"Ask for fewer components (--pca {max(freedom // 2, 1)}), or add images.")


def _factor(deviations: Doubles, sizes: npt.NDArray[np.int64]) -> Doubles:
    """Cholesky factor of the mean of the sample covariances of the species with two images or more.

    Args:
        deviations: from the species' mean, sorted by species, (specimens, d).
        sizes: specimens of each species.
    """
    size = deviations.shape[1]
    # Each species' share of the mean, 1 / (n - 1), goes into its rows, so that one product adds all of them up. The row
    # of a single image is zero.
    weights = np.sqrt(1.0 / np.maximum(sizes - 1, 1) / (sizes > 1).sum())
    weighted = deviations * np.repeat(weights, sizes)[:, None]
    covariance = weighted.T @ weighted
    values = eigvalsh(covariance, check_finite=False)
    if values[0] <= values[-1] * size * np.finfo(np.float64).eps:
        num_flat = int((values <= values[-1] * size * np.finfo(np.float64).eps).sum())
        reason = f"the mean covariance is singular: {num_flat:,} of {size:,} components do not vary within species"
        raise ZeroShotError(reason, "Ask for fewer components (--pca).")
    factor: Doubles = cholesky(covariance, lower=True, check_finite=False)
    return factor


def _scatter_rows(deviations: Doubles) -> tuple[Doubles, Doubles]:
    """Orthogonal rows R with R'R the scatter, and their squared lengths; at most one row less than there are images."""
    count, size = deviations.shape
    keep = min(count - 1, size)
    if keep == 0:
        return np.empty((0, size)), np.empty(0)
    if count <= size:
        values, vectors = eigh(deviations @ deviations.T, check_finite=False)
        return vectors[:, -keep:].T @ deviations, np.maximum(values[-keep:], 0.0)
    values, vectors = eigh(deviations.T @ deviations, check_finite=False)
    values = np.maximum(values, 0.0)
    return np.sqrt(values)[:, None] * vectors.T, values
