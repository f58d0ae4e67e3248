"""The table of two runs' differences as Markdown, CSV or JSON, with what a reader must know to read it."""

from collections.abc import Sequence
from typing import Any

from results.comparison import SIGNIFICANT, Comparison, compare
from results.paired_answers import Pairing, pair
from results.paired_tests import SMALLEST_P
from results.render import Format, as_percent, grid, percent, percentage_points, records_text
from workloads.intervals import REPLICATES
from workloads.predictions import MissingRank, Place
from workloads.spec import Rank
from workloads.storage import Folder

_MISSING = {
    "left_out": "Queries without a name at a rank are left out there.",
    "a_class": "Queries without a name at a rank are a class of their own there, as in the authors' code.",
}
_PARTS = {"seen": "seen", "unseen": "unseen", "harmonic_mean": "H.M."}


def render_comparison(
    first: Folder, second: Folder, partition: str | None, ranks: Sequence[Rank], form: Format, every: bool = False
) -> str:
    """Compare two evaluated folders.

    Args:
        first: run A.
        second: run B.
        partition: `val` or `test`; None for both.
        ranks: which to compare.
        form: how the table is printed.
        every: whether all retrievals are compared, or those of the paper's tables.

    Raises:
        MissingPathError: nothing was evaluated there.
        IncomparableError: the runs were not asked the same.
    """
    pairing = pair(first, second, partition, every)
    rows = compare(pairing.pairs, pairing.missing, ranks)
    if form != "md":
        return records_text([_record(first, second, row, pairing) for row in rows], form)
    parts = [
        f"# B against A, top-1 accuracy\n\nA: {first}\nB: {second}",
        *_caveats(pairing),
        _grid(rows),
        *_notes(rows, pairing.missing),
    ]
    return "\n\n".join(parts)


def _record(first: Folder, second: Folder, row: Comparison, pairing: Pairing) -> dict[str, Any]:
    """Long form: one record a row; shares as percent, like every table."""
    place = row.place
    shares = {"a": row.first, "b": row.second, "difference": row.difference, "low": row.low, "high": row.high}
    return {
        "run_a": str(first),
        "run_b": str(second),
        "dataset": pairing.facts["dataset"],
        "synthetic": pairing.facts["synthetic"],
        "missing_rank": pairing.missing,
        "partition": place.partition,
        "query": place.query,
        "key": place.key,
        "keys": place.keys,
        "level": row.level,
        "average": row.average,
        "species": row.species,
        "metric": "top1",
        "unit": "percent",
        "count": row.count,
        **{name: as_percent(share) for name, share in shares.items()},
        "test": row.test,
        "p": row.p,
        "p_holm": row.p_holm,
        "better": row.better,
    }


def _grid(rows: Sequence[Comparison]) -> str:
    headers = ["Queries", "Retrieval", "Taxa", "Average", "Species", "n"]
    headers += ["A", "B", "B − A", "95 % interval", "Test", "p", "p (Holm)", "Better"]
    return grid(headers, [_texts(row) for row in rows])


def _texts(row: Comparison) -> list[str]:
    place = [row.place.partition, _retrieval(row.place), row.level, row.average, _PARTS[row.species], str(row.count)]
    values = [percent(row.first), percent(row.second), percentage_points(row.difference), _interval(row)]
    return [*place, *values, row.test, _p_text(row.p), _p_text(row.p_holm), row.better or "–"]


def _retrieval(place: Place) -> str:
    among = "" if place.keys == "all" else f", {place.keys} keys"
    return f"{place.query} to {place.key}{among}"


def _interval(row: Comparison) -> str:
    if row.low is None or row.high is None:
        return "–"
    return f"[{percentage_points(row.low)}, {percentage_points(row.high)}]"


def _p_text(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


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


def _notes(rows: Sequence[Comparison], missing: MissingRank) -> list[str]:
    """What the columns are."""
    notes = [
        "A and B in percent, their difference in percentage points. n: queries (micro) or classes (macro); of the "
        f"harmonic mean the smaller of its two. {_MISSING[missing]}",
        f"Interval: 95 %, paired percentile bootstrap with {REPLICATES:,} resamples, over queries for micro and over "
        "species for macro. It is of this row alone: not corrected for the number of rows.",
        "Test: McNemar's, exact; or swapping the runs in queries (micro) or species (macro) at random. "
        f"Better: p < {SIGNIFICANT} after Holm's correction over the {len(rows)} rows above.",
    ]
    if len(rows) * SMALLEST_P >= SIGNIFICANT:
        notes.append(
            f"With {len(rows)} rows a permutation test, whose p is never below {SMALLEST_P:g}, may find nothing "
            "at all: choose a partition, or fewer ranks."
        )
    return notes
