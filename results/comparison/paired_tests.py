"""Whether two runs differ by more than chance, on the same queries: scipy's permutation test and McNemar's test.

If the runs do not differ, what they did with a unit could as well be swapped: a query for micro accuracies, a species
with all its queries for macro ones. The permutation test swaps units at random, of seen and unseen queries at once, and
asks how often the difference is as large as the one found. For micro accuracy that is McNemar's test on the queries in
which the runs differ, and its p-value is exact.

Units in which the runs do the same say nothing. With none in which they differ, or with one, p is 1. The swaps depend
on nothing but the units, so that the p-value of a row is the same whatever else is in its table.
"""

from typing import Literal

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from workloads.arrays import Doubles, Mask
from workloads.averages import Averages, Part, Sample, harmonic_means
from workloads.intervals import SEED

PairedTest = Literal["McNemar", "permutation"]

PERMUTATIONS = 9999
SMALLEST_P = 2 / (PERMUTATIONS + 1)
"""Of a permutation test, which counts the data as one more permutation, and both sides."""
_BATCH = 200  # permutations at a time: some hundred megabytes for the queries of BIOSCAN-1M
_DIGITS = 12  # the same shares added in another order differ in the last bits, and must count as ties


def mcnemar_p(first: Mask, second: Mask) -> float:
    """McNemar's exact test.

    Args:
        first: which queries the first run got right, (queries,).
        second: the same of the second run.

    Returns:
        The two-sided p-value; 1 where the runs never differ.
    """
    both, only_first = (first & second).sum(), (first & ~second).sum()
    only_second, neither = (~first & second).sum(), (~first & ~second).sum()
    return float(mcnemar([[both, only_first], [only_second, neither]], exact=True).pvalue)


def halves(numbers: Doubles, num_ranks: int) -> tuple[Doubles, Doubles]:
    """The numbers of the first and of the second run, which stand in turn for each rank.

    Both are (..., numbers / 2), by rank and then by retrieval.
    """
    by_run = numbers.reshape(*numbers.shape[:-1], num_ranks, 2, -1)
    shape = (*numbers.shape[:-1], numbers.shape[-1] // 2)
    return by_run[..., 0, :].reshape(shape), by_run[..., 1, :].reshape(shape)


def permutation_p(averages: Averages, num_ranks: int) -> dict[Part, Doubles]:
    """Two-sided p-values of the differences between both runs, for seen, unseen and their harmonic mean.

    Args:
        averages: numbers as `halves` takes them.
        num_ranks: how many ranks they are of.

    Returns:
        (numbers / 2,) for each part; every possible swap is tried when there are at most `PERMUTATIONS`.
    """
    swapping = _Swapping(averages, num_ranks)
    if swapping.num_units < 2:
        p_values = np.ones(len(swapping.parts) * swapping.width)
    else:
        p_values = stats.permutation_test(
            (np.ones(swapping.num_units),),
            swapping.differences,
            permutation_type="samples",  # of one sample: signs are flipped at random
            n_resamples=PERMUTATIONS,
            batch=_BATCH,
            vectorized=True,
            rng=np.random.default_rng(SEED),
        ).pvalue
    return dict(zip(swapping.parts, np.split(p_values, len(swapping.parts)), strict=True)) if swapping.parts else {}


class _Swapping:
    """Differences between two runs when some units are swapped: a sign for each unit, -1 where it is."""

    def __init__(self, averages: Averages, num_ranks: int) -> None:
        self._by_unit: dict[Sample, Doubles] = {}
        self._middle: dict[Sample, Doubles] = {}
        point = averages.point()
        for sample, contributions in averages.contributions().items():
            first, second = halves(contributions, num_ranks)
            self._by_unit[sample] = second - first  # (units, differences)
            self._middle[sample] = np.add(*halves(point[sample], num_ranks)) / 2
        self.parts: list[Part] = [*self._by_unit]
        if len(self.parts) == 2:
            self.parts.append("harmonic_mean")
        self.num_units = sum(map(len, self._by_unit.values()))
        self.width = max((differences.shape[1] for differences in self._by_unit.values()), default=0)

    def differences(self, signs: Doubles, axis: int) -> Doubles:
        """Of every part side by side, for 1 or -1 by unit: (..., units) to (..., parts x numbers / 2)."""
        found, begin = {}, 0
        for sample, by_unit in self._by_unit.items():
            found[sample] = signs[..., begin : begin + len(by_unit)] @ by_unit
            begin += len(by_unit)
        values = list(found.values())
        if len(found) == 2:
            seen, unseen = ([self._middle[s] + sign * found[s] / 2 for sign in (-1, 1)] for s in ("seen", "unseen"))
            values.append(harmonic_means(seen[1], unseen[1]) - harmonic_means(seen[0], unseen[0]))
        return np.asarray(np.concatenate(values, axis=-1).round(_DIGITS), dtype=np.float64)
