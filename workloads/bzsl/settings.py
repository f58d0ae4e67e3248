"""Hyperparameters of the surrogate-species model, and those that were published (Badirli et al. 2021; CLIBD, B.2)."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

from workloads.errors import ZeroShotError

ScaleForm = Literal["published", "corrected"]
"""How a seen species' distance from the prior mean enters its scale matrix.

By a number added to every entry, as in every published implementation, or by the outer product that the model has."""
SettingSearch = Literal["grid", "optuna", "published-defaults"]
"""Where settings are tried: on the published grid, in a far larger space, or nowhere."""

PUBLISHED_COMPONENTS = 500


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
