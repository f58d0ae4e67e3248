"""The sheet of two runs' differences, with what a reader must know to read it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.comparison.compare import SIGNIFICANT, Comparison, compare
from results.comparison.paired_answers import Pairing, pair
from results.comparison.paired_tests import SMALLEST_P
from results.measured.evaluation import BASELINES, BESIDE, METHODS
from results.sheet import Cell, Sheet, Unit
from workloads.intervals import REPLICATES
from workloads.predictions import MissingRank, Place
from workloads.record import Measurement, RunFolder
from workloads.spec import Rank
from workloads.storage import Folder

_MISSING = {
    "left_out": "Queries without a name at a rank are left out there.",
    "a_class": "Queries without a name at a rank are a class of their own there, as in the authors' code.",
}
_PARTS = {"seen": "seen", "unseen": "unseen", "harmonic_mean": "H.M."}


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
    rows = compare(pairing.pairs, pairing.missing, ranks)
    has_measurements = first.has("measurements.parquet")
    beside = _baselines(RunFolder(first).measurements() if has_measurements else [])
    cells = tuple(cell for row in rows for cell in _cells(row, pairing, beside, (str(first), str(second))))
    return Sheet(
        title="B against A, top-1 accuracy",
        cells=cells,
        about=(f"A: {first}", f"B: {second}", *_caveats(pairing)),
        notes=tuple(_notes(rows, pairing.missing, bool(beside))),
        headers={"partition": "Queries"},
        show_rank=True,
    )


def _baselines(measurements: Sequence[Measurement]) -> dict[tuple[str, ...], list[Measurement]]:
    """What has learned nothing, by place: chance and majority are of the same queries and keys in both runs."""
    found: dict[tuple[str, ...], list[Measurement]] = {}
    for row in measurements:
        if row.method in BESIDE and (row.metric, row.queries) == ("top1", "all"):
            place = (row.partition, row.query, row.key, row.keys, row.level, row.average, row.species)
            found.setdefault(place, []).append(row)
    return found


def _cells(
    row: Comparison, pairing: Pairing, beside: Mapping[tuple[str, ...], list[Measurement]], runs: tuple[str, str]
) -> Iterator[Cell]:
    """The cells of a row: both values, their difference, what neither has learned, and whether chance explains it."""
    place = row.place
    baselines = beside.get(
        (place.partition, place.query, place.key, place.keys, row.level, row.average, row.species), ()
    )

    def cell(column: str, value: float, unit: Unit = "share", which: tuple[str, ...] = runs, **more: Any) -> Cell:
        return Cell(
            table="compare",
            row={
                "partition": place.partition,
                "retrieval": _retrieval(place),
                "average": row.average,
                "species": _PARTS[row.species],
                "n": row.count,
                "test": row.test,
                "better": row.better or "–",
            },
            column=column,
            partition=place.partition,
            rank=row.level,
            average=row.average,
            subset=row.species,
            query=place.query,
            key=place.key,
            k=1,
            unit=unit,
            ours=value,
            n=row.count,
            runs=which,
            recipe=pairing.facts["recipe"],
            dataset=pairing.facts["dataset"],
            synthetic=pairing.facts["synthetic"],
            **more,
        )

    yield cell("A", row.first, which=runs[:1], method="clibd")
    yield cell("B", row.second, which=runs[1:], method="clibd")
    yield cell("B − A", row.difference, "points", low=row.low, high=row.high)
    yield from (cell(METHODS[known.method], known.value, method=known.method, which=()) for known in baselines)
    yield cell("p", row.p, "p")
    yield cell("p (Holm)", row.p_holm, "p")


def _retrieval(place: Place) -> str:
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
        f"Better: p < {SIGNIFICANT} after Holm's correction over the {len(rows)} rows above.",
    ]
    if has_baselines:
        notes.append(BASELINES)
    if len(rows) * SMALLEST_P >= SIGNIFICANT:
        notes.append(
            f"With {len(rows)} rows a permutation test, whose p is never below {SMALLEST_P:g}, may find nothing "
            "at all: choose a partition, or fewer ranks."
        )
    return notes
