"""Hyperparameters of the surrogate-species model, and where they are searched (Badirli et al. 2021; CLIBD, B.2)."""

from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Literal

from workloads.errors import ZeroShotError

Form = Literal["published", "corrected"]
"""How a seen species' distance from the prior mean enters its scale matrix.

By a number added to every entry, as in every published implementation, or by the outer product that the model has."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of the five hyperparameters."""

    kappa0: float
    """How firmly the means of groups of species are held to the mean of all: their covariance is Sigma / kappa0."""
    kappa1: float
    """How firmly the means of species are held to those of their groups: their covariance is Sigma / kappa1."""
    m: float
    """Degrees of freedom of the prior of covariances, in multiples of the number of components."""
    s: float
    """Prior covariances are that of an average species divided by s."""
    num_surrogates: int
    """Seen species that stand for an unseen one."""

    def __post_init__(self) -> None:
        if not (self.kappa0 > 0 and self.kappa1 > 0 and self.s > 0 and self.m > 0 and self.num_surrogates >= 1):
            raise ZeroShotError(f"{self} has a value that is not positive", "All five have to be.")


GRID = tuple(
    Setting(kappa0, kappa1, m, s, num_surrogates)
    for kappa0, kappa1, m, s, num_surrogates in product(
        (0.1, 1.0), (10.0, 25.0), (5.0, 25.0, 100.0, 500.0), (1.0, 5.0, 10.0), (1, 2, 3)
    )
)
"""The 144 published settings."""

PUBLISHED_DEFAULTS: dict[str, Setting] = {
    "insect": Setting(0.1, 10.0, 5.0, 10.0, 3),
    "insect_clibd": Setting(0.1, 10.0, 25.0, 10.0, 1),
    "bioscan_1m": Setting(1.0, 10.0, 100.0, 5.0, 2),
}
"""What is used untuned, at 500 components: by Badirli et al. for INSECT, by CLIBD for INSECT and for BIOSCAN-1M."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bounds of a continuous search; all but the number of surrogates on a logarithmic scale."""

    kappa0: tuple[float, float] = (1e-3, 1e2)
    kappa1: tuple[float, float] = (1e-2, 1e3)
    m: tuple[float, float] = (2.0, 1e4)
    s: tuple[float, float] = (0.1, 100.0)
    num_surrogates: tuple[int, int] = (1, 10)

    def fitted(self, size: int, num_seen: int) -> "Space":
        """The space as data allow: no more surrogates than seen species, and degrees of freedom for all components."""
        least, most = (min(bound, num_seen) for bound in self.num_surrogates)
        return replace(
            self, m=(max(self.m[0], 1 + 2 / size), max(self.m[1], 1 + 2 / size)), num_surrogates=(least, most)
        )

    def holds(self, setting: Setting) -> bool:
        """Whether a setting is within the bounds."""
        bounds = asdict(self)
        return all(bounds[name][0] <= value <= bounds[name][1] for name, value in asdict(setting).items())
