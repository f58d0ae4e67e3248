"""What a sweep prints at its end: three lines of words, the table at species level, and where the rest is."""

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from results.damage import damage_words
from results.layout import percent
from results.measured import FLOORS
from results.paper.data_statistics import COUNTED
from results.paper.tables import sheets_of, table_sheets
from results.render import render_sheets
from results.runs import Runs
from results.sheet import Cell, Sheet
from sweeps.point import Sweep
from sweeps.table import Table, pair_name
from workloads.storage import Folder

_MOST_ROWS = 22


def closing_words(sweeps: Sequence[Sweep], runs: Folder, full: bool = False) -> str:
    """What came out of sweeps, on a screen.

    Args:
        sweeps: one, or all of the paper.
        runs: folder of runs.
        full: every table whole instead.
    """
    known = Runs(runs)
    tables = [(table, sweep.name) for sweep in sweeps for table in sweep.tables]
    pairs = [(table, sheet) for table, name in tables for sheet in sheets_of(table, name, known)[-1:]]  # asked for last
    if full:
        sheets = [sheet for _, sheet in pairs]
        return "\n\n".join([render_sheets(sheets, "md"), *_damage(sheets, runs)])
    if not pairs:
        return f"No table is made of this sweep; its folders: {runs}"
    if len(sweeps) > 1:
        return _all_tables(pairs, runs)
    table, sheet = next(((table, sheet) for table, sheet in pairs if sheet.has_ours), pairs[0])
    cells = _short(sheet.cells)
    words = [f"{sweeps[0].question} {_compared(sheet)}", _came_out(table, cells), _to_the_paper(sheet.cells)]
    compact = Sheet(title="", cells=tuple(cells), headers=sheet.headers)
    rest = ", ".join(f"`clibd-results table {other.number} --runs {quote(str(runs))}`" for other, _ in pairs)
    ends = [f"Everything: {rest}", *_damage([sheet for _, sheet in pairs], runs)]
    return "\n".join([*words, "", render_sheets([compact], "md"), "", *ends])


def _damage(sheets: Sequence[Sheet], runs: Folder) -> list[str]:
    return list(filter(None, [damage_words(sheets, str(runs))]))


def _short(cells: Sequence[Cell]) -> list[Cell]:
    """At the finest rank, seen and unseen together, macro where there is that; published only where it compares."""
    shares = [cell for cell in cells if cell.unit == "share" and cell.subset in ("harmonic_mean", "all")]
    for field, wanted in (("subset", "harmonic_mean"), ("average", "macro"), ("rank", "species")):
        kept = [cell for cell in shares if getattr(cell, field) == wanted]
        shares = kept or [cell for cell in shares if getattr(cell, field) == getattr(shares[-1], field)]
    return [_compact(cell) for cell in shares[: 4 * _MOST_ROWS]]


def _compact(cell: Cell) -> Cell:
    head = pair_name(cell.query, cell.key) if cell.query and cell.key else "Top-1 accuracy"
    shown = cell if cell.comparable else replace(cell, published=None, published_note=None)
    average = f"{(cell.average or '').title()} top-1 accuracy, {cell.rank}"
    block = f"{average}, harmonic mean of seen and unseen" if cell.subset == "harmonic_mean" else average
    return replace(shown, block=block, column=head, reason=cell.reason if cell.ours is None else None)


def _compared(sheet: Sheet) -> str:
    there = len({repr(cell.row) for cell in sheet.cells if cell.runs})
    num_rows = len({repr(cell.row) for cell in sheet.cells if cell.method not in FLOORS})
    return f"{there} of {num_rows} rows have numbers. {sheet.about[0]}"


def _came_out(table: Table, cells: Sequence[Cell]) -> str:
    """The best row where images ask DNA, or else in the last column, beside chance and floors."""
    asked = [cell for cell in cells if (cell.query, cell.key) == ("image", "dna")] or cells[-1:]
    column = asked[-1].column if asked else ""
    there = [cell for cell in cells if cell.column == column and cell.ours is not None]
    ours = [c for c in there if c.method not in FLOORS and not str(c.method).endswith("_oracle")]  # who is told
    if not ours:
        return "Nothing was measured yet."
    best = max(ours, key=lambda cell: cell.ours or 0.0)
    beside = ", ".join(f"{cell.label} {percent(cell.ours)}" for cell in there if cell.method in FLOORS)
    part = "validation" if table.partition == "val" else "test"
    return (
        f"Best on {part} ({column}, species): {best.label}, {percent(best.ours)}; {beside or 'no floor is measured'}."
    )


def _to_the_paper(cells: Sequence[Cell]) -> str:
    differences = [cell.difference for cell in cells if cell.difference is not None and cell.unit == "share"]
    if differences:
        low, high = 100 * min(differences), 100 * max(differences)
        text = f"{len(differences)} accuracies can be compared with the paper's: {low:+.1f} to {high:+.1f} points."
        return text.replace("-", "−")
    ours = (cell.reason for cell in cells if cell.ours is not None and cell.unit == "share" and cell.reason)
    return f"Not compared with the paper: {next(ours, 'it has no such numbers')}."


def _all_tables(pairs: list[tuple[Table, Sheet]], runs: Folder) -> str:
    """A line a table: how much of it there is, and what came out."""
    pairs = [pair for pair in pairs if isinstance(pair[0].number, int)]
    pairs.sort(key=lambda pair: int(pair[0].number))
    counted = sum(sheet.has_ours for number in COUNTED for sheet in table_sheets(number, runs)[:1])
    everything = [cell for _, sheet in pairs for cell in sheet.cells]
    with_ours = sum(cell.ours is not None for cell in everything if cell.published is not None)
    num_printed = sum(cell.published is not None for cell in everything)
    lines = [
        f"{with_ours:,} of the {num_printed:,} published accuracies and costs have a number of ours beside them, "
        f"and {counted} of the 3 tables of statistics. Each empty cell says why.",
        _to_the_paper(everything),
        "",
    ]
    lines += [f"Table {table.number:>2}  {_came_out(table, _short(sheet.cells))}" for table, sheet in pairs]
    lines += ["", f"Everything: `clibd-results table N --runs {quote(str(runs))}`, N = 1 to 20"]
    return "\n".join([*lines, *_damage([sheet for _, sheet in pairs], runs)])
