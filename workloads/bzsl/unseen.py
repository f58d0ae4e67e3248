"""Log-likelihoods of the unseen species: the predictive of each, given the images of its K surrogates.

    kappa_k = n_k kappa1 / (n_k + kappa1),   kappa = (sum kappa_k + kappa0) kappa1 / (sum kappa_k + kappa0 + kappa1)
    mean   (sum kappa_k x_k + kappa0 mu0) / (sum kappa_k + kappa0)
    scale  (Psi + sum S_k) (kappa + 1) / (kappa nu),   nu = sum n_k - K + m - d + 1

The scatter of K surrogates has the rows of all of them; turned by the eigenvectors of their products, these are
orthogonal again, and what they give with a query follows from what the surrogates' own rows gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from workloads.arrays import Doubles, Indices
from workloads.bzsl.settings import Setting
from workloads.bzsl.species import Species
from workloads.bzsl.student import Density, Emit, Queries, blocks, density, diagonals


@dataclass(frozen=True, slots=True)
class _Group:
    """The surrogates of one unseen species, for every a."""

    rows: Indices
    """Which rows of the scatters are theirs, (r,)."""
    turn: Doubles
    """Eigenvectors, which make these rows orthogonal: at most as many as there are components, (r, e)."""
    weights: Doubles
    """1 / (a + eigenvalue), (A, e)."""
    means: Doubles
    """Products of the orthogonal rows with each surrogate's mean, (K, e)."""
    mean_mean: Doubles
    """x_k'M^-1 x_l, (A, K, K)."""
    log_det: Doubles
    """(A,)."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """Q = z'M^-1 z - 2 sum_k pull_k z'M^-1 x_k + constant."""

    constant: Doubles
    pull: Doubles
    """(candidates, K)."""
    density: Density


class UnseenSpecies:
    """Unseen species under several settings, all with the same number of surrogates."""

    def __init__(self, species: Species, surrogates: Indices, settings: Sequence[Setting]) -> None:
        self._surrogates = surrogates
        self._diagonals, self._which = diagonals(settings, species.size)
        self._groups = [_group(species, members, self._diagonals) for members in surrogates]
        self._terms = [self._of(species, setting, a) for setting, a in zip(settings, self._which, strict=True)]

    def _of(self, species: Species, setting: Setting, a: int) -> _Terms:
        count = species.counts[self._surrogates]  # (candidates, K)
        own = count * setting.kappa1 / (count + setting.kappa1)
        total = own.sum(axis=1) + setting.kappa0
        kappa = total * setting.kappa1 / (total + setting.kappa1)
        pull = own / total[:, None]
        freedom = count.sum(axis=1) - count.shape[1] + setting.m * species.size - species.size + 1
        scale = (kappa + 1) / (kappa * freedom)
        mean_mean = np.array([group.mean_mean[a] for group in self._groups])
        constant = np.einsum("ck,ckl,cl->c", pull, mean_mean, pull)
        log_det = np.array([group.log_det[a] for group in self._groups])
        return _Terms(constant[:, None], pull, density(species, freedom, scale, log_det))

    def evaluate(self, queries: Queries, emit: Emit) -> None:
        """Hand over the log-likelihoods of all unseen species in blocks, setting by setting."""
        for block in blocks(len(self._groups), len(self._diagonals) * (1 + self._surrogates.shape[1])):
            self._block(queries, block, emit)

    def _block(self, queries: Queries, block: slice, emit: Emit) -> None:
        own, means = self._forms(queries, block)
        work = np.empty((len(own), own.shape[2]))
        for number, (terms, a) in enumerate(zip(self._terms, self._which, strict=True)):
            np.add(own[:, a], terms.constant[block], out=work)
            for k, pull in enumerate(terms.pull[block].T):
                work -= 2 * pull[:, None] * means[:, k, a]
            emit(number, block.start, terms.density.of_distances(work, block))

    def _forms(self, queries: Queries, block: slice) -> tuple[Doubles, Doubles]:
        """z'M^-1 z, (block, A, B), and z'M^-1 x_k, (block, K, A, B)."""
        size, num_a, num_surrogates = len(queries.square), len(self._diagonals), self._surrogates.shape[1]
        own = np.empty((block.stop - block.start, num_a, size))
        means = np.empty((len(own), num_surrogates, num_a, size))
        for place, number in enumerate(range(block.start, block.stop)):
            group = self._groups[number]
            products = group.turn.T @ queries.rows[group.rows]
            weighted = (group.means[:, None, :] * group.weights).reshape(num_surrogates * num_a, -1)
            np.matmul(group.weights, products**2, out=own[place])
            np.matmul(weighted, products, out=means[place].reshape(num_surrogates * num_a, size))
            np.subtract(queries.means[self._surrogates[number]][:, None], means[place], out=means[place])
        own = (queries.square - own) / self._diagonals[:, None]
        means /= self._diagonals[:, None]
        return own, means


def _group(species: Species, members: Indices, diagonals: Doubles) -> _Group:
    rows = np.concatenate([np.arange(species.starts[k], species.starts[k + 1]) for k in members])
    stacked = species.rows[rows]
    values, turn = eigh(stacked @ stacked.T, check_finite=False) if len(rows) else (np.empty(0), np.empty((0, 0)))
    kept = min(len(rows), species.size)  # of more rows than components the surplus has eigenvalues of zero
    values, turn = np.maximum(values[len(rows) - kept :], 0.0), np.ascontiguousarray(turn[:, len(rows) - kept :])
    means = species.means[members]
    turned = means @ stacked.T @ turn  # (K, e)
    weights = 1.0 / (diagonals[:, None] + values)
    spent = np.einsum("kr,ar,lr->akl", turned, weights, turned)
    log_det = np.log(diagonals[:, None] + values).sum(axis=1) + (species.size - kept) * np.log(diagonals)
    return _Group(
        rows=rows,
        turn=turn,
        weights=weights,
        means=turned,
        mean_mean=(means @ means.T - spent) / diagonals[:, None, None],
        log_det=log_det,
    )


def matrix_bytes(species: Species, surrogates: Indices) -> Indices:
    """Bytes of the eigenvectors that each unseen species takes, (unseen,)."""
    rows = np.diff(species.starts)[surrogates].sum(axis=1)
    found: Indices = 8 * rows * np.minimum(rows, species.size)
    return found
