"""A score for a name: what stands for it and against it in one number, by a logistic regression.

    score = w0 + w1 x1 + w2 x2 + ...,      probability that the name is right = 1 / (1 + exp(-score))

The closer the name and the farther its rival, the higher the score, whatever the calibrating specimens were: all
features point towards the name, and no weight is below 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from workloads.arrays import Doubles, Mask
from workloads.identification.evidence import RankEvidence

KNOWN_SHARE = 0.9
"""The share of specimens whose species is in the database for which the probability is estimated."""
_NEAR = 0.002
"""Added to distances, as much as one of 500 bases, so that each has a logarithm."""
_RIDGE = 1e-5
"""On the mean loss, so that weights stay finite where all names are right."""
_MOST = 30.0
"""Largest size of a score."""


def features(found: RankEvidence, trained: Mask | None) -> Doubles:
    """What a score is made of, (queries, 4): that the name is near and its rival far, that the name is nearer, and
    that keys agree.

    -log distance, log distance of the rival, -distance / (distance + that of the rival), share of the nearest keys with
    the name. Distances are 1 - identity where barcodes were compared, else 1 - cosine.

    Args:
        found: at one rank.
        trained: whether the run learned from specimens of the name, (queries,); None without a run. One more feature.
    """
    laid_out = found.identity is not None and found.rival_identity is not None
    pair = (found.identity, found.rival_identity) if laid_out else (found.similarity, found.rival)
    near, far = (np.maximum(1 - np.asarray(each, dtype=np.float64), 0) + _NEAR for each in pair)
    columns = [-np.log(near), np.log(far), -near / (near + far), found.agreeing.astype(np.float64)]
    columns += [] if trained is None else [trained.astype(np.float64)]
    return np.stack(columns, axis=1)


def joint_features(image: Doubles, dna: Doubles, agree: Mask) -> Doubles:
    """What the score of a name by both is made of: the higher of the two scores, and what the other one says to it.

    Args:
        image: scores of the names by image, (queries,); -inf where there is none.
        dna: of those by barcode, (queries,).
        agree: whether the two names are the same, (queries,).

    Returns:
        (queries, 2); the second is the probability by the other, negative where it names something else.
    """
    best, other = np.maximum(image, dna), np.minimum(image, dna)
    return np.stack([np.clip(best, -_MOST, _MOST), expit(other) * np.where(agree, 1, -1)], axis=1)


def fit(rows: Doubles, right: Mask, known: Mask) -> list[float]:
    """The weights of a score, the constant first, by maximum likelihood with a small ridge.

    Args:
        rows: features, (specimens, features), all finite.
        right: whether the name is right, (specimens,).
        known: whether the species is in the database, (specimens,). Each kind counts as `KNOWN_SHARE` says, however
            many there are.
    """
    from scipy.optimize import minimize  # which nobody waits for who only asks

    shares = np.where(known, KNOWN_SHARE / max(known.sum(), 1), (1 - KNOWN_SHARE) / max((~known).sum(), 1))
    whole = np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        margins = signs * (whole @ weights)
        slopes = -shares * signs * expit(-margins)
        value = float(shares @ np.logaddexp(0, -margins)) + _RIDGE / 2 * float(weights @ weights)
        return value, whole.T @ slopes + _RIDGE * weights

    bounds = [(None, None), *[(0.0, None)] * rows.shape[1]]
    found = minimize(loss, np.zeros(whole.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return [float(weight) for weight in found.x]


def scores(weights: Sequence[float], rows: Doubles, named: Mask) -> Doubles:
    """The scores of names, -inf where there is none, (queries,).

    Args:
        weights: as `fit` gives them.
        rows: features, (queries, features).
        named: whether there is a name, (queries,).
    """
    plain = np.clip(weights[0] + rows @ np.asarray(weights[1:]), -_MOST, _MOST)
    return np.where(named & np.isfinite(plain), plain, -np.inf)
