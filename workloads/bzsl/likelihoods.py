"""Log-likelihoods of queries under seen and unseen species: Student's t, given the training images of some species.

A seen species is given its own n images, with mean x and scatter S, an unseen one those of its K surrogates:

    seen     mean   (n x + kappa mu0) / (n + kappa),   kappa = kappa0 kappa1 / (kappa0 + kappa1)
             scale  [Psi + S + c dd'] (n + kappa + 1) / ((n + kappa) nu),   c = n kappa / (n + kappa),   d = x - mu0
             nu = n + m - d + 1;   the published form has |d|^2 11' in place of dd'
    unseen   mean   (sum kappa_k x_k + kappa0 mu0) / t,   kappa_k = n_k kappa1 / (n_k + kappa1)
             scale  (Psi + sum S_k) (kappa + 1) / (kappa nu),   kappa = t kappa1 / (t + kappa1)
             nu = sum n_k - K + m - d + 1;   t = sum kappa_k + kappa0

In whitened coordinates centred on mu0 a scale matrix is f (M + c w w') with M = a I + R'R, and

    log p(z) = level - half * log(1 + Q / spread),   half = (nu + d) / 2,   spread = nu * f

where Q is the squared distance from the mean as M + c w w' measures it. All that a query z adds are the forms z'M^-1 z
and z'M^-1 u for a few directions u: the means x_k and, in the published form, the whitened ones. They depend on a
alone; kappa0 and kappa1 enter by a polynomial in them. The scatter of K surrogates has the rows of all of them; turned
by the eigenvectors of their products these are orthogonal again, and what they give with a query follows from what the
surrogates' own rows gave.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.special import gammaln

from workloads.arrays import Doubles, Floats, Indices
from workloads.bzsl.settings import ScaleForm, Setting
from workloads.bzsl.species import SeenSpecies
from workloads.errors import ZeroShotError

_FORMS_AT_ONCE = 768
"""With 512 queries, 3 MB: what is added up for so many stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Some queries and what all candidates need of them; B queries."""

    square: Doubles
    """Squared length, (B,)."""
    rows: Doubles
    """Products with the rows of all scatters, (R, B)."""
    directions: Doubles
    """Products with the means of the seen species and the ones, (C + 1, B)."""

    @classmethod
    def of(cls, species: SeenSpecies, images: Floats) -> "QueryBatch":
        """From image features, (B, size)."""
        whitened = species.whitened(images)
        return cls(np.square(whitened).sum(axis=0), species.rows @ whitened, species.directions @ whitened)


@dataclass(frozen=True, slots=True)
class _Scatter:
    """The scatter of one candidate, for every a, and D directions."""

    rows: slice | Indices
    """Which rows of the scatters of all species it has, r of them."""
    turn: Doubles | None
    """Eigenvectors, which make these rows orthogonal: at most as many as there are components, (r, e).

    None where they are orthogonal as they stand."""
    weights: Doubles
    """1 / (a + eigenvalue), (A, e)."""
    products: Doubles
    """Products of the directions with the orthogonal rows, (D, e)."""
    forms: Doubles
    """u'M^-1 v of every two directions, (A, D, D)."""
    log_det: Doubles
    """Log-determinant of M, (A,)."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """Q = z'M^-1 z + sum linear_u z'M^-1 u + square (z'M^-1 w)^2 + constant, w the last of the directions u; (C, 1)."""

    constant: Doubles
    linear: Doubles
    """(C, D)."""
    square: Doubles
    level: Doubles
    half: Doubles
    spread: Doubles


class Candidates:
    """Some seen or some unseen species under several settings."""

    def __init__(
        self,
        species: SeenSpecies,
        given: Indices,
        settings: Mapping[Setting, Sequence[int]],
        first: int,
        form: ScaleForm | None = None,
    ) -> None:
        """Do what no query decides.

        Args:
            species: the seen ones.
            given: places among them of those whose images each candidate is given: itself, or its surrogates,
                (candidates, K).
            settings: with the numbers that each of them has; those of unseen species all with K surrogates.
            first: number of the first candidate.
            form: of seen species; None: they are unseen.

        Raises:
            ZeroShotError: m is too small for a prior to have a mean.
        """
        self._species, self._given, self._first, self._form = species, given, first, form
        self._numbers, size = [np.array(numbers) for numbers in settings.values()], species.size
        for setting in settings:
            if setting.m * size <= size + 1:
                reason = f"m = {setting.m:g} x {size} degrees of freedom are too few for {size} components"
                raise ZeroShotError(reason, f"m has to be above {1 + 1 / size:.3g}.")
        values = np.array([(setting.m * size - size - 1) / setting.s for setting in settings])
        self._a, self._which = np.unique(values, return_inverse=True)
        ones = np.full((len(given), 1), len(species.counts))
        self._directions = np.hstack([given, ones]) if form == "published" else given
        self._scatters = [
            _scatter(species, own, directions, self._a) for own, directions in zip(given, self._directions, strict=True)
        ]
        self._terms = [self._of(setting, a) for setting, a in zip(settings, self._which, strict=True)]

    def _of(self, setting: Setting, a: int) -> _Terms:
        species, count = self._species, self._species.counts[self._given]
        size, num_given = species.size, count.shape[1]
        if self._form is None:
            own = count * setting.kappa1 / (count + setting.kappa1)
            total = own.sum(axis=1) + setting.kappa0
            pull, strength = own / total[:, None], total * setting.kappa1 / (total + setting.kappa1)
            freedom = count.sum(axis=1) - num_given
        else:
            kappa = setting.kappa0 * setting.kappa1 / (setting.kappa0 + setting.kappa1)
            freedom = count[:, 0]
            pull, strength = count / (count + kappa), freedom + kappa
        freedom = freedom + setting.m * size - size + 1
        forms = np.array([scatter.forms[a] for scatter in self._scatters])
        log_det = np.array([scatter.log_det[a] for scatter in self._scatters])
        constant = np.einsum("ck,ckl,cl->c", pull, forms[:, :num_given, :num_given], pull)
        linear, square = np.zeros(self._directions.shape), np.zeros(len(count))
        linear[:, :num_given] = -2 * pull
        if self._form is not None:  # Sherman and Morrison, with w the species' mean, or the whitened ones
            factor = count[:, 0] * kappa / strength
            if self._form == "published":
                factor *= species.raw_square
            grown = 1 + factor * forms[:, -1, -1]
            square = -factor / grown
            log_det += np.log(grown)
            if self._form == "published":
                across = pull[:, 0] * forms[:, 0, 1]
                constant += square * across**2
                linear[:, 1] = -2 * square * across
            else:
                constant /= grown
                linear /= grown[:, None]
        scale = (strength + 1) / (strength * freedom)
        level = gammaln((freedom + size) / 2) - gammaln(freedom / 2) - size / 2 * np.log(np.pi * freedom)
        level -= (size * np.log(scale) + log_det + species.log_det) / 2
        columns = (level, (freedom + size) / 2, freedom * scale)
        return _Terms(constant[:, None], linear, square[:, None], *(values[:, None] for values in columns))

    def log_likelihoods(self, queries: QueryBatch) -> Iterator[tuple[Indices, int, Doubles]]:
        """Those of all candidates in blocks, setting by setting.

        Yields:
            The numbers that the setting has, the number of the first candidate, and log-likelihoods, (candidates, B),
            in an array that the next ones overwrite.
        """
        at_once = max(1, min(64, _FORMS_AT_ONCE // (len(self._a) * self._directions.shape[1])))
        for start in range(0, len(self._given), at_once):
            block = slice(start, min(start + at_once, len(self._given)))
            squares, products = self._forms(queries, block)
            distances, part = np.empty((2, len(squares), len(queries.square)))
            for numbers, terms, a in zip(self._numbers, self._terms, self._which, strict=True):
                *others, last = range(len(products))
                if self._form is None:
                    np.multiply(products[last, :, a], terms.linear[block, last, None], out=distances)
                else:
                    np.multiply(products[last, :, a], terms.square[block], out=distances)
                    distances += terms.linear[block, last, None]
                    distances *= products[last, :, a]
                for direction in others:
                    np.multiply(products[direction, :, a], terms.linear[block, direction, None], out=part)
                    distances += part
                distances += squares[:, a]
                distances += terms.constant[block]
                distances /= terms.spread[block]
                distances += 1.0
                np.log(distances, out=distances)
                distances *= -terms.half[block]
                distances += terms.level[block]
                yield numbers, self._first + start, distances

    def _forms(self, queries: QueryBatch, block: slice) -> tuple[Doubles, Doubles]:
        """z'M^-1 z, (block, A, B), and z'M^-1 u, (D, block, A, B)."""
        num_a, size = len(self._a), len(queries.square)
        squares = np.empty((block.stop - block.start, num_a, size))
        products = np.empty((self._directions.shape[1], *squares.shape))
        for place, scatter in enumerate(self._scatters[block]):
            rows = queries.rows[scatter.rows]
            if scatter.turn is not None:
                rows = scatter.turn.T @ rows
            np.matmul(scatter.weights, rows**2, out=squares[place])
            np.matmul(scatter.products[:, None] * scatter.weights, rows, out=products[:, place])
        np.subtract(queries.square, squares, out=squares)
        np.subtract(queries.directions[self._directions[block].T][:, :, None], products, out=products)
        squares /= self._a[:, None]
        products /= self._a[:, None]
        return squares, products


def _scatter(species: SeenSpecies, given: Indices, directions: Indices, a: Doubles) -> _Scatter:
    turn = None
    if len(given) == 1:  # whose rows are orthogonal
        own: slice | Indices = slice(species.starts[given[0]], species.starts[given[0] + 1])
        rows, values = species.rows[own], species.eigenvalues[own]
    else:
        own = np.concatenate([np.arange(species.starts[k], species.starts[k + 1]) for k in given])
        rows = species.rows[own]
        values, turn = eigh(rows @ rows.T, check_finite=False) if len(rows) else (np.empty(0), np.empty((0, 0)))
        surplus = max(len(rows) - species.size, 0)  # of more rows than components some have eigenvalues of zero
        values, turn = np.maximum(values[surplus:], 0.0), np.ascontiguousarray(turn[:, surplus:])
    vectors = species.directions[directions]
    products = vectors @ rows.T if turn is None else vectors @ rows.T @ turn
    weights = 1.0 / (a[:, None] + values)
    spent = np.einsum("kr,ar,lr->akl", products, weights, products)
    log_det = np.log(a[:, None] + values).sum(axis=1) + (species.size - len(values)) * np.log(a)
    forms = (vectors @ vectors.T - spent) / a[:, None, None]
    return _Scatter(own, turn, weights, products, forms, log_det)


def matrix_bytes(species: SeenSpecies, given: Indices) -> Indices:
    """Bytes of the eigenvectors that each candidate takes, (candidates,); see `Candidates` for `given`."""
    rows = np.diff(species.starts)[given].sum(axis=1)
    found: Indices = 8 * rows * np.minimum(rows, species.size) * (given.shape[1] > 1)
    return found
