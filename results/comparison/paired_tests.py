"""Whether two runs differ by more than chance, on the same queries: scipy's permutation test and McNemar's test.

If the runs do not differ, what they did with a unit could as well be swapped: a query for micro accuracies, a species
with all its queries for macro ones. The permutation test swaps units at random, of seen and unseen queries at once, and
asks how often the difference is as large as the one found. For micro accuracy that is McNemar's test on the queries in
which the runs differ, and its p-value is exact.

Units in which the runs do the same say nothing. With none in which they differ, or with one, p is 1. The swaps depend
on nothing but the units, so that the p-value of a row is the same whatever else is in its table.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from workloads.arrays import Doubles, Mask
from workloads.averages import SAMPLES, Averages, Part, Sample, harmonic_means
from workloads.intervals import SEED

PairedTest = Literal["McNemar", "permutation"]

PERMUTATIONS = 9999
SMALLEST_P = 2 / (PERMUTATIONS + 1)
"""The smallest p of a permutation test, which counts the data as one more permutation, and both sides."""
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


def differences(numbers: Doubles, num_ranks: int) -> Doubles:
    """The second run minus the first, (..., numbers) to (..., numbers / 2)."""
    first, second = halves(numbers, num_ranks)
    return second - first


def permutation_p(averages: Averages, num_ranks: int) -> dict[Part, Doubles]:
    """Two-sided p-values of the differences between both runs, for seen, unseen and their harmonic mean.

    Args:
        averages: numbers as `halves` takes them.
        num_ranks: how many ranks they are of.

    Returns:
        (numbers / 2,) for each part; every possible swap is tried when there are at most `PERMUTATIONS`.
    """
    by_unit: dict[Sample, Doubles] = {}  # (units, differences)
    middle: dict[Sample, Doubles] = {}
    point = averages.point()
    for sample, contributions in averages.contributions().items():
        by_unit[sample] = differences(contributions, num_ranks)
        middle[sample] = np.add(*halves(point[sample], num_ranks)) / 2
    parts: list[Part] = [*by_unit]
    if len(parts) == 2:
        parts.append("harmonic_mean")
    num_units = sum(map(len, by_unit.values()))
    if num_units < 2:
        return {sample: np.ones(contributions.shape[1]) for sample, contributions in by_unit.items()}
    p_values = stats.permutation_test(
        (np.ones(num_units),),
        partial(_swapped, by_unit, middle),
        permutation_type="samples",  # of one sample: signs are flipped at random
        n_resamples=PERMUTATIONS,
        batch=_BATCH,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    ).pvalue
    return dict(zip(parts, np.split(p_values, len(parts)), strict=True))


def _swapped(by_unit: Mapping[Sample, Doubles], middle: Mapping[Sample, Doubles], signs: Doubles, axis: int) -> Doubles:
    """Differences between two runs when some units are swapped, those with the sign -1, of every part side by side.

    (..., units) to (..., parts x numbers / 2)
    """
    swapped, begin = {}, 0
    for sample, contributions in by_unit.items():
        swapped[sample] = signs[..., begin : begin + len(contributions)] @ contributions
        begin += len(contributions)
    values = list(swapped.values())
    if len(swapped) == 2:
        seen, unseen = ([middle[s] + sign * swapped[s] / 2 for sign in (-1, 1)] for s in SAMPLES)
        values.append(harmonic_means(seen[1], unseen[1]) - harmonic_means(seen[0], unseen[0]))
    return np.asarray(np.concatenate(values, axis=-1).round(_DIGITS), dtype=np.float64)
