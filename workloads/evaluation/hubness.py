"""Similarities without what a key has in common with all queries, against keys that answer everybody (hubs).

    CSLS               2 q·k - r(k),  r(k) the mean of k's cosines to its 10 nearest queries (Conneau et al. 2018,
                       arXiv:1710.04087, eq. 3; r(q), the same of the query, moves all of its keys alike)
    inverted softmax   q·k - 1/30 log sum over queries q' of exp(30 q'·k), the logarithm of k's softmax over the queries
                       by 30 (Smith et al. 2017, arXiv:1702.03859, eq. 9; 10 and 30 as in the code of Conneau et al.)

Both look at all queries of a partition, which therefore have to be there together: an answer depends on who else asks.
As rows with one number more they are inner products, whose nearest keys are found exactly, ties to the lowest index.
"""

from typing import Literal

import numpy as np
from scipy.special import logsumexp

from workloads.arrays import Doubles, Floats
from workloads.evaluation.retrieval import nearest_keys

Correction = Literal["csls", "inverted_softmax"]

NUM_NEAREST = 10
"""Queries that CSLS takes the mean over; all of them where there are fewer."""
SHARPNESS = 30.0
"""Inverse temperature of the inverted softmax."""
_MOST_PAIRS = 2**24
"""Pairs at a time: their products take 128 MB, however many keys there are."""


def corrected_rows(correction: Correction, queries: Floats, keys: Floats) -> tuple[Floats, Floats]:
    """Rows whose inner product is the corrected similarity.

    Args:
        correction: which.
        queries: unit rows of everybody who asks, (queries, size).
        keys: unit rows, (keys, size).

    Returns:
        Queries and keys, (queries, size + 1) and (keys, size + 1).
    """
    factor, less = (2.0, _nearness(queries, keys)) if correction == "csls" else (1.0, _popularity(queries, keys))
    asked = np.concatenate([np.float32(factor) * queries, np.full((len(queries), 1), -1, np.float32)], axis=1)
    return asked, np.concatenate([keys, less[:, None].astype(np.float32)], axis=1)


def _nearness(queries: Floats, keys: Floats) -> Doubles:
    """Mean cosine of each key to its nearest queries, (keys,)."""
    return np.asarray(nearest_keys(keys, queries, NUM_NEAREST)[1].mean(axis=1, dtype=np.float64))


def _popularity(queries: Floats, keys: Floats) -> Doubles:
    """1/30 log sum over queries of exp(30 q·k), (keys,)."""
    less, step, columns = np.empty(len(keys)), max(1, _MOST_PAIRS // len(queries)), queries.T.astype(np.float64)
    for start in range(0, len(keys), step):
        part = slice(start, start + step)
        less[part] = logsumexp(SHARPNESS * (keys[part].astype(np.float64) @ columns), axis=1)
    return less / SHARPNESS
