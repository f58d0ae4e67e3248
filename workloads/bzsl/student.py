"""Student's t distribution in the form that all candidates share, and the queries that are asked about.

    log p(x) = level - half * log(1 + Q / spread),   half = (nu + d) / 2,   spread = nu * f

for a scale matrix f (a I + R'R + c w w') in whitened coordinates, where Q is the squared distance from the mean as the
matrix in parentheses measures it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from workloads.arrays import Doubles, Indices
from workloads.bzsl.settings import Setting
from workloads.bzsl.species import Species
from workloads.errors import ZeroShotError

Emit = Callable[[int, int, Doubles], None]
"""Takes the number of a setting, that of the first candidate, and log-likelihoods, (candidates, queries).

The array is overwritten by the next ones."""

_FORMS_AT_ONCE = 768
"""With 512 queries, 3 MB: what is added up for so many stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Some queries and what all candidates need of them; B queries."""

    square: Doubles
    """Squared length, (B,)."""
    ones: Doubles
    """Product with the whitened vector of ones, (B,)."""
    rows: Doubles
    """Products with the rows of all scatters, (R, B)."""
    means: Doubles
    """Products with the means of the seen species, (C, B)."""

    @classmethod
    def of(cls, species: Species, whitened: Doubles) -> "Queries":
        """From whitened features, (d, B)."""
        return cls(
            square=np.square(whitened).sum(axis=0),
            ones=species.ones @ whitened,
            rows=species.rows @ whitened,
            means=species.means @ whitened,
        )


@dataclass(frozen=True, slots=True)
class Density:
    """The density's constants for a setting, each (candidates, 1)."""

    level: Doubles
    half: Doubles
    spread: Doubles

    def of_distances(self, squares: Doubles, block: slice) -> Doubles:
        """Log-likelihoods of some candidates, in the array that holds their squared distances."""
        squares /= self.spread[block]
        squares += 1.0
        np.log(squares, out=squares)
        squares *= -self.half[block]
        squares += self.level[block]
        return squares


def density(species: Species, freedom: Doubles, scale: Doubles, log_det: Doubles) -> Density:
    """Constants of Student's t.

    Args:
        species: the seen ones, for the size and the whitening.
        freedom: nu of each candidate.
        scale: f of each.
        log_det: logarithm of the determinant of what f multiplies, of each.
    """
    size = species.size
    level = gammaln((freedom + size) / 2) - gammaln(freedom / 2) - size / 2 * np.log(np.pi * freedom)
    level -= (size * np.log(scale) + log_det + species.log_det) / 2
    return Density(level[:, None], ((freedom + size) / 2)[:, None], (freedom * scale)[:, None])


def blocks(num_candidates: int, num_forms: int) -> list[slice]:
    """Which candidates to look at in each step if each has so many forms to evaluate."""
    at_once = max(1, min(64, _FORMS_AT_ONCE // num_forms))
    return [slice(first, min(first + at_once, num_candidates)) for first in range(0, num_candidates, at_once)]


def diagonals(settings: Sequence[Setting], size: int) -> tuple[Doubles, Indices]:
    """The different multiples a of the identity among the settings, and which of them each one has.

    Raises:
        ZeroShotError: m is too small for a prior to have a mean.
    """
    for setting in settings:
        if setting.m * size <= size + 1:
            reason = f"m = {setting.m:g} x {size} degrees of freedom are too few for {size} components"
            raise ZeroShotError(reason, f"m has to be above {1 + 1 / size:.3g}.")
    values = np.array([(setting.m * size - size - 1) / setting.s for setting in settings])
    different, which = np.unique(values, return_inverse=True)
    return different, which.astype(np.int64)
