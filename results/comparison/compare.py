"""Two evaluations of the same queries: differences of accuracies, paired intervals, and whether chance explains them.

    interval   paired bootstrap (`workloads.intervals`): both runs are measured on the same resamples
    p-value    McNemar's exact test for micro accuracy of seen and of unseen queries, elsewhere a paired permutation
               test (`results.comparison.paired_tests`)
    Holm       over all rows that are asked for together (statsmodels)

A bootstrap of n resamples knows no p-value below 2/n, and is too sure where few queries differ; so it gives intervals,
and the tests, which are exact there, give p-values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from statsmodels.stats.multitest import multipletests

from results.comparison.paired_answers import PairedAnswers
from results.comparison.paired_tests import PairedTest, halves, mcnemar_p, permutation_p
from workloads.arrays import Doubles, Mask
from workloads.averages import SAMPLES, Part
from workloads.intervals import RankAverages, bootstrap_intervals, rank_averages
from workloads.predictions import MissingRank, Place
from workloads.spec import Rank

PARTS: tuple[Part, ...] = ("seen", "unseen", "harmonic_mean")
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs at one place. Shares in [0, 1]."""

    place: Place
    level: Rank
    average: str
    species: Part
    count: int
    """Queries (micro) or classes (macro); for the harmonic mean the smaller of its two."""
    first: float
    second: float
    low: float | None
    """Lower end of the 95 % interval of the difference; None where a single query or species is behind it."""
    high: float | None
    test: PairedTest
    p: float
    p_holm: float = 1.0
    """Corrected for all rows of the same table."""

    @property
    def difference(self) -> float:
        """The second run minus the first."""
        return self.second - self.first

    @property
    def better(self) -> str | None:
        """`A` for the first run, `B` for the second; None where the corrected test cannot tell."""
        if self.p_holm >= SIGNIFICANT or self.difference == 0:
            return None
        return "B" if self.difference > 0 else "A"


def compare(pairs: Sequence[PairedAnswers], missing: MissingRank, ranks: Sequence[Rank]) -> list[Comparison]:
    """Top-1 accuracies of two runs, with Holm's correction over all that is returned.

    Args:
        pairs: the same retrievals of both runs.
        missing: what both do with a missing name.
        ranks: which to compare.

    Returns:
        By retrieval, rank, average and subset, in the order given; no row where there are no queries.
    """
    rows = [row for same in _by_queries(pairs) for row in _rows(same, missing, ranks)]
    if not rows:
        return []
    retrievals = [pair.place for pair in pairs]
    rows.sort(key=lambda row: (retrievals.index(row.place), ranks.index(row.level)))  # stable: the rest is in order
    corrected = multipletests([row.p for row in rows], method="holm")[1]
    return [replace(row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]


def _by_queries(pairs: Sequence[PairedAnswers]) -> list[list[PairedAnswers]]:
    """Retrievals of the same queries share their resamples."""
    groups: dict[tuple[str, tuple[str, ...]], list[PairedAnswers]] = {}
    for pair in pairs:
        groups.setdefault((pair.place.partition, tuple(pair.first.ids)), []).append(pair)
    return list(groups.values())


def _rows(pairs: Sequence[PairedAnswers], missing: MissingRank, ranks: Sequence[Rank]) -> Iterator[Comparison]:
    """Every row of retrievals of the same queries."""
    hits = {rank: _hits(pairs, rank) for rank in ranks}
    for group in rank_averages(pairs[0].first, hits, missing):
        yield from _rows_of(group, pairs, missing)


def _hits(pairs: Sequence[PairedAnswers], rank: Rank) -> Mask:
    """Whether each query was right: of the first run in each retrieval, then of the second, (queries, 2 retrievals)."""
    both = [pair.first for pair in pairs], [pair.second for pair in pairs]
    return np.stack([answers.hits(rank) for run in both for answers in run], axis=1)


def _rows_of(group: RankAverages, pairs: Sequence[PairedAnswers], missing: MissingRank) -> Iterator[Comparison]:
    """The rows of the ranks at which the same queries count."""

    def difference(numbers: Doubles) -> Doubles:
        first, second = halves(numbers, len(group.ranks))
        return second - first

    values = group.averages.point()
    intervals = bootstrap_intervals(group.averages, difference)
    permuted = permutation_p(group.averages, len(group.ranks))
    for part in PARTS:
        if part not in values:
            continue
        first, second = halves(values[part], len(group.ranks))
        ends = intervals.get(part)
        for column, (rank, pair) in enumerate(product(group.ranks, pairs)):
            row = Comparison(
                place=pair.place,
                level=rank,
                average=group.average,
                species=part,
                count=_count(pair, rank, group.average, part, missing),
                first=float(first[column]),
                second=float(second[column]),
                low=float(ends.low[column]) if ends else None,
                high=float(ends.high[column]) if ends else None,
                test="permutation",
                p=float(permuted[part][column]),
            )
            if group.average == "micro" and part != "harmonic_mean":
                row = replace(row, test="McNemar", p=_mcnemar(pair, rank, part, missing))
            yield row


def _mcnemar(pair: PairedAnswers, rank: Rank, part: Part, missing: MissingRank) -> float:
    asked = pair.first.counted(rank, missing) & (pair.first.subset == part)
    return mcnemar_p(pair.first.hits(rank)[asked], pair.second.hits(rank)[asked])


def _count(pair: PairedAnswers, rank: Rank, average: str, part: Part, missing: MissingRank) -> int:
    """Queries or classes behind a value."""
    if part == "harmonic_mean":
        return min(_count(pair, rank, average, sample, missing) for sample in SAMPLES)
    truth = pair.first.truth[rank][pair.first.counted(rank, missing) & (pair.first.subset == part)]
    return len(truth) if average == "micro" else len(np.unique(truth))
