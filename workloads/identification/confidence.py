"""How sure a name is: a promise for groups, by exact bounds that hold for all thresholds together.

What is promised for names that are given with a confidence of at least c, for each group of specimens on its own:

    names          of the names that the group gets, a share of at least c is right
    strangers      of the group, whose names are not in the database, at most a share of 1 - c gets a name at all

It holds in at least 1 - `LEVEL` of all calibrations. Thresholds of a score are tested one after the other, from the
strictest on, each by an exact binomial test (Clopper and Pearson 1934), until one fails; so errors are not summed over
thresholds (learn then test by fixed sequences, Angelopoulos et al. 2021, arXiv:2110.01052, section 3.3; one threshold
and one group is the guarantee of Geifman and El-Yaniv 2017).

Each c has one sequence. It begins where there are names enough for c: twice as many as prove it if all are right, or
prove 0.95 where c is lower (117), or half of all names, whichever comes first. A handful of names at the top, two of
them wrong for reasons of their own, would end a sequence that began with them. A threshold passes at c exactly where c
is at most the bounds of all thresholds from there to it. What fails at a lower c is not given at a higher one. So the
largest confidence of a threshold is a running minimum of the bounds, and no list of confidences has to be tried.

Specimens of one species are alike in what goes wrong. Bounds are therefore taken at the effective number of specimens,
their number divided by the design effect with species as clusters (Kish 1965; Korn and Graubard 1998).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betaincinv

from workloads.arrays import Doubles, Indices, Mask

LEVEL = 0.05
"""In what share of calibrations a promise may fail."""
FEWEST = 50
"""Specimens of a group of which a promise is made."""
USUAL = 0.95
"""What is asked for where nobody says another confidence. The tests of lower ones begin with those of this one, as so
many names prove them all the better."""
Promise = Literal["names", "strangers"]


@dataclass(frozen=True, slots=True)
class Group:
    """Calibrating specimens of one group."""

    promise: Promise
    scores: Doubles
    """Of the name of each, (specimens,); -inf where it has none."""
    right: Mask
    """Whether the name is right, (specimens,)."""
    species: Indices
    """Number of each one's species, (specimens,)."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a score is worth: the confidence of the highest threshold that it reaches, 0 below all of them."""

    thresholds: Doubles
    """Ascending, (steps,)."""
    confidences: Doubles
    """Ascending, (steps,)."""

    def __call__(self, scores: Doubles) -> Doubles:
        """The confidence of each score, in [0, 1); of NaN it is 0."""
        place = np.searchsorted(self.thresholds, np.nan_to_num(scores, nan=-np.inf), side="right")
        found: Doubles = np.append(0.0, self.confidences)[place]
        return found


def lowest_share(right: Doubles, number: Doubles, level: float = LEVEL) -> Doubles:
    """The lower bound of a share by Clopper and Pearson: it exceeds the true share in at most `level` of all draws.

    Args:
        right: how many of them are right, (...); with effective numbers, which are no whole ones.
        number: of how many, (...).
        level: of the bound, one-sided.
    """
    wrong = np.maximum(number - right, 0)
    bound = betaincinv(np.maximum(right, 1e-12), wrong + 1, level)
    return np.asarray(np.where(right > 0, bound, 0.0), dtype=np.float64)


def highest_share(found: Doubles, number: Doubles, level: float = LEVEL) -> Doubles:
    """The upper bound, likewise."""
    return 1 - lowest_share(number - found, number, level)


def design_effect(hits: Mask, counted: Mask, species: Indices) -> tuple[float, float]:
    """How much the variance of a share is increased because specimens of one species are alike.

    Args:
        hits: which specimens count as ones, (specimens,).
        counted: which are counted at all, (specimens,).
        species: number of each one's species, (specimens,).

    Returns:
        The variance of the share by species, linearised, and that of as many independent specimens, both times the
        square of their number: (G / (G - 1)) sum over species (hits - share x counted)^2, and n p (1 - p).
    """
    number = int(counted.sum())
    if not number:
        return 0.0, 0.0
    share = hits[counted].mean()
    own = np.bincount(species[counted])
    excess = np.bincount(species[counted], hits[counted]) - share * own
    clusters = int(np.count_nonzero(own))
    factor = clusters / (clusters - 1) if clusters > 1 else 1.0
    return factor * float((excess**2).sum()), float(number * share * (1 - share))


def confidence_steps(groups: Sequence[Group], estimate: Doubles, thresholds: Doubles, level: float = LEVEL) -> Steps:
    """The largest confidence at which every group's promise holds, by threshold.

    Args:
        groups: of which each is promised on its own.
        estimate: of each threshold what the score itself says of a name that just reaches it; confidence does not
            exceed it, (thresholds,).
        thresholds: from the strictest on, chosen without a look at what is right, (thresholds,).
        level: at which each promise holds.
    """
    if not len(thresholds):
        return Steps(thresholds, thresholds)
    held = np.minimum.reduce([estimate, *(_held(group, thresholds, level) for group in groups)])
    # A score is worth the best of all thresholds that it reaches.
    return Steps(thresholds[::-1], np.maximum.accumulate(held[::-1]))


def _held(group: Group, thresholds: Doubles, level: float) -> Doubles:
    """The largest confidence at which a group's promise holds at each threshold, (thresholds,)."""
    named = group.scores >= thresholds[:, None]  # (thresholds, specimens)
    hits = named if group.promise == "strangers" else named & ~group.right
    counted = np.ones_like(named) if group.promise == "strangers" else named
    number, found = (np.count_nonzero(rows, axis=1).astype(np.float64) for rows in (counted, hits))
    effect = _pooled_effect(hits, counted, group.species)
    if group.promise == "strangers":
        return 1 - highest_share(found / effect, number / effect, level)
    bounds, most = lowest_share((number - found) / effect, number / effect, level), _provable(number, effect, level)
    return np.minimum(most, np.minimum.accumulate(np.where(bounds < most, bounds, 1.0)))


def _provable(number: Doubles, effect: float, level: float) -> Doubles:
    """The largest confidence whose tests have begun at each threshold, 0 where none has, (thresholds,); ascending.

    Args:
        number: of names at each threshold, ascending, whatever of them is right, (thresholds,).
        effect: the design effect.
        level: of the tests.
    """
    all_right = level ** (effect / np.maximum(number, 1))  # the bound where every name is right
    twice = all_right**2  # that of half as many, all of them right
    begun = np.where(number >= number[-1] / 2, all_right, np.where(twice >= USUAL, twice, 0.0))
    return np.where(number >= FEWEST, begun, 0.0)


def _pooled_effect(hits: Mask, counted: Mask, species: Indices) -> float:
    """The design effect over all thresholds together, as those with a handful of hits say nothing; 1 at least."""
    sums = np.sum([design_effect(*both, species) for both in zip(hits, counted, strict=True)], axis=0)
    return max(1.0, float(sums[0] / sums[1])) if sums[1] else 1.0
