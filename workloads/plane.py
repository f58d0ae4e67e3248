"""Embeddings in a plane, for whoever looks at them: by UMAP, or by their two principal components.

UMAP shows neighbourhoods, and takes minutes for many points; principal components show the widest spread, in one pass
over any number of points. Neither moves a number of an evaluation.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from workloads.arrays import Doubles, Floats

_NUM_NEIGHBOURS = 15
_PIECE = 16_384
"""Rows that are in double precision at a time: 100 MB of 768 numbers."""


def by_umap(points: Floats, seed: int) -> Floats:
    """UMAP by cosine, (points, 2), the same for the same seed: one thread, and a random start as in the authors' code.

    Args:
        points: (points, size), five at least.
        seed: of the start and of the steps.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # about its parametric form, which needs TensorFlow
        from umap import UMAP
    mapping = UMAP(
        n_components=2,
        metric="cosine",
        min_dist=0.5,
        init="random",
        n_neighbors=min(_NUM_NEIGHBOURS, len(points) - 1),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(mapping.fit_transform(points), dtype=np.float32)


def by_pca(points: Floats) -> Floats:
    """The two principal components of each point, the wider one first, (points, 2).

        X - mean(X) = U S V',   places = (X - mean(X)) V[:, :2]

    V comes from the covariance, summed in double precision piece by piece: scikit-learn's exact solvers either copy all
    points or lose the small spread of points that lie close together. An axis points where its largest weight does.

    Args:
        points: (points, size); of size 1 the second component is 0.
    """
    mean = points.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((points.shape[1], points.shape[1]))
    for piece in _centred(points, mean):
        covariance += piece.T @ piece
    axes = np.linalg.eigh(covariance).eigenvectors[:, ::-1][:, :2]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0, keepdims=True), axis=0))
    places = np.zeros((len(points), 2), dtype=np.float32)
    places[:, : axes.shape[1]] = np.concatenate([piece @ axes for piece in _centred(points, mean)])
    return places


def _centred(points: Floats, mean: Doubles) -> Iterator[Doubles]:
    for start in range(0, len(points), _PIECE):
        yield points[start : start + _PIECE] - mean
