"""Sheets of cells as Markdown, CSV, JSON, LaTeX or HTML. The only place where shares become percent.

CSV and JSON are one long form, a record a cell, with the same fields and units whatever printed it. The others show a
sheet block by block; all names come from users' files, so each form escapes them.
"""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import pandas as pd

from results.sheet import Cell, Sheet, Unit
from sweeps.table import Value

Format = Literal["md", "csv", "json", "latex", "html"]

INTERVALS = "In brackets, for single runs: 95 % bootstrap intervals over queries (micro) or classes (macro)."
PUBLISHED = "Published: Gong et al., ICLR 2025 (arXiv:2405.17537), Table {}."
_DASH = "–"
_NUMBER = re.compile(r"[−+<]?\d[\d.,e−+]*(\*\d*)?( ± .*| \[.*\])?|–( \[\d+\])?")
"""What `number_text` and `ours_text` print, and p-values below what is shown."""
_UNITS: Mapping[Unit, str] = {"share": "percent", "points": "percentage points"}
"""What shares and their differences are called where they have become percent."""
_SCALED = ("published", "ours", "low", "high", "standard_error", "difference")
RECORD = (
    *("table", "row", "block", "column", "label", "method", "partition", "rank", "average", "subset", "query", "key"),
    *("k", "unit", "published", "ours", "low", "high", "n", "standard_error", "difference", "comparable", "reason"),
    *("published_note", "runs", "recipe", "dataset", "synthetic", "scale", "contamination"),
)
"""Fields of the long form, in order."""
_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
        **{"–": "--", "−": "$-$", "±": r"$\pm$", "<": "$<$", ">": "$>$", "\n": " "},
        "[": "{[}",  # at the head of a row it would be an argument of the line break before
    }
)


def render_sheets(sheets: Sequence[Sheet], form: Format) -> str:
    """Sheets as text that ends without a line break.

    Args:
        sheets: in the order of print.
        form: md, latex and html to read; csv and json are long form, with a record for each cell.
    """
    if form in ("csv", "json"):
        return records_text([record(cell) for sheet in sheets for cell in sheet.cells], form)
    return "\n\n".join(_SHOWN[form](sheet, number) for number, sheet in enumerate(sheets, 1))


# --- Long form ----------------------------------------------------------------------------------------------------


def record(cell: Cell) -> dict[str, Any]:
    """A cell as CSV and JSON have it, with shares in percent and `row` as an object."""
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in cell.row.items()}
    own: dict[str, Any] = {"row": row, "runs": list(cell.runs), "unit": _UNITS.get(cell.unit, cell.unit)}
    own |= {name: _scaled(cell.unit, getattr(cell, name)) for name in _SCALED}
    return {name: own[name] if name in own else getattr(cell, name) for name in RECORD}


def cell_from_record(found: Mapping[str, Any]) -> Cell:
    """The cell that `record` wrote down."""
    units: dict[str, Unit] = {name: unit for unit, name in _UNITS.items()}
    unit: Unit = units.get(found["unit"], found["unit"])
    values = {name: found[name] for name in RECORD if name != "difference"}
    for name in _SCALED[:-1] if unit in _UNITS else ():
        values[name] = None if values[name] is None else values[name] / 100
    row = {name: tuple(value) if isinstance(value, list) else value for name, value in found["row"].items()}
    return Cell(**{**values, "row": row, "runs": tuple(found["runs"]), "unit": unit})


def _scaled(unit: Unit, value: float | None) -> float | None:
    if value is None or unit == "p":
        return value
    return round(100 * value, 4) if unit in _UNITS else round(value, 6)


def records_text(records: Sequence[Mapping[str, Any]], form: Literal["csv", "json"]) -> str:
    """Records of the same fields, as text that ends without a line break; CSV of none is empty."""
    if form == "json":
        return json.dumps(records, indent=1, ensure_ascii=False)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_text(value) for name, value in record.items()} for record in records)
    return sink.getvalue().rstrip("\n")


def _csv_text(value: Any) -> Any:
    """Lists and objects as words; text that a spreadsheet would take for a formula is quoted, numbers are not."""
    if isinstance(value, Mapping):
        value = "; ".join(f"{name}={_plain(field)}" for name, field in value.items())
    value = " ".join(value) if isinstance(value, list) else value
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _plain(value: Any) -> str:
    return "" if value is None else "+".join(value) if isinstance(value, list) else str(value)


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
    value = 100 * value if cell.unit in _UNITS else value
    if cell.unit in _UNITS or decimals is not None:
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


class _Shown:
    """A sheet with the marks of its footnotes."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        printed = [cell for cell in sheet.cells if cell.published is not None]
        self.columns = {cell.column for cell in printed}
        self.tables = _distinct(cell.table for cell in printed if cell.table.isdigit())
        self.notes = _distinct(cell.published_note for cell in printed)
        self.reasons = _distinct(cell.reason for cell in sheet.cells if cell.ours is None)
        apart = [cell.reason for cell in printed if cell.ours is not None and cell.reason and not cell.comparable]
        self.apart = _distinct(part for reason in apart for part in reason.split("; "))
        self.blocks = _distinct_blocks(sheet.cells)

    def below(self) -> list[str]:
        """What stands below the blocks, a line each."""
        cells = self.sheet.cells
        told = [(cell.label, *(cell.contamination or "").partition("; ")) for cell in cells]
        seen = _distinct(f"{label}: {rest}" for label, _, _, rest in told if label and rest)
        return [
            *([PUBLISHED.format(", ".join(self.tables))] if self.tables else []),
            *(["Accuracies in percent."] if any(cell.unit == "share" for cell in cells) else []),
            *([INTERVALS] if any(cell.low is not None for cell in cells) else []),
            *([f"No difference to the paper is given: {'; '.join(self.apart)}"] * bool(self.apart)),
            *(f"Marked {self._star(note)}: {note}" for note in self.notes),
            *(f"[{number}] {reason}" for number, reason in enumerate(self.reasons, 1)),
            *seen,
            *self.sheet.notes,
        ]

    def lines(self, block: str) -> list[list[Spot]]:
        """The rows of a block in the order of its cells, each with the same headers."""
        cells = self.blocks[block]
        columns = list(dict.fromkeys(cell.column for cell in cells))
        rows: dict[tuple[Any, ...], dict[str, Cell]] = {}
        for cell in cells:
            name = (cell.rank if self.sheet.show_rank else None, tuple(cell.row.items()), cell.label)
            rows.setdefault(name, {}).setdefault(cell.column, cell)
        best, labelled = self._best(cells), any(cell.label for cell in cells)
        trained = {cell.label: cell.contamination.partition("; ")[0] for cell in cells if cell.contamination}
        parts = [(column, part) for column in columns for part in self._parts(cells, column)]
        return [
            [
                *([Spot("", "Taxa", str(rank or _DASH))] if self.sheet.show_rank else []),
                *(Spot("", self._field(field), value_text(value)) for field, value in names),
                *([Spot("", "Run", label or "not run")] if labelled else []),
                *([Spot("", "Seen in training", trained.get(label, _DASH))] if any(trained) else []),
                *(self._spot(found.get(column), column, part, best) for column, part in parts),
            ]
            for (rank, names, label), found in rows.items()
        ]

    def counts(self, block: str) -> str | None:
        """How many queries or classes are behind our numbers of a block, by rank where they differ."""
        found: dict[str, dict[str, set[int]]] = {}
        for cell in self.blocks[block]:
            if cell.ours is not None and cell.n is not None and "n" not in cell.row:
                found.setdefault(cell.rank or "", {}).setdefault(cell.column, set()).add(cell.n)
        texts = {rank: ", ".join(f"{column} {_range(n)}" for column, n in by.items()) for rank, by in found.items()}
        averages = {cell.average for cell in self.blocks[block]}
        of = {"micro": "queries", "macro": "classes"}.get(averages.pop() or "", "") if len(averages) == 1 else ""
        whole = "; ".join(f"{rank} {text}" for rank, text in texts.items())
        whole = next(iter(texts.values())) if len(set(texts.values())) == 1 else whole
        return f"{f'Number of {of}' if of else 'n'}: {whole}" if texts else None

    def header(self, column: str, part: str) -> str:
        """One line in place of two."""
        if not column or column not in self.columns:
            return column or part
        return f"{column}, paper" if part == "paper" else part

    def _field(self, field: str) -> str:
        return self.sheet.headers.get(field, field if len(field) == 1 else field.replace("_", " ").capitalize())

    def _parts(self, cells: Sequence[Cell], column: str) -> tuple[str, ...]:
        """Which numbers of a column there are; a difference in all columns of a block or in none."""
        if not any(cell.published is not None for cell in cells if cell.column == column):
            return ("ours",)
        return ("paper", "ours", "diff") if any(cell.difference is not None for cell in cells) else ("paper", "ours")

    def _best(self, cells: Sequence[Cell]) -> set[int]:
        """`id` of our best accuracies of each column, and each rank where that is a column; floors are not ours."""
        places: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in cells:
            told = (cell.method or "").endswith(
                "_oracle"
            )  # whether a query's species is seen, so it competes with none
            if cell.unit == "share" and cell.ours is not None and cell.runs and not told:
                places.setdefault((cell.column, cell.rank if self.sheet.show_rank else None), []).append(cell)
        of_several = [there for there in places.values() if len(there) > 1]
        highest = [max(cell.ours or 0.0 for cell in there) for there in of_several]
        return {id(cell) for top, there in zip(highest, of_several, strict=True) for cell in there if cell.ours == top}

    def _spot(self, cell: Cell | None, column: str, part: str, best: Collection[int]) -> Spot:
        return Spot(column, part, self._text(cell, part), part == "ours" and id(cell) in best)

    def _text(self, cell: Cell | None, part: str) -> str:
        decimals = self.sheet.decimals
        if cell is None:
            return _DASH
        if part == "paper":
            return published_text(cell, decimals) + self._star(cell.published_note)
        if part == "diff":
            return number_text(cell, cell.difference, decimals, "+")
        if cell.ours is None and cell.reason:
            return f"{_DASH} [{self.reasons.index(cell.reason) + 1}]"
        return ours_text(cell, decimals)

    def _star(self, note: str | None) -> str:
        if note not in self.notes:
            return ""
        return "*" if len(self.notes) == 1 else f"*{self.notes.index(note) + 1}"


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _distinct_blocks(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.block, []).append(cell)
    return found


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def value_text(value: Value) -> str:
    """A field of a row as printed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(value) or "none" if isinstance(value, tuple) else _DASH if value is None else str(value)


# --- Markdown -----------------------------------------------------------------------------------------------------


def _markdown(sheet: Sheet, number: int) -> str:
    shown = _Shown(sheet)
    parts = [*([f"# {sheet.title}"] if sheet.title else []), *sheet.about]
    parts = [_one_line(text) for text in parts]
    for block in shown.blocks:
        lines = shown.lines(block)
        headers = [shown.header(spot.column, spot.part) for spot in lines[0]]
        parts += [f"## {_one_line(block)}"] if block else []
        parts += [grid(headers, [[spot.text for spot in line] for line in lines]), shown.counts(block) or ""]
    parts.append("\n".join(f"- {_one_line(text)}" for text in shown.below()))
    return "\n\n".join(filter(None, parts))


def grid(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; text to the left, numbers to the right."""
    table = [[_one_line(text).replace("|", "\\|") for text in line] for line in (headers, *body)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = [all(_NUMBER.fullmatch(text) for text in column[1:]) for column in zip(*table, strict=True)]

    def line(texts: Sequence[str]) -> str:
        fitted = [t.rjust(w) if right else t.ljust(w) for t, w, right in zip(texts, widths, numeric, strict=True)]
        return f"| {' | '.join(fitted)} |"

    rule = [f"{'-' * (w - 1)}:" if right else "-" * w for w, right in zip(widths, numeric, strict=True)]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


# --- LaTeX and HTML -----------------------------------------------------------------------------------------------


def _styled(lines: Sequence[Sequence[Spot]], escape: Callable[[str], str]) -> Any:
    """A pandas Styler of a block, the best of ours in bold."""
    headers = pd.MultiIndex.from_tuples([(escape(spot.column), escape(spot.part)) for spot in lines[0]])
    make = partial(pd.DataFrame, columns=headers)
    bold = make([["font-weight: bold;" if spot.best else "" for spot in line] for line in lines])
    texts = make([[escape(spot.text) for spot in line] for line in lines])
    return texts.style.hide(axis="index").apply(lambda _: bold, axis=None)


def _latex(sheet: Sheet, number: int) -> str:
    """A booktabs table for each block; `\\usepackage{booktabs}` is all that it needs."""
    shown = _Shown(sheet)
    tables = [
        _styled(shown.lines(block), _latex_text).to_latex(
            hrules=True,
            convert_css=True,
            position_float="centering",
            multicol_align="c",
            caption=_latex_text(f"{sheet.title}. {block}" if block else sheet.title),
        )
        for block in shown.blocks
    ]
    words = [f"% {_one_line(text)}" for text in (sheet.title, *sheet.about)]
    return "\n".join([*words, *tables, *(f"% {_one_line(text)}" for text in shown.below())])


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)


def _html(sheet: Sheet, number: int) -> str:
    shown = _Shown(sheet)
    parts = [f'<section id="sheet{number}">', f"<h2>{html.escape(sheet.title)}</h2>", *map(_paragraph, sheet.about)]
    for place, block in enumerate(shown.blocks):
        styler = _styled(shown.lines(block), html.escape).set_uuid(f"sheet{number}-{place}")
        parts += [f"<h3>{html.escape(block)}</h3>", styler.to_html().rstrip(), _paragraph(shown.counts(block) or "")]
    return "\n".join([*parts, *map(_paragraph, shown.below()), "</section>"])


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


_SHOWN: Mapping[str, Callable[[Sheet, int], str]] = {"md": _markdown, "latex": _latex, "html": _html}
