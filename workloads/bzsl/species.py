"""The seen species in whitened coordinates: all that fitting leaves, and nothing in it depends on a hyperparameter.

With S0 the mean of the species' sample covariances and L its Cholesky factor, z = L^-1 (x - mu0) whitens, where mu0 is
the mean of the species' means. A prior scatter (m - d - 1)/s S0 is a multiple of the identity then, and every scale
matrix, up to a factor,

    a I + R' R + c w w',        a = (m - d - 1)/s,

where R has at most n - 1 rows for a species of n images: R'R is its scatter. The rows of R are orthogonal.

A species without a training image is not a seen one. A species with a single training image is seen, but says nothing
of how images of a species scatter: its scatter is zero, and it has no part in the mean of the species' covariances.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, eigh, eigvalsh, solve_triangular

from workloads.arrays import Doubles, Floats, Indices
from workloads.errors import ZeroShotError

_ROUNDING = 1e-12
"""Share of the largest variance that rounding to single precision alone gives an axis, and no published feature has."""


@dataclass(frozen=True, slots=True)
class SeenSpecies:
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
    directions: Doubles
    """Whitened mean of each species, and last the whitened vector of ones, along which the published form errs,
    (C + 1, d)."""
    raw_square: Doubles
    """Squared distance of each species' mean from the centre before whitening, (C,)."""
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
        return _solve(self.factor, (images.astype(np.float64) @ self.axes - self.centre).T)


def principal_axes(train: Floats, count: int) -> Doubles:
    """Axes of largest variance of the training features, in falling order, as the published model takes them.

    Features are projected on them without being centred, which only moves all of them alike. The sign of an axis is
    arbitrary; here its largest entry, the first of equals, is positive. The published form of the model depends on
    these signs, since it adds a number to every entry of a matrix; the corrected one does not.

    Args:
        train: (specimens, size).
        count: how many; all of them if the features have fewer. 0: the features as they are, whose axes are their own.

    Returns:
        (size, min(count, size)), or fewer: features that a narrow layer made wide do not vary along all of their axes.
    """
    size = train.shape[1]
    if not count:
        return np.eye(size)
    count = min(count, size)
    covariance = np.atleast_2d(np.cov(train.astype(np.float64), rowvar=False))
    values, vectors = eigh(covariance, subset_by_index=(size - count, size - 1), overwrite_a=True, check_finite=False)
    varies = values > _ROUNDING * values[-1]
    count = int(varies.sum()) or 1  # features that do not vary at all are told of as such later
    axes = vectors[:, : -count - 1 : -1]
    largest = np.abs(axes).argmax(axis=0)
    return np.ascontiguousarray(axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0))


def fit_species(images: Floats, labels: Indices, num_components: int) -> SeenSpecies:
    """Learn the seen species.

    Args:
        images: of training, (specimens, size).
        labels: number of each specimen's species, (specimens,).
        num_components: principal components to keep, at most the size of the features; 0: the features as they are.

    Raises:
        ZeroShotError: the mean covariance is singular.
    """
    numbers, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    freedom, num_asked = int((sizes - 1).sum()), min(num_components or images.shape[1], images.shape[1])
    if freedom < num_asked:
        reason = (
            f"the mean covariance of {(sizes > 1).sum():,} species with two training images or more is singular: "
            f"they give {freedom:,} directions for {num_asked:,} components"
        )
        raise ZeroShotError(reason, f"Ask for fewer components (--pca {max(freedom // 2, 1)}), or add images.")
    axes = principal_axes(images, num_components)
    projected = images.astype(np.float64) @ axes
    order = np.argsort(which, kind="stable")
    projected = projected[order]
    ends = np.cumsum(sizes)
    means = np.add.reduceat(projected, ends - sizes, axis=0) / sizes[:, None]
    centre = means.mean(axis=0)
    projected -= np.repeat(means, sizes, axis=0)
    factor = _factor(projected, sizes)
    deviations = _solve(factor, projected.T).T
    scatters = [_scatter_rows(deviations[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    rows = np.concatenate([rows for rows, _ in scatters])
    return SeenSpecies(
        axes=axes,
        factor=factor,
        centre=centre,
        numbers=numbers.astype(np.int64),
        counts=sizes.astype(np.float64),
        directions=np.ascontiguousarray(_solve(factor, np.vstack([means - centre, np.ones(len(centre))]).T).T),
        raw_square=np.square(means - centre).sum(axis=1),
        rows=rows,
        eigenvalues=np.concatenate([values for _, values in scatters]),
        starts=np.concatenate([[0], np.cumsum([len(rows) for rows, _ in scatters])]).astype(np.int64),
    )


def _solve(factor: Doubles, values: Doubles) -> Doubles:
    solved: Doubles = solve_triangular(factor, values, lower=True, check_finite=False)
    return solved


def _factor(deviations: Doubles, sizes: Indices) -> Doubles:
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
