"""Averages over classes as functions of what was drawn: what a bootstrap and a permutation test ask again and again.

Every accuracy is a mean over classes of the mean within each. Micro accuracy is the case of one class that holds all
queries; macro accuracy has a class for each name among the queries. What is drawn together is a unit: a query for micro
accuracy, for macro accuracy a species with all its queries, at every rank.

A class counts by the share of its units that was drawn, so that a species drawn twice counts twice, one not drawn drops
out, and with each unit drawn once every class counts one:

    value(w) = sum_c v_c(w) m_c(w) / sum_c v_c(w)
    v_c(w) = drawn units of c / units of c        m_c(w) = mean of the queries drawn of c

No randomness here: the draws are arguments.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from workloads.arrays import Codes, Doubles, Indices, Mask, Names
from workloads.errors import UsageError

if TYPE_CHECKING:
    from scipy import sparse

Part = Literal["seen", "unseen", "harmonic_mean", "all"]
"""Queries of seen species, of unseen ones, the harmonic mean of both values, and all queries."""
Sample = Literal["seen", "unseen"]
"""What is drawn from separately: how many queries of each there are was decided by the partition, not by chance."""
SAMPLES: tuple[Sample, ...] = get_args(Sample)

_DIGITS = 12  # a matrix product adds in any order, which shows in the last bits, and all right must be 1 and not more


class _Mean:
    """The mean over classes of some values, for any draw of the units."""

    def __init__(self, units: Indices, num_units: int, classes: Indices | Codes, values: Doubles) -> None:
        """Add up once what each unit has of each class; such a pair is a cell.

        Args:
            units: of the queries, from 0 to `num_units`, (queries,).
            num_units: how many columns a draw has.
            classes: of the queries, (queries,).
            values: what these scored, (queries, numbers).
        """
        names, codes = np.unique(classes, return_inverse=True)
        cells, cell = np.unique(codes.astype(np.int64) * num_units + units, return_inverse=True)
        self._num_units, self._num_classes = num_units, len(names)
        self._unit = cells % num_units
        self._first = np.searchsorted(cells // num_units, np.arange(len(names)))
        self._width = np.diff(self._first, append=len(cells))
        self._sizes = np.bincount(cell).astype(np.float64)
        self._sums = _adding(cell, len(cells)) @ values  # (cells, numbers)

    def of(self, draws: Doubles) -> Doubles:
        """The values for draws: how often each unit was drawn, (draws, units) to (draws, numbers)."""
        drawn = draws[:, self._unit]
        count = np.add.reduceat(drawn * self._sizes, self._first, axis=1)  # queries drawn of each class
        weight = np.add.reduceat(drawn, self._first, axis=1) / self._width
        weight /= weight.sum(axis=1, keepdims=True)
        factor = np.divide(weight, count, out=np.zeros_like(weight), where=count > 0)
        return np.asarray((drawn * np.repeat(factor, self._width, axis=1)) @ self._sums)

    def contributions(self) -> Doubles:
        """What each unit adds to the values when all are drawn once, (units, numbers)."""
        count = np.add.reduceat(self._sizes, self._first) * self._num_classes
        shares = self._sums / np.repeat(count, self._width)[:, None]
        return np.asarray(_adding(self._unit, self._num_units) @ shares)


def _adding(target: Indices, num_targets: int) -> "sparse.csr_array":
    """The matrix that adds rows up by target, (targets, rows)."""
    from scipy import sparse  # a tenth of a second, and whoever reads what was averaged adds nothing up

    rows = np.arange(len(target))
    return sparse.csr_array((np.ones(len(target)), (target, rows)), shape=(num_targets, len(target)))


def check_subset(subset: Names) -> None:
    """Make sure that every query is of a seen or of an unseen species.

    Raises:
        UsageError: one is of neither.
    """
    if strange := {*subset.tolist()} - {*SAMPLES}:
        raise UsageError(f"subset has {', '.join(sorted(map(repr, strange)))}; it is seen or unseen for each query")


class Averages:
    """Some numbers of one query set: for seen and unseen queries, their harmonic mean, and all together."""

    def __init__(self, subset: Names, units: Indices, blocks: Sequence[tuple[Indices | Codes, Doubles]]) -> None:
        """Sort the queries into units and classes.

        Args:
            subset: `seen` or `unseen`, (queries,).
            units: equal for queries that are drawn together, (queries,); a unit is within one subset.
            blocks: classes of the queries, (queries,), and what these scored, (queries, numbers): numbers with the same
                classes stand in one block; the numbers of all are put side by side.
        """
        check_subset(subset)
        self.num_units: dict[Sample, int] = {}
        """Units of each subset that has queries; a draw has a column for each."""
        columns = np.zeros(len(subset), dtype=np.int64)
        inside: dict[Sample, Mask] = {}
        for sample in SAMPLES:
            mask = np.asarray(subset == sample)
            if mask.any():
                names, codes = np.unique(units[mask], return_inverse=True)
                inside[sample], columns[mask] = mask, codes
                self.num_units[sample] = len(names)
        self._means = {
            sample: [_Mean(columns[mask], self.num_units[sample], c[mask], v[mask]) for c, v in blocks]
            for sample, mask in inside.items()
        }
        self._together: list[_Mean] = []
        if len(inside) == 2:
            columns = columns + np.where(inside["unseen"], self.num_units["seen"], 0)
            self._together = [_Mean(columns, sum(self.num_units.values()), *block) for block in blocks]

    def of(self, draws: Mapping[Sample, Doubles]) -> dict[Part, Doubles]:
        """The numbers of each part for draws from both samples, (draws, units of the sample) to (draws, numbers).

        There is a harmonic mean only with queries of both kinds.
        """
        values: dict[Part, Doubles] = {sample: _of(means, draws[sample]) for sample, means in self._means.items()}
        if not self._together:
            return {**values, "all": next(iter(values.values()))} if values else {}
        values["harmonic_mean"] = harmonic_means(values["seen"], values["unseen"])
        values["all"] = _of(self._together, np.concatenate([draws[sample] for sample in SAMPLES], axis=1))
        return values

    def point(self) -> dict[Part, Doubles]:
        """The numbers as they were measured, (numbers,) for each part."""
        once = {sample: np.ones((1, count)) for sample, count in self.num_units.items()}
        return {part: values[0] for part, values in self.of(once).items()}

    def contributions(self) -> dict[Sample, Doubles]:
        """What each unit adds to the number of its own subset, (units, numbers)."""
        return {
            sample: np.concatenate([mean.contributions() for mean in means], axis=1)
            for sample, means in self._means.items()
        }


def _of(means: Sequence[_Mean], draws: Doubles) -> Doubles:
    values = np.concatenate([mean.of(draws) for mean in means], axis=1)
    return np.asarray(values.round(_DIGITS), dtype=np.float64)


def harmonic_means(a: Doubles, b: Doubles) -> Doubles:
    """2 / (1/a + 1/b) for each pair of values, and 0 where either is 0 (as the authors)."""
    return np.divide(2 * a * b, a + b, out=np.zeros_like(a), where=(a > 0) & (b > 0))


def harmonic_mean(a: float, b: float) -> float:
    """The same of one pair."""
    return float(harmonic_means(np.array(a), np.array(b)))
