"""The steps of the published surrogate-species model, one setting at a time, as a yardstick for ours.

For every species a dense scale matrix is laid down in an array of all of them, factored, and solved for all queries.
The number |x - mu0|^2 goes into every entry of a seen species' scale matrix, as in every published implementation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from workloads.bzsl.settings import Setting

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Densities:
    """A multivariate t of each species, unseen ones first."""

    means: Doubles
    """(species, d)."""
    scales: Doubles
    """(d, d, species)."""
    freedoms: Doubles


def priors(train: Doubles, labels: Indices) -> tuple[Doubles, Doubles]:
    """Mean of the species' means, and mean of their covariances."""
    groups = [train[labels == species] for species in np.unique(labels)]
    mean = np.mean([group.mean(axis=0) for group in groups], axis=0)
    total = np.zeros((train.shape[1], train.shape[1]))
    for group in groups:
        total += np.cov(group, rowvar=False)
    return mean, total / len(groups)


def estimate(train: Doubles, labels: Indices, surrogates: Indices, setting: Setting) -> Densities:
    """Posterior predictive of every species under one setting.

    Args:
        train: projected images, (specimens, d).
        labels: species of each.
        surrogates: place of each unseen species' surrogates among the seen ones, (unseen, K).
        setting: the hyperparameters.
    """
    centre, covariance = priors(train, labels)
    size = train.shape[1]
    freedom = setting.m * size
    prior = (freedom - size - 1) / setting.s * covariance
    species = np.unique(labels)
    num_unseen, total = len(surrogates), len(surrogates) + len(species)
    found = Densities(np.empty((total, size)), np.empty((size, size, total)), np.empty(total))
    counts, means, groups = np.empty(len(species)), np.empty((len(species), size)), []
    kappa = setting.kappa0 * setting.kappa1 / (setting.kappa0 + setting.kappa1)
    for place, number in enumerate(species):
        group = train[labels == number]
        count, mean = len(group), group.mean(axis=0)
        scatter = (count - 1) * np.cov(group, rowvar=False)
        counts[place], means[place] = count, mean
        groups.append(group)  # the scatters of surrogates are computed again: all of them would not fit
        nu = count + freedom - size + 1
        error = count * kappa / (count + kappa) * ((mean - centre) @ (mean - centre))
        found.means[num_unseen + place] = (count * mean + kappa * centre) / (count + kappa)
        found.scales[:, :, num_unseen + place] = (prior + scatter + error) * (
            (count + kappa + 1) / ((count + kappa) * nu)
        )
        found.freedoms[num_unseen + place] = nu
    for place, members in enumerate(surrogates):
        own = counts[members] * setting.kappa1 / (counts[members] + setting.kappa1)
        weight = own.sum() + setting.kappa0
        group_kappa = weight * setting.kappa1 / (weight + setting.kappa1)
        nu = counts[members].sum() - len(members) + freedom - size + 1
        scatter = np.zeros((size, size))
        for k in members:
            scatter += (len(groups[k]) - 1) * np.cov(groups[k], rowvar=False)
        found.means[place] = (own @ means[members] + setting.kappa0 * centre) / weight
        found.scales[:, :, place] = (prior + scatter) * ((group_kappa + 1) / (group_kappa * nu))
        found.freedoms[place] = nu
    return found


def log_likelihoods(densities: Densities, queries: Doubles) -> Doubles:
    """Log-likelihood of each query under each species, (queries, species)."""
    size = queries.shape[1]
    found = np.empty((len(queries), len(densities.means)))
    for species, mean in enumerate(densities.means):
        nu = densities.freedoms[species]
        factor = np.linalg.cholesky(densities.scales[:, :, species])
        solved = solve_triangular(factor, (queries - mean).T, lower=True, check_finite=False)
        squares = np.einsum("dq,dq->q", solved, solved)
        level = gammaln((nu + size) / 2) - gammaln(nu / 2) - size / 2 * np.log(nu * np.pi)
        level -= np.log(np.diag(factor)).sum()
        found[:, species] = level - (nu + size) / 2 * np.log1p(squares / nu)
    return found
