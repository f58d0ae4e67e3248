"""Two evaluations of the same queries: differences of accuracies, their intervals, and whether chance explains them.

    interval   paired bootstrap (`workloads.intervals`): both runs are measured on the same resamples
    p-value    McNemar's exact test for micro accuracy of seen and of unseen queries, elsewhere a paired permutation
               test (`results.comparison.paired_tests`)
    Holm       over all rows that are asked for together (statsmodels)

A bootstrap of n resamples knows no p-value below 2/n, and is too sure where few queries differ; so it gives intervals,
and the tests, which are exact there, give p-values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from operator import attrgetter

import numpy as np
from statsmodels.stats.multitest import multipletests

from results.comparison.paired_tests import SMALLEST_P, PairedTest, differences, halves, mcnemar_p, permutation_p
from results.evaluated import PairedAnswers, Pairing, pair
from results.measured import BASELINES, BESIDE, METHODS, measured_cell
from results.sheet import Cell, Sheet
from workloads.averages import SAMPLES, Part
from workloads.intervals import REPLICATES, RankAverages, bootstrap_intervals, rank_averages
from workloads.predictions import Answers, MissingRank, Place
from workloads.record import Measurement, RunFolder
from workloads.spec import Rank
from workloads.storage import Folder

_PARTS: tuple[Part, ...] = (*SAMPLES, "harmonic_mean")
_RETRIEVAL = attrgetter("partition", "query", "key", "keys")
"""Which retrieval a place, or a measurement there, is of."""
_ROW = attrgetter("partition", "query", "key", "keys", "level", "average", "species")
"""What the measurements of both runs, and the baselines, have in common in a row."""
_SIGNIFICANT = 0.05
_MISSING = {
    "left_out": "Queries without a name at a rank are left out there.",
    "a_class": "Queries without a name at a rank are a class of their own there, as in the authors' code.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs at one place; what they have in common is in both measurements."""

    first: Measurement
    second: Measurement
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
        return self.second.value - self.first.value

    @property
    def better(self) -> str | None:
        """`A` for the first run, `B` for the second; None where the corrected test cannot tell."""
        if self.p_holm >= _SIGNIFICANT or self.difference == 0:
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
    by_queries: dict[tuple[str, tuple[str, ...]], list[PairedAnswers]] = {}  # these share their resamples
    for first, second in pairs:
        by_queries.setdefault((first.place.partition, tuple(first.ids)), []).append((first, second))
    rows = [row for same in by_queries.values() for row in _rows(same, missing, ranks)]
    if not rows:
        return []
    retrievals = [_RETRIEVAL(first.place) for first, _ in pairs]
    # Stable: the rest is in order.
    rows.sort(key=lambda row: (retrievals.index(_RETRIEVAL(row.first)), ranks.index(row.first.level)))
    corrected = multipletests([row.p for row in rows], method="holm")[1]
    return [replace(row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]


def _rows(pairs: Sequence[PairedAnswers], missing: MissingRank, ranks: Sequence[Rank]) -> Iterator[Comparison]:
    """Every row of retrievals of the same queries."""
    answers = [one for run in zip(*pairs, strict=True) for one in run]  # of the first run, then of the second
    hits = {rank: np.stack([one.hits(rank) for one in answers], axis=1) for rank in ranks}
    for group in rank_averages(answers[0], hits, missing):
        yield from _rows_of(group, pairs, missing)


def _rows_of(group: RankAverages, pairs: Sequence[PairedAnswers], missing: MissingRank) -> Iterator[Comparison]:
    """The rows of the ranks at which the same queries count."""
    num_ranks = len(group.ranks)
    values = group.averages.point()
    intervals = bootstrap_intervals(group.averages, partial(differences, num_ranks=num_ranks))
    permuted = permutation_p(group.averages, num_ranks)
    for part in _PARTS:
        if part not in values:
            continue
        first, second = halves(values[part], num_ranks)
        ends = intervals.get(part)
        for column, (rank, (one, other)) in enumerate(product(group.ranks, pairs)):
            exact = group.average == "micro" and part != "harmonic_mean"
            asked = one.counted(rank, missing) & (one.subset == part)
            count = _count(one, rank, group.average, part, missing)
            place = {**asdict(one.place), "average": group.average, "level": rank, "species": part, "count": count}
            yield Comparison(
                first=Measurement(**place, value=float(first[column])),
                second=Measurement(**place, value=float(second[column])),
                low=float(ends.low[column]) if ends else None,
                high=float(ends.high[column]) if ends else None,
                test="McNemar" if exact else "permutation",
                p=mcnemar_p(one.hits(rank)[asked], other.hits(rank)[asked]) if exact else float(permuted[part][column]),
            )


def _count(answers: Answers, rank: Rank, average: str, part: Part, missing: MissingRank) -> int:
    """Queries or classes behind a value."""
    if part == "harmonic_mean":
        return min(_count(answers, rank, average, sample, missing) for sample in SAMPLES)
    truth = answers.truth[rank][answers.counted(rank, missing) & (answers.subset == part)]
    return len(truth) if average == "micro" else len(np.unique(truth))


# --- The sheet ----------------------------------------------------------------------------------------------------


def comparison_sheet(
    first: Folder, second: Folder, partition: str | None, ranks: Sequence[Rank], every: bool = False
) -> Sheet:
    """Compare two evaluated folders.

    Args:
        first: run A.
        second: run B.
        partition: `val` or `test`; None for both.
        ranks: which to compare.
        every: whether all retrievals are compared, or those of the paper's tables.

    Raises:
        MissingPathError: nothing was evaluated there.
        IncomparableError: the runs were not asked the same.
    """
    pairing = pair(first, second, partition, every)
    rows = compare(pairing.pairs, pairing.facts["missing_rank"], ranks)
    measurements = RunFolder(first).measurements() if first.has("measurements.parquet") else []
    # What has learned nothing: chance and majority are of the same queries and keys in both runs.
    beside = [m for m in measurements if m.method in BESIDE and (m.metric, m.queries) == ("top1", "all")]
    cells = tuple(cell for row in rows for cell in _cells(row, pairing, beside, (str(first), str(second))))
    return Sheet(
        title="B against A, top-1 accuracy",
        cells=cells,
        about=(f"A: {first}", f"B: {second}", *_caveats(pairing)),
        notes=tuple(_notes(rows, pairing.facts["missing_rank"], bool(beside))),
        headers={"partition": "Queries"},
        show_rank=True,
    )


def _cells(row: Comparison, pairing: Pairing, beside: Sequence[Measurement], runs: tuple[str, str]) -> Iterator[Cell]:
    """The cells of a row: both values, their difference, what neither has learned, and whether chance explains it."""
    of = row.first
    names = {
        "partition": of.partition,
        "retrieval": _retrieval(of),
        "average": of.average,
        "species": "H.M." if of.species == "harmonic_mean" else of.species,
        "n": of.count,
        "test": row.test,
        "better": row.better or "–",
    }
    known = measured_cell(pairing.facts, of, table="compare", row=names, column="")
    common = replace(known, method=None, ours=None, runs=runs, contamination=None)
    yield replace(common, column="A", ours=of.value, runs=runs[:1], method="clibd")
    yield replace(common, column="B", ours=row.second.value, runs=runs[1:], method="clibd")
    yield replace(common, column="B − A", ours=row.difference, unit="points", low=row.low, high=row.high)
    for baseline in (baseline for baseline in beside if _ROW(baseline) == _ROW(of)):
        yield replace(common, column=METHODS[baseline.method], ours=baseline.value, method=baseline.method, runs=())
    yield replace(common, column="p", ours=row.p, unit="p")
    yield replace(common, column="p (Holm)", ours=row.p_holm, unit="p")


def _retrieval(place: Place | Measurement) -> str:
    among = "" if place.keys == "all" else f", {place.keys} keys"
    return f"{place.query} to {place.key}{among}"


def _caveats(pairing: Pairing) -> list[str]:
    """What a reader must know before reading the numbers."""
    lines = []
    if pairing.facts.get("synthetic"):
        lines.append(
            "These are numbers of SYNTHETIC insects: they show that the pipeline works, not how CLIBD performs."
        )
    if not pairing.same_data:
        lines.append("A and B were evaluated on different versions of the data: their keys may differ.")
    for run, places in (("A", pairing.only_first), ("B", pairing.only_second)):
        if places:
            names = ", ".join(f"{_retrieval(place)} ({place.partition})" for place in places)
            lines.append(f"Not compared, as only {run} has them: {names}.")
    return lines


def _notes(rows: Sequence[Comparison], missing: MissingRank, has_baselines: bool) -> list[str]:
    """What the columns are."""
    notes = [
        "A and B in percent, their difference in percentage points. n: queries (micro) or classes (macro); of the "
        f"harmonic mean the smaller of its two. {_MISSING[missing]}",
        f"Interval: 95 %, paired percentile bootstrap with {REPLICATES:,} resamples, over queries for micro and over "
        "species for macro. It is of this row alone: not corrected for the number of rows.",
        "Test: McNemar's, exact; or swapping the runs in queries (micro) or species (macro) at random. "
        f"Better: p < {_SIGNIFICANT} after Holm's correction over the {len(rows)} rows above.",
    ]
    if has_baselines:
        notes.append(BASELINES)
    if len(rows) * SMALLEST_P >= _SIGNIFICANT:
        notes.append(
            f"With {len(rows)} rows a permutation test, whose p is never below {SMALLEST_P:g}, may find nothing "
            "at all: choose a partition, or fewer ranks."
        )
    return notes
