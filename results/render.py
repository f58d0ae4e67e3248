"""Tables as Markdown, CSV or JSON. The only place where shares become percent."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from results.cells import Cell, Row, table_rows
from results.collect import Group
from results.floors import FloorRow, floor_rows
from results.tables import TABLES, Table

Format = Literal["md", "csv", "json"]

_HEADERS = {
    "batch_size": "Batch",
    "amp": "AMP",
    "fine_tuning": "Fine-tuning",
    "temperature": "Temperature",
    "epochs": "Epochs",
    "image_encoder": "Image encoder",
    "dna_encoder": "DNA encoder",
    "text_encoder": "Text encoder",
}
INTERVALS = "In brackets, for single runs: 95 % bootstrap intervals over queries (micro) or species (macro)."
_DASH = "–"
_NUMBER = re.compile(r"[−+<]?\d[\d.e−+]*\*?( ± .*| \[.*\])?|–")
"""What `number_text` and `ours_text` print, and p-values below what is shown."""


def render_table(number: int, groups: list[Group], form: Format) -> str:
    """A table for each group of runs, as text that ends without a line break."""
    table = TABLES[number]
    if form == "md":
        return "\n\n".join(_markdown(table, group) for group in groups)
    return records_text([record for group in groups for record in _records(table, group)], form)


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
    """Lists as words; text that a spreadsheet would take for a formula is quoted, numbers are left alone."""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")):
        return f"'{value}"
    return value


def _records(table: Table, group: Group) -> list[dict[str, Any]]:
    """Long form: one record a cell."""
    return [
        {
            "table": table.number,
            "dataset": group.dataset,
            "synthetic": group.synthetic,
            "scale": group.scale,
            "recipe": group.recipe,
            "level": row.level,
            **row.names,
            "run_label": row.label,
            "block": cell.block,
            "column": cell.column,
            "unit": "percent" if cell.is_accuracy else "",
            "published": _scaled(cell, cell.published),
            "ours": _scaled(cell, cell.ours.mean if cell.ours else None),
            "standard_error": _scaled(cell, cell.ours.standard_error if cell.ours else None),
            "low": _scaled(cell, cell.ours.low if cell.ours else None),
            "high": _scaled(cell, cell.ours.high if cell.ours else None),
            "num_runs": len(cell.ours.runs) if cell.ours else 0,
            "difference": _scaled(cell, cell.difference),
            "published_note": cell.note,
            "runs": list(cell.ours.runs) if cell.ours else [],
        }
        for row in table_rows(table, group)
        for cell in row.cells
    ]


def _scaled(cell: Cell, value: float | None) -> float | None:
    if value is None:
        return None
    return as_percent(value) if cell.is_accuracy else round(value, 6)


def number_text(cell: Cell, value: float | None, sign: bool = False) -> str:
    """A cell's number as printed: percent with one decimal, costs with two or three significant digits."""
    if value is None:
        return _DASH
    text = f"{100 * value:{'+' if sign else ''}.1f}" if cell.is_accuracy else f"{value:{'+' if sign else ''}.3g}"
    return text.replace("-", "−")


def published_text(cell: Cell) -> str:
    """The published number with the decimals it was printed with, marked when it cannot be right."""
    if cell.published is None:
        return _DASH
    return f"{round(100 * cell.published if cell.is_accuracy else cell.published, 2)}{'*' if cell.note else ''}"


def ours_text(cell: Cell) -> str:
    """Our value: with its standard error and the number of runs when there are several, else with its interval."""
    if cell.ours is None:
        return _DASH
    text = number_text(cell, cell.ours.mean)
    if cell.ours.standard_error is not None:
        return f"{text} ± {number_text(cell, cell.ours.standard_error)} (n={len(cell.ours.runs)})"
    if cell.ours.low is not None and cell.ours.high is not None:
        return f"{text} [{number_text(cell, cell.ours.low)}, {number_text(cell, cell.ours.high)}]"
    return text


def row_names(table: Table, row: Row) -> list[str]:
    """The headers of a row, as printed."""
    level = [row.level] if len(table.levels) > 1 else []
    return [*level, *(_DASH if value is None else str(value) for value in row.names.values())]


def row_headers(table: Table) -> list[str]:
    """Headers of what `row_names` gives."""
    return [*(["Taxa"] if len(table.levels) > 1 else []), *(_HEADERS[name] for name in table.row_fields)]


def caveats(group: Group) -> list[str]:
    """What a reader must know before comparing."""
    lines = []
    if group.synthetic:
        lines.append(
            "Ours are numbers of SYNTHETIC insects: they show that the pipeline works, not how CLIBD performs."
        )
    if group.scale == "small":
        lines.append("Scale small: small towers from scratch and a tenth of the batch; not comparable with the paper.")
    if group.num_left_out:
        lines.append(f"{group.num_left_out} older run(s) with another spec were left out.")
    return lines


def interval_note(rows: Sequence[Row]) -> list[str]:
    """What is in brackets, if anything is."""
    if not any(cell.ours and cell.ours.low is not None for row in rows for cell in row.cells):
        return []
    return [INTERVALS]


def _markdown(table: Table, group: Group) -> str:
    rows = table_rows(table, group)
    parts = [f"# Table {table.number}. {table.caption}", f"Ours: {group.title}", *caveats(group)]
    offset = 0
    for block in table.blocks:
        cells = slice(offset, offset + len(block.columns))
        offset += len(block.columns)
        headers = [*row_headers(table), "Run"]
        for column in block.columns:
            headers += [column.header, "ours", "diff"]
        body = [[*row_names(table, row), row.label or "not run", *_triples(row.cells[cells])] for row in rows]
        parts.append(f"## {block.title}\n\n{grid(headers, body)}")
    parts.append("Accuracies in percent: published, ours, difference.")
    parts += interval_note(rows)
    parts += sorted({f"* {cell.note}" for row in rows for cell in row.cells if cell.note})
    if floors := floor_rows(table, group):
        parts.append(f"## Chance and floors, validation set\n\n{_floor_grid(floors)}")
    return "\n\n".join(parts)


def _triples(cells: tuple[Cell, ...]) -> list[str]:
    texts = []
    for cell in cells:
        texts += [published_text(cell), ours_text(cell), number_text(cell, cell.difference, True)]
    return texts


def percent(value: float | None) -> str:
    """A share as percent, small ones with two decimals."""
    if value is None:
        return _DASH
    return f"{100 * value:.2f}" if value < 0.01 else f"{100 * value:.1f}"


def percentage_points(share: float) -> str:
    """A difference of shares as percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def as_percent(share: float | None) -> float | None:
    """A share as a number for CSV and JSON."""
    return None if share is None else round(100 * share, 4)


def floor_headers() -> list[str]:
    """Headers of the grid of floors."""
    return ["Retrieval", "Taxa", "Species", "Average", "chance", "floor", "best of ours", "run", "floor is"]


def floor_texts(row: FloorRow) -> list[str]:
    """One line of the grid of floors."""
    values = [percent(row.chance), percent(row.floor), percent(row.best)]
    return [
        f"{row.query} to {row.key}",
        row.level,
        row.species,
        row.average,
        *values,
        row.best_run,
        row.method or _DASH,
    ]


def _floor_grid(rows: list[FloorRow]) -> str:
    return grid(floor_headers(), [floor_texts(row) for row in rows])


def grid(headers: list[str], body: list[list[str]]) -> str:
    """A Markdown table with aligned columns; text to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in [headers, *body]) for i in range(len(headers))]
    numeric = [all(_NUMBER.fullmatch(line[i]) for line in body) for i in range(len(headers))]

    def line(texts: list[str]) -> str:
        fitted = [t.rjust(w) if right else t.ljust(w) for t, w, right in zip(texts, widths, numeric, strict=True)]
        return f"| {' | '.join(fitted)} |"

    rule = [f"{'-' * (w - 1)}:" if right else "-" * w for w, right in zip(widths, numeric, strict=True)]
    return "\n".join([line(headers), line(rule), *map(line, body)])
