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
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from workloads.arrays import Doubles
from workloads.averages import Averages, Codes, Part
from workloads.predictions import MISSING, Answers, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import Rank

REPLICATES = 1000
SEED = 20_250_401
CONFIDENCE = 0.95
BATCH = 100  # resamples at a time: some ten megabytes for the queries of BIOSCAN-1M

Scores = npt.NDArray[np.bool_] | npt.NDArray[np.float64]
Where = tuple[str, ...]
"""Method, partition, query, key, keys, average, level, species and metric of a measurement."""
Ends = tuple[float, float]
"""Low and high."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends for each number, (numbers,)."""

    low: Doubles
    high: Doubles


def bootstrap_intervals(
    averages: Averages, contrast: Callable[[Doubles], Doubles] | None = None, replicates: int = REPLICATES
) -> dict[Part, Interval]:
    """Percentile intervals of each part's numbers; the same resamples for all of them.

    Args:
        averages: the numbers, as functions of a draw.
        contrast: of what the intervals are, when not of the numbers themselves: (..., numbers) to (..., contrasts),
            such as the differences of paired runs.
        replicates: how many resamples.

    Returns:
        A part is left out when one of its samples has fewer than two units.
    """
    names = [name for name, count in averages.num_units.items() if count > 1]
    if not names:
        return {}
    drawable = averages.of_samples(names)
    parts = list(drawable.point())

    def statistic(*drawn: npt.NDArray[np.int64], axis: int) -> Doubles:
        draws = {name: _counts(indices) for name, indices in zip(names, drawn, strict=True)}
        values = np.stack(list(drawable.of(draws).values()))  # (parts, resamples, numbers)
        return np.moveaxis(contrast(values) if contrast else values, 1, axis)

    low, high = bootstrapped([np.arange(drawable.num_units[name]) for name in names], statistic, replicates)
    whole = len(names) == len(averages.num_units)
    return {part: Interval(*ends) for part, *ends in zip(parts, low, high, strict=True) if whole or part != "all"}


def bootstrapped(
    samples: Sequence[npt.NDArray[Any]], statistic: Callable[..., Doubles], replicates: int = REPLICATES
) -> tuple[Doubles, Doubles]:
    """Both ends of the 95 % percentile intervals of a statistic, as `scipy.stats.bootstrap` asks for it."""
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=replicates,
        batch=BATCH,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return found.low, found.high


def _counts(indices: npt.NDArray[np.int64]) -> Doubles:
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


def species_units(species: Codes) -> Codes:
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
    ends: dict[Where, Ends] = {}
    for _, group in groupby(sorted(answers, key=_query_set), key=_query_set):
        same = list(group)
        numbers = [(one.place, f"top{k}") for one in same for k in ks]
        hits = {rank: np.stack([one.hits(rank, k) for one in same for k in ks], axis=1) for rank in same[0].truth}
        ends |= interval_ends(same[0], numbers, hits, missing)
    return with_ends(measurements, ends)


def _query_set(answers: Answers) -> tuple[str, tuple[str, ...]]:
    return answers.place.partition, tuple(answers.ids)


def interval_ends(
    queries: Answers, numbers: Sequence[tuple[Place, str]], scores: Mapping[Rank, Scores], missing: MissingRank
) -> dict[Where, Ends]:
    """Both ends of the intervals of any numbers of the same queries.

    Args:
        queries: any retrieval of these queries, for their subsets and names.
        numbers: where each number is from, and its metric.
        scores: by rank what each query scored in each number, (queries, numbers): 0 and 1, or shares, such as a
            random key's chance.
        missing: the rule for queries without a name.
    """
    ends: dict[Where, Ends] = {}
    for group in rank_averages(queries, scores, missing):
        columns = [(rank, place, metric) for rank in group.ranks for place, metric in numbers]
        for part, interval in bootstrap_intervals(group.averages).items():
            for (rank, place, metric), low, high in zip(columns, interval.low, interval.high, strict=True):
                retrieval = (place.method, place.partition, place.query, place.key, place.keys)
                ends[*retrieval, group.average, rank, part, metric] = float(low), float(high)
    return ends


def with_ends(measurements: Sequence[Measurement], ends: Mapping[Where, Ends]) -> list[Measurement]:
    """The measurements, those that have an interval with it; others as they are."""
    found = []
    for row in measurements:
        retrieval = (row.method, row.partition, row.query, row.key, row.keys)
        low, high = ends.get((*retrieval, row.average, row.level, row.species, row.metric), (row.low, row.high))
        found.append(replace(row, low=low, high=high))
    return found
