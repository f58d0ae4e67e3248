"""95 % intervals of accuracies: scipy's percentile bootstrap, all numbers of a query set from the same resamples.

Micro accuracies are resampled over queries, macro accuracies over species: all queries of a drawn species go with it,
at every rank, and a query without a species is a unit of its own. What a species drawn twice or not at all does to a
mean over classes is in `workloads.averages`. Seen and unseen queries are drawn from separately, also for the harmonic
mean of both and for all queries together: the partition has set how many there are of each.

At a rank where names are missing and left out, only queries that count there are drawn from.

What intervals cannot say:
- One unit tells nothing of spread: a subset with a single query (micro) or a single species (macro) has no interval,
  and neither have the harmonic mean and the value over all queries that it enters.
- Where all queries are right, or all wrong, every resample is like the data, and the interval is that one value.
- They are about other queries and species of the same kind, not about another training run: that is what seeds show.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import stats

from workloads.arrays import Codes, Doubles, Indices, Mask
from workloads.averages import Averages, Part
from workloads.predictions import MISSING, Answers, KeyChoice, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import Rank

REPLICATES = 1000
SEED = 20_250_401
_BATCH = 100  # resamples at a time: some ten megabytes for the queries of BIOSCAN-1M

Scores = Mask | Doubles


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends for each number, (numbers,)."""

    low: Doubles
    high: Doubles


def bootstrap_intervals(
    averages: Averages, contrast: Callable[[Doubles], Doubles] | None = None
) -> dict[Part, Interval]:
    """Percentile intervals of each part's numbers; the same resamples for all of them.

    Args:
        averages: the numbers, as functions of a draw.
        contrast: of what the intervals are, when not of the numbers themselves: (..., numbers) to (..., contrasts),
            such as the differences of paired runs.

    Returns:
        A part is left out when one of its samples has fewer than two units.
    """
    drawn_from = {name: count for name, count in averages.num_units.items() if count > 1}
    if not drawn_from:
        return {}

    def statistic(*drawn: Indices, axis: int) -> Doubles:
        draws = {name: np.ones((len(drawn[0]), count)) for name, count in averages.num_units.items()}
        draws |= {name: _counts(indices) for name, indices in zip(drawn_from, drawn, strict=True)}
        values = np.stack(list(averages.of(draws).values()))  # (parts, resamples, numbers)
        return np.moveaxis(contrast(values) if contrast else values, 1, axis)

    low, high = bootstrapped([np.arange(count) for count in drawn_from.values()], statistic)
    whole = len(drawn_from) == len(averages.num_units)
    parts = zip(averages.point(), low, high, strict=True)
    return {part: Interval(*ends) for part, *ends in parts if whole or part in drawn_from}


def bootstrapped(samples: Sequence[npt.NDArray[Any]], statistic: Callable[..., Doubles]) -> tuple[Doubles, Doubles]:
    """Both ends of the 95 % percentile intervals of a statistic, as `scipy.stats.bootstrap` asks for it."""
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=REPLICATES,
        batch=_BATCH,
        vectorized=True,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return interval.low, interval.high


def _counts(indices: Indices) -> Doubles:
    """How often each unit was drawn, from which were, both (resamples, units)."""
    num_resamples, num_units = indices.shape
    flat = indices + np.arange(num_resamples)[:, None] * num_units
    return np.bincount(flat.ravel(), minlength=indices.size).reshape(indices.shape).astype(np.float64)


# --- The accuracies of retrievals ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RankAverages:
    """Micro or macro accuracies at the ranks where the same queries count."""

    average: str
    ranks: tuple[Rank, ...]
    averages: Averages
    """Its numbers are those of the first rank, then those of the second, and so on."""


def rank_averages(queries: Answers, scores: Mapping[Rank, Scores], missing: MissingRank) -> Iterator[RankAverages]:
    """Sort what queries scored into averages.

    Args:
        queries: any retrieval of these queries, for their subsets and names.
        scores: by rank what each query scored in each of some numbers, (queries, numbers); hits, mostly.
        missing: the rule for queries without a name.
    """
    counted = {rank: queries.counted(rank, missing) for rank in scores}
    for mask in {mask.tobytes(): mask for mask in counted.values()}.values():
        ranks = tuple(rank for rank in scores if np.array_equal(counted[rank], mask))
        values = {rank: scores[rank][mask].astype(np.float64) for rank in ranks}
        subset, num_queries = queries.subset[mask], int(mask.sum())
        whole = np.zeros(num_queries, dtype=np.int64), np.concatenate(list(values.values()), axis=1)
        yield RankAverages("micro", ranks, Averages(subset, np.arange(num_queries), [whole]))
        classes = [(queries.truth[rank][mask], values[rank]) for rank in ranks]
        yield RankAverages("macro", ranks, Averages(subset, species_units(queries.truth["species"][mask]), classes))


def species_units(species: Codes) -> Indices:
    """Numbers for species, and another one for each query without a species, (queries,)."""
    alone = np.arange(len(species)) - len(species) + MISSING  # below every code, `MISSING` included
    return np.asarray(np.where(species == MISSING, alone, species))


def with_intervals(
    measurements: Sequence[Measurement], answers: Sequence[Answers], missing: MissingRank, ks: Sequence[int] = (1, 3, 5)
) -> list[Measurement]:
    """The measurements, those of these retrievals with their intervals; others as they are.

    It is quickest with all retrievals of the same queries in one call.

    Args:
        measurements: `top1` and so on, in any order, of any retrievals.
        answers: the retrievals.
        missing: the rule that the measurements were made by.
        ks: how many nearest keys were looked at.
    """
    rows = list(measurements)
    for _, group in groupby(sorted(answers, key=_query_set), key=_query_set):
        same = list(group)
        numbers = [(one.place, f"top{k}") for one in same for k in ks]
        hits = {rank: np.stack([one.hits(rank, k) for one in same for k in ks], axis=1) for rank in same[0].truth}
        rows = with_intervals_of(rows, same[0], numbers, hits, missing)
    return rows


def _query_set(answers: Answers) -> tuple[str, tuple[str, ...]]:
    return answers.place.partition, tuple(answers.ids)


def with_intervals_of(
    measurements: Sequence[Measurement],
    queries: Answers,
    numbers: Sequence[tuple[Place, str]],
    scores: Mapping[Rank, Scores],
    missing: MissingRank,
) -> list[Measurement]:
    """The measurements, those of some numbers of the same queries with their intervals; others as they are.

    Args:
        measurements: in any order.
        queries: any retrieval of these queries, for their subsets and names.
        numbers: where each number is from, and its metric.
        scores: by rank what each query scored in each number, (queries, numbers): 0 and 1, or shares, such as a
            random key's chance.
        missing: the rule for queries without a name.
    """
    ends: dict[tuple[Place, str, str, str, str], tuple[float, float]] = {}
    for group in rank_averages(queries, scores, missing):
        columns = [(rank, place, metric) for rank in group.ranks for place, metric in numbers]
        for part, interval in bootstrap_intervals(group.averages).items():
            for (rank, place, metric), low, high in zip(columns, interval.low, interval.high, strict=True):
                ends[place, group.average, rank, part, metric] = float(low), float(high)
    rows = []
    for row in measurements:
        place = Place(row.partition, row.query, row.key, row.method, cast(KeyChoice, row.keys))
        low, high = ends.get((place, row.average, row.level, row.species, row.metric), (row.low, row.high))
        rows.append(replace(row, low=low, high=high))
    return rows
