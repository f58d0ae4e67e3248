"""Which seen species stand for an unseen one: those whose DNA is nearest."""

import numpy as np
from scipy.spatial.distance import cdist

from workloads.arrays import Floats, Indices
from workloads.errors import ZeroShotError


def surrogates(unseen: Floats, seen: Floats, count: int) -> Indices:
    """The seen species nearest to each unseen one, no two unseen species having the same set of them.

    Two unseen species with the same surrogates could not be told apart. So the later of them, in the order of rows,
    gives its farthest surrogate up for the next nearest species that makes its set a new one (the published rule).
    Where none does, which needs more unseen species than sets, it keeps its nearest.

    Args:
        unseen: side information, (unseen classes, side size).
        seen: the same of the seen classes, (seen classes, side size).
        count: surrogates of each.

    Returns:
        Numbers of seen classes, nearest first and the lowest first among equals, (unseen classes, count).

    Raises:
        ZeroShotError: there are fewer seen species than surrogates are wanted.
    """
    if len(seen) < count:
        reason = f"{count} surrogates are wanted of {len(seen)} seen species"
        raise ZeroShotError(reason, "Ask for fewer, or train on more species.")
    nearest = np.argsort(cdist(unseen.astype(np.float64), seen.astype(np.float64)), axis=1, kind="stable")
    taken: set[frozenset[int]] = set()
    chosen = nearest[:, :count].copy()
    for row, order in enumerate(nearest):
        first = order[: count - 1].tolist()
        for last in order[count - 1 :].tolist():
            members = frozenset((*first, last))
            if members not in taken:
                taken.add(members)
                chosen[row, -1] = last
                break
    return chosen.astype(np.int64)
