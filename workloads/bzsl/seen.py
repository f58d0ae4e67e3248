"""Log-likelihoods of the seen species: the posterior predictive of each, given its own images.

    mean   (n x + kappa mu0) / (n + kappa),   kappa = kappa0 kappa1 / (kappa0 + kappa1)
    scale  [Psi + S + c dd'] (n + kappa + 1) / ((n + kappa) nu),   c = n kappa / (n + kappa),   nu = n + m - d + 1

with x the mean of its n images, S their scatter and d = x - mu0. The published form has |d|^2 11' in place of dd'.

In whitened coordinates centred on mu0, with M = a I + R'R, all that a query z adds are the forms z'M^-1 z, z'M^-1 x
and, in the published form, z'M^-1 w. They depend on a alone; kappa0 and kappa1 enter by a polynomial in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Doubles
from workloads.bzsl.settings import Form, Setting
from workloads.bzsl.species import Species
from workloads.bzsl.student import Density, Emit, Queries, blocks, density, diagonals


@dataclass(frozen=True, slots=True)
class _Terms:
    """Q = zz + zx (linear + square zx) + zw (along + along_square zw) + constant, with zx for z'M^-1 x; each (C, 1)."""

    constant: Doubles
    linear: Doubles
    square: Doubles
    along: Doubles
    along_square: Doubles
    density: Density


class SeenSpecies:
    """The seen species under several settings."""

    def __init__(self, species: Species, settings: Sequence[Setting], form: Form) -> None:
        self._species, self._form = species, form
        self._diagonals, self._which = diagonals(settings, species.size)
        owner = np.repeat(np.arange(len(species.counts)), np.diff(species.starts))
        mean = np.einsum("rd,rd->r", species.rows, species.means[owner])
        ones = species.rows @ species.ones
        self._weights = 1.0 / (self._diagonals[:, None] + species.eigenvalues)  # (A, R)
        self._mean_weights, self._ones_weights = self._weights * mean, self._weights * ones

        def inverse_form(plain: Doubles, left: Doubles, right: Doubles) -> Doubles:
            """x'M^-1 y of each species for every a, (A, C)."""
            spent = [np.bincount(owner, row * left * right, len(species.counts)) for row in self._weights]
            found: Doubles = (plain - np.array(spent)) / self._diagonals[:, None]
            return found

        self._mean_mean = inverse_form(np.square(species.means).sum(axis=1), mean, mean)
        self._mean_ones = inverse_form(species.means @ species.ones, mean, ones)
        self._ones_ones = inverse_form(np.full(len(species.counts), species.ones @ species.ones), ones, ones)
        log = np.log(self._diagonals[:, None] + species.eigenvalues)
        self._log_det = np.array([np.bincount(owner, row, len(species.counts)) for row in log])
        self._log_det += np.log(self._diagonals)[:, None] * (species.size - np.diff(species.starts))
        self._terms = [self._of(setting, a) for setting, a in zip(settings, self._which, strict=True)]

    def _of(self, setting: Setting, a: int) -> _Terms:
        species, count = self._species, self._species.counts
        kappa = setting.kappa0 * setting.kappa1 / (setting.kappa0 + setting.kappa1)
        pull = count / (count + kappa)
        freedom = count + setting.m * species.size - species.size + 1
        scale = (count + kappa + 1) / ((count + kappa) * freedom)
        factor = count * kappa / (count + kappa)
        mean_mean, mean_ones = self._mean_mean[a], self._mean_ones[a]
        if self._form == "corrected":  # Sherman and Morrison, with w the species' mean
            grown = 1 + factor * mean_mean
            left = 1 / grown
            constant, linear, square = pull**2 * mean_mean * left, -2 * pull * left, -factor / grown
            along = along_square = np.zeros_like(count)
        else:  # the same, with w the whitened ones
            factor = factor * species.raw_square
            grown = 1 + factor * self._ones_ones[a]
            constant = pull**2 * (mean_mean - factor / grown * mean_ones**2)
            linear, square = -2 * pull, np.zeros_like(count)
            along, along_square = 2 * pull * factor / grown * mean_ones, -factor / grown
        found = density(species, freedom, scale, self._log_det[a] + np.log(grown))
        columns = (constant, linear, square, along, along_square)
        constant, linear, square, along, along_square = (values[:, None] for values in columns)
        return _Terms(constant, linear, square, along, along_square, found)

    def evaluate(self, queries: Queries, emit: Emit) -> None:
        """Hand over the log-likelihoods of all seen species in blocks, setting by setting."""
        for block in blocks(len(self._species.counts), len(self._diagonals)):
            self._block(queries, block, emit)

    def _block(self, queries: Queries, block: slice, emit: Emit) -> None:
        own, mean, ones = self._forms(queries, block)
        work, other = np.empty((len(own), own.shape[2])), np.empty((len(own), own.shape[2]))
        for number, (terms, a) in enumerate(zip(self._terms, self._which, strict=True)):
            if self._form == "corrected":
                np.multiply(mean[:, a], terms.square[block], out=work)
                work += terms.linear[block]
                work *= mean[:, a]
            else:
                np.multiply(ones[:, a], terms.along_square[block], out=work)
                work += terms.along[block]
                work *= ones[:, a]
                np.multiply(mean[:, a], terms.linear[block], out=other)
                work += other
            work += own[:, a]
            work += terms.constant[block]
            emit(number, block.start, terms.density.of_distances(work, block))

    def _forms(self, queries: Queries, block: slice) -> tuple[Doubles, Doubles, Doubles]:
        """z'M^-1 z, z'M^-1 x and z'M^-1 w of every species of a block, a and query, (block, A, B) each."""
        shape = (block.stop - block.start, len(self._diagonals), len(queries.square))
        own, mean = np.empty(shape), np.empty(shape)
        ones = np.empty(shape if self._form == "published" else (0, 0, 0))
        for place, number in enumerate(range(block.start, block.stop)):
            rows = slice(self._species.starts[number], self._species.starts[number + 1])
            products = queries.rows[rows]
            np.matmul(self._weights[:, rows], products**2, out=own[place])
            np.matmul(self._mean_weights[:, rows], products, out=mean[place])
            if self._form == "published":
                np.matmul(self._ones_weights[:, rows], products, out=ones[place])
        a = self._diagonals[:, None]
        np.divide(queries.square - own, a, out=own)
        np.divide(queries.means[block][:, None] - mean, a, out=mean)
        if self._form == "published":
            np.divide(queries.ones - ones, a, out=ones)
        return own, mean, ones
