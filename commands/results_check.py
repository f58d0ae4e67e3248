"""`clibd-results check`: whether our numbers are the paper's, as far as they can be compared."""

from collections import Counter
from typing import TYPE_CHECKING

import typer

from commands.options import RunsOption, existing_runs

if TYPE_CHECKING:
    from results.sheet import Cell


def check(runs: RunsOption = "runs") -> None:
    """Compare every table with the paper; exit code 1 where ours and published differ by more than noise.

    Noise: the published number lies within our 95 % interval or, of several seeds, within two standard errors of their
    mean. With 95 % intervals one in twenty differs by chance alone.
    """
    from results.comparable import differs
    from results.render import number_text, ours_text, published_text
    from results.runs import Runs
    from results.tables import NUMBERS, table_sheets

    known = Runs(existing_runs(runs))
    printed = [
        cell
        for number in NUMBERS
        for sheet in table_sheets(number, known)
        for cell in sheet.cells
        if cell.published is not None
    ]
    verdicts = [(cell, differs(cell)) for cell in printed]
    for cell, differing in verdicts:
        if differing:
            gap = number_text(cell, cell.difference, sign="+")
            typer.echo(f"{_place(cell)}: published {published_text(cell)}, ours {ours_text(cell)}, {gap}")
    compared = [differing for _, differing in verdicts if differing is not None]
    typer.echo(f"{len(compared):,} of {len(printed):,} published numbers were compared; {sum(compared):,} differ.")
    for reason, count in Counter(_why(cell) for cell, differing in verdicts if differing is None).most_common():
        typer.echo(f"{count:>7,}  {reason}")
    raise typer.Exit(1 if any(compared) else 0)


def _place(cell: "Cell") -> str:
    from results.render import value_text

    row = ", ".join(f"{name}={value_text(value)}" for name, value in cell.row.items())
    return "; ".join(filter(None, (f"Table {cell.table}", cell.rank, row, cell.block, cell.column)))


def _why(cell: "Cell") -> str:
    if cell.ours is None:
        return f"no number of ours: {cell.reason}"
    if cell.published_note:
        return f"the published number cannot be right: {cell.published_note}"
    return f"not comparable: {cell.reason}" if cell.reason else "ours has neither interval nor seeds"
