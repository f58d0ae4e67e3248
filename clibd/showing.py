"""Results as notebooks show them: the first rows of a table, every text of which is escaped."""

import html
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from workloads.printed_text import escaped

_MOST_ROWS, _MOST_CHARACTERS = 20, 80
"""What is shown of a table, and of one of its values; the table itself has all."""


@dataclass(frozen=True, slots=True)
class Rows:
    """An Arrow table that shows itself in a notebook."""

    table: pa.Table
    title: str = ""
    """What it holds; it says where specimens were drawn."""

    def __len__(self) -> int:
        return len(self.table)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame."""
        return self.table.to_pandas()

    def _repr_html_(self) -> str:
        return table_html(self.table, self.title)


def table_html(table: pa.Table, title: str = "") -> str:
    """The first rows of a table as HTML; columns without a value are left out."""
    shown = table.slice(0, _MOST_ROWS)
    names = [name for name in table.column_names if shown[name].null_count < len(shown)] or table.column_names
    lines = [f"<p>{_text(title)}</p>"] if title else []
    lines += ["<table>", "<thead>", _line([_text(name) for name in names], "th"), "</thead>", "<tbody>"]
    lines += [_line([_value(row[name]) for name in names], "td") for row in shown.select(names).to_pylist()]
    lines += ["</tbody>", "</table>"]
    more = f", the first {len(shown):,} of them here" if len(table) > len(shown) else ""
    return "\n".join([*lines, f"<p>{len(table):,} rows{more}</p>"])


def facts_html(title: str, facts: dict[str, Any]) -> str:
    """Names and values, a line each."""
    lines = [_line([_text(name), _value(value)], "td") for name, value in facts.items()]
    return "\n".join([f"<p>{_text(title)}</p>", "<table>", "<tbody>", *lines, "</tbody>", "</table>"])


def _line(cells: list[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], float):
            return f"{len(value):,} numbers"
        value = ", ".join(map(str, value))
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    text = str(value)
    return _text(text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…")


def _text(text: str) -> str:
    return html.escape(escaped(text))
