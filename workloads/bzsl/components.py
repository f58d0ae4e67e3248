"""Principal components as the published model takes them: eigenvectors of the training covariance, without centring."""

import numpy as np
from scipy.linalg import eigh

from workloads.arrays import Doubles, Floats

_ROUNDING = 1e-12
"""Share of the largest variance that rounding to single precision alone gives an axis, and no published feature has."""


def principal_axes(train: Floats, count: int) -> Doubles:
    """Axes of largest variance, in falling order.

    Features are projected on them without being centred, which only moves all of them alike. The sign of an axis is
    arbitrary; here its largest entry, the first of equals, is positive. The published form of the model depends on
    these signs, since it adds a number to every entry of a matrix; the corrected one does not.

    Args:
        train: (specimens, size).
        count: how many; all of them if the features have fewer.

    Returns:
        (size, min(count, size)), or fewer: features that a narrow layer made wide do not vary along all of their axes.
    """
    size = train.shape[1]
    count = min(count, size)
    covariance = np.atleast_2d(np.cov(train.astype(np.float64), rowvar=False))
    values, vectors = eigh(covariance, subset_by_index=(size - count, size - 1), overwrite_a=True, check_finite=False)
    varies = values > _ROUNDING * values[-1]
    count = int(varies.sum()) or 1  # features that do not vary at all are told of as such later
    axes = vectors[:, : -count - 1 : -1]
    largest = np.abs(axes).argmax(axis=0)
    return np.ascontiguousarray(axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0))
