"""What of a sheet stands where, block by block, as text: the one way to lay it out, for print and for pages.

The only place where shares become percent to read.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from results.sheet import PERCENT, Cell, Sheet
from sweeps.table import Value

_INTERVALS = "In brackets, for single runs: 95 % bootstrap intervals over queries (micro) or classes (macro)."
_PUBLISHED = "Published: Gong et al., ICLR 2025 (arXiv:2405.17537), Table {}."
_DASH = "–"


# --- Numbers ------------------------------------------------------------------------------------------------------


def percent(value: float | None) -> str:
    """A share as percent, small ones with two decimals."""
    return _DASH if value is None else f"{100 * value:.2f}" if value < 0.01 else f"{100 * value:.1f}"


def number_text(cell: Cell, value: float | None, decimals: int | None = None, sign: str = "") -> str:
    """A cell's number as printed: percent, or whole numbers with separators, or three significant digits."""
    if value is None:
        return _DASH
    if cell.unit == "p":
        return "<0.0001" if value < 0.0001 else f"{value:.4f}"
    sign = "+" if cell.unit == "points" else sign
    value = 100 * value if cell.unit in PERCENT else value
    if cell.unit in PERCENT or decimals is not None:
        digits = 1 if decimals is None else decimals
        text = f"{round(value, digits) + 0.0:{sign},.{digits}f}"  # never -0.0
    else:
        text = f"{value:{sign},.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:{sign}.3g}"
    return text.replace("-", "−")


def published_text(cell: Cell, decimals: int | None = None) -> str:
    """The published number with the decimals it was printed with."""
    if cell.published is None or decimals is not None or cell.unit not in ("share", "hours", "GB"):
        return number_text(cell, cell.published, decimals)
    return str(round(100 * cell.published if cell.unit == "share" else cell.published, 2))


def ours_text(cell: Cell, decimals: int | None = None) -> str:
    """Our value: with its standard error and the number of runs when there are several, else with its interval."""
    numbers = (cell.ours, cell.standard_error, cell.low, cell.high)
    value, error, low, high = (number_text(cell, number, decimals) for number in numbers)
    if cell.standard_error is not None:
        return f"{value} ± {error} (n={len(cell.runs)})"
    return f"{value} [{low}, {high}]" if cell.low is not None and cell.high is not None else value


# --- A sheet, block by block --------------------------------------------------------------------------------------


class Spot(NamedTuple):
    """What stands in a row under a header; of names of rows the column is empty and the part is the name."""

    column: str
    part: str
    """Which of the column's numbers: `paper`, `ours` or `diff`."""
    text: str
    best: bool = False
    """Whether it is the best of ours."""
    cell: Cell | None = None
    """Whose number it is."""


class Laid:
    """A sheet, block by block, with the marks of its footnotes."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.blocks = {name: [c for c in sheet.cells if c.block == name] for name in _distinct(sheet.cells, "block")}
        printed = [cell for cell in sheet.cells if cell.published is not None]
        self.columns, self.tables = _distinct(printed, "column"), _distinct(printed, "table")
        self.notes = list(filter(None, _distinct(printed, "published_note")))
        self.reasons = list(filter(None, _distinct([cell for cell in sheet.cells if cell.ours is None], "reason")))
        apart = _distinct([cell for cell in printed if cell.ours is not None and not cell.comparable], "reason")
        self.apart = list(dict.fromkeys(part for reason in filter(None, apart) for part in reason.split("; ")))


def _distinct(cells: Sequence[Cell], field: str) -> list[Any]:
    return list(dict.fromkeys(getattr(cell, field) for cell in cells))


def _text(shown: Laid, cell: Cell | None, part: str) -> str:
    decimals = shown.sheet.decimals
    if cell is None:
        return _DASH
    if part == "paper":
        return published_text(cell, decimals) + _star(shown, cell.published_note)
    if part == "diff":
        return number_text(cell, cell.difference, decimals, "+")
    if cell.ours is None and cell.reason:
        return f"{_DASH} [{shown.reasons.index(cell.reason) + 1}]"
    return ours_text(cell, decimals)


def _star(shown: Laid, note: str | None) -> str:
    if note not in shown.notes:
        return ""
    return "*" if len(shown.notes) == 1 else f"*{shown.notes.index(note) + 1}"


def words_below(shown: Laid) -> list[str]:
    """What stands below the blocks, a line each."""
    cells, tables = shown.sheet.cells, [table for table in shown.tables if table.isdigit()]
    told = [(cell.label, (cell.contamination or "").partition("; ")[2]) for cell in cells]
    return [
        *([_PUBLISHED.format(", ".join(tables))] if tables else []),
        *(["Accuracies in percent."] if any(cell.unit == "share" for cell in cells) else []),
        *([_INTERVALS] if any(cell.low is not None for cell in cells) else []),
        *([f"No difference to the paper is given: {'; '.join(shown.apart)}"] if shown.apart else []),
        *(f"Marked {_star(shown, note)}: {note}" for note in shown.notes),
        *(f"[{number}] {reason}" for number, reason in enumerate(shown.reasons, 1)),
        *dict.fromkeys(f"{label}: {rest}" for label, rest in told if label and rest),
        *shown.sheet.notes,
    ]


def lines_of(shown: Laid, cells: Sequence[Cell]) -> list[list[Spot]]:
    """The rows of a block in the order of its cells, each with the same headers."""
    sheet = shown.sheet
    rows: dict[tuple[Any, ...], dict[str, Cell]] = {}
    for cell in cells:
        name = (cell.rank if sheet.show_rank else None, tuple(cell.row.items()), cell.label)
        rows.setdefault(name, {}).setdefault(cell.column, cell)
    best, labelled = _best(sheet, cells), any(cell.label for cell in cells)
    trained = {cell.label: cell.contamination.partition("; ")[0] for cell in cells if cell.contamination}
    parts = [(column, part) for column in _distinct(cells, "column") for part in _parts(cells, column)]
    return [
        [
            *([Spot("", "Taxa", str(rank or _DASH))] if sheet.show_rank else []),
            *(Spot("", field_name(sheet, field), value_text(value)) for field, value in names),
            *([Spot("", "Run", label or "not run")] if labelled else []),
            *([Spot("", "Seen in training", trained.get(label, _DASH))] if any(trained) else []),
            *(_number_spot(shown, in_row.get(column), column, part, best) for column, part in parts),
        ]
        for (rank, names, label), in_row in rows.items()
    ]


def _number_spot(shown: Laid, cell: Cell | None, column: str, part: str, best: Collection[int]) -> Spot:
    return Spot(column, part, _text(shown, cell, part), part == "ours" and id(cell) in best, cell)


def field_name(sheet: Sheet, field: str) -> str:
    """What a field of a sheet's rows is called."""
    return sheet.headers.get(field, field if len(field) == 1 else field.replace("_", " ").capitalize())


def _parts(cells: Sequence[Cell], column: str) -> tuple[str, ...]:
    """Which numbers of a column there are; a difference in all columns of a block or in none."""
    if not any(cell.published is not None for cell in cells if cell.column == column):
        return ("ours",)
    return ("paper", "ours", "diff") if any(cell.difference is not None for cell in cells) else ("paper", "ours")


def _best(sheet: Sheet, cells: Sequence[Cell]) -> set[int]:
    """`id` of our best accuracies of each column, and each rank where that is a column.

    Floors are not ours, and who is told whether a query's species is seen competes with none.
    """
    places: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for cell in cells:
        told = (cell.method or "").endswith("_oracle")
        if cell.unit == "share" and cell.ours is not None and cell.runs and not told:
            place = (cell.column, cell.rank if sheet.show_rank else None)
            places.setdefault(place, []).append((cell.ours, id(cell)))
    several = [there for there in places.values() if len(there) > 1]
    return {number for there in several for ours, number in there if ours == max(there)[0]}


def counts_below(cells: Sequence[Cell]) -> str:
    """How many queries or classes are behind our numbers of a block, by rank where they differ."""
    by_rank: dict[str, dict[str, set[int]]] = {}
    for cell in cells:
        if cell.ours is not None and cell.n is not None and "n" not in cell.row:
            by_rank.setdefault(cell.rank or "", {}).setdefault(cell.column, set()).add(cell.n)
    if not by_rank:
        return ""
    texts = {rank: ", ".join(f"{column} {_range(n)}" for column, n in by.items()) for rank, by in by_rank.items()}
    whole = (
        [f"{rank} {text}" for rank, text in texts.items()] if len(set(texts.values())) > 1 else [*texts.values()][:1]
    )
    averages = _distinct(cells, "average")
    of = {"micro": "queries", "macro": "classes"}.get(averages[0] or "") if len(averages) == 1 else None
    return f"{f'Number of {of}' if of else 'n'}: {'; '.join(whole)}"


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def value_text(value: Value) -> str:
    """A field of a row as printed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(value) or "none" if isinstance(value, tuple) else _DASH if value is None else str(value)
