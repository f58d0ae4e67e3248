"""What sheets lack because a run is damaged: one line below a table, and each cell where that is not to be."""

from collections.abc import Sequence
from shlex import quote

from results.layout import value_text
from results.sheet import Cell, Sheet
from workloads.errors import some_of


def damage_words(sheets: Sequence[Sheet], where: str) -> str | None:
    """How much was not read for some sheets as it is damaged, in a line; None where all was.

    Args:
        sheets: of one or more tables.
        where: folder of runs, or a run, as the next command is given it.
    """
    damaged = [name for sheet in sheets for name in sheet.damaged]
    names = list(dict.fromkeys(damaged))
    if not names:
        return None
    count = "1 run is" if len(names) == 1 else f"{len(names):,} runs are"
    return f"{count} damaged: {some_of(names, 5)}; `clibd verify {quote(where)}` says more."


def missing_for_damage(sheets: Sequence[Sheet]) -> list[str]:
    """Cells that have no number as a run is damaged, and why, a line each."""
    return [
        f"{sheet.title}: {'; '.join(filter(None, _place(cell)))}: {cell.reason}"
        for sheet in sheets
        for cell in sheet.cells
        if cell.ours is None and any(problem in (cell.reason or "") for problem in sheet.damaged.values())
    ]


def _place(cell: Cell) -> tuple[str | None, ...]:
    return row_words(cell), cell.rank, cell.block, cell.column


def row_words(cell: Cell) -> str:
    """What names a cell's row."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in cell.row.items())
