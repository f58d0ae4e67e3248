"""The nearest keys of every query by cosine, exactly, ties to the lowest index."""

import faiss
import numpy as np
import numpy.typing as npt

from workloads.errors import UsageError

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

NUM_NEIGHBOURS = 5


def nearest_keys(queries: Floats, keys: Floats, num_neighbours: int = NUM_NEIGHBOURS) -> tuple[Indices, Floats]:
    """Exact search.

    Identical keys are searched once and then listed from the lowest index up, and so are different keys of equal
    similarity; faiss alone lists ties in no promised order.

    Args:
        queries: unit rows, (queries, size).
        keys: unit rows, (keys, size).
        num_neighbours: how many keys to find; all of them when there are fewer.

    Returns:
        Indices of the keys, nearest first, and their cosines, both (queries, neighbours).

    Raises:
        UsageError: there are no keys, or embeddings are not finite.
    """
    if not len(keys):
        raise UsageError("there are no keys to search among")
    if not (np.isfinite(queries).all() and np.isfinite(keys).all()):
        raise UsageError("an embedding is not finite, so nothing can be near it")
    wanted = min(num_neighbours, len(keys))
    distinct, members = _distinct_rows(keys)
    index = faiss.IndexFlatIP(distinct.shape[1])
    index.add(distinct)
    similarity, found = _search(index, np.ascontiguousarray(queries, dtype=np.float32), wanted)
    indices = np.empty((len(queries), wanted), dtype=np.int64)
    cosines = np.empty((len(queries), wanted), dtype=np.float32)
    for row in range(len(queries)):
        listed = [(-s, key) for s, group in zip(similarity[row], found[row], strict=True) for key in members[group]]
        listed.sort()
        indices[row] = [key for _, key in listed[:wanted]]
        cosines[row] = [-s for s, _ in listed[:wanted]]
    return indices, cosines


def _distinct_rows(keys: Floats) -> tuple[Floats, list[Indices]]:
    """The different rows, and the indices that each stands for."""
    contiguous = np.ascontiguousarray(keys, dtype=np.float32) + np.float32(0)  # -0 becomes 0, so bytes decide
    as_bytes = contiguous.view(np.dtype((np.void, contiguous.dtype.itemsize * contiguous.shape[1]))).ravel()
    _, first, inverse = np.unique(as_bytes, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return contiguous[first], members


def _search(index: faiss.IndexFlatIP, queries: Floats, wanted: int) -> tuple[Floats, Indices]:
    """faiss, asked again for more as long as the last one listed ties with one that may not be."""
    depth = min(wanted + 3, index.ntotal)
    while True:
        similarity, found = index.search(queries, depth)
        last = similarity[:, -1]
        if depth == index.ntotal or not (last == similarity[:, min(wanted, depth) - 1]).any():
            return similarity, found
        depth = min(2 * depth, index.ntotal)
