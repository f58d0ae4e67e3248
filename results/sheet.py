"""The one form of everything that is printed as a table: cells on sheets, whatever they were measured by.

A sheet is what a reader sees: a title, lines of words, blocks of rows and columns, notes. Its cells say by themselves
what they are, so that the long form of CSV and JSON has the same fields and units for every table and every command.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeps.table import Value
from workloads.delimited_out import delimited
from workloads.printed_text import escaped

Format = Literal["md", "csv", "json", "latex", "html"]
Unit = Literal["share", "hours", "GB", "records", "taxa", "seconds", "bytes", "count", "points", "p"]
"""What a value is in. Shares are in [0, 1] everywhere but in what is printed and written, which is percent; so are
`points`, differences of shares, which become percentage points. `p` is a p-value."""
PERCENT: Mapping[Unit, str] = {"share": "percent", "points": "percentage points"}
"""What shares and their differences are called where they have become percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number, what it is of, and what it may be compared with."""

    table: str
    """Number in the paper, or the name of what printed it."""
    row: Mapping[str, Value]
    """Fields that name its row, in the order of print, besides the rank."""
    block: str = ""
    column: str
    label: str | None = None
    """The row as it really ran; None where nothing ran."""
    method: str | None = None
    """`clibd`, a baseline or floor, or another way of answering."""
    partition: str | None = None
    rank: str | None = None
    average: str | None = None
    subset: str | None = None
    """`seen`, `unseen`, `harmonic_mean` or `all` queries."""
    query: str | None = None
    key: str | None = None
    k: int | None = None
    """For an accuracy: a right answer is among so many nearest keys."""
    unit: Unit = "share"
    published: float | None = None
    ours: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval of a single run."""
    high: float | None = None
    n: int | None = None
    """Queries (micro) or classes (macro) behind our value."""
    standard_error: float | None = None
    """Over runs that differ in the seed."""
    comparable: bool = False
    """Whether a difference to the published number means something."""
    reason: str | None = None
    """Why there is no number of ours, with the command that makes it; else why the two cannot be compared."""
    published_note: str | None = None
    """Why the published number cannot be right as printed."""
    runs: tuple[str, ...] = ()
    recipe: str | None = None
    dataset: str | None = None
    synthetic: bool | None = None
    scale: str | None = None
    contamination: str | None = None
    """What of the evaluated specimens the run was trained on, in words; None where nothing is known to be."""

    @property
    def difference(self) -> float | None:
        """Ours minus published, where the two can be compared."""
        if not self.comparable or self.ours is None or self.published is None:
            return None
        return self.ours - self.published


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table as a reader sees it."""

    title: str
    cells: tuple[Cell, ...]
    about: tuple[str, ...] = ()
    """What has to be known before reading: the data set, and that it is synthetic."""
    notes: tuple[str, ...] = ()
    """Below it: what was left out, where numbers come from."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the fields of a row are called."""
    show_rank: bool = False
    """Whether the rank is a column, because rows differ in it."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """What was not read for it, as it is damaged, and why: runs by their names, files by their addresses."""
    decimals: int | None = None
    """Digits of shares in percent and of counts; None: one for percent, three significant ones for others."""

    @property
    def has_ours(self) -> bool:
        """Whether any number on it is ours."""
        return any(cell.ours is not None for cell in self.cells)


# --- Long form ----------------------------------------------------------------------------------------------------

_SCALED = ("published", "ours", "low", "high", "standard_error", "difference")
_NAMES = tuple(Cell.__dataclass_fields__)
_DIFFERENCE = _NAMES.index("comparable")
RECORD = (*_NAMES[:_DIFFERENCE], "difference", *_NAMES[_DIFFERENCE:])
"""Fields of the long form, in order."""


def record(cell: Cell) -> dict[str, Any]:
    """A cell as CSV and JSON have it, with shares in percent and `row` as an object."""
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in cell.row.items()}
    own: dict[str, Any] = {"row": row, "runs": list(cell.runs), "unit": PERCENT.get(cell.unit, cell.unit)}
    own |= {name: _scaled(cell.unit, getattr(cell, name)) for name in _SCALED}
    return {name: own[name] if name in own else getattr(cell, name) for name in RECORD}


def cell_from_record(written: Mapping[str, Any]) -> Cell:
    """The cell that `record` wrote down."""
    units: dict[str, Unit] = {name: unit for unit, name in PERCENT.items()}
    unit: Unit = units.get(written["unit"], written["unit"])
    values = {name: written[name] for name in RECORD if name != "difference"}
    for name in _SCALED[:-1] if unit in PERCENT else ():
        values[name] = None if values[name] is None else values[name] / 100
    row = {name: tuple(value) if isinstance(value, list) else value for name, value in written["row"].items()}
    return Cell(**{**values, "row": row, "runs": tuple(written["runs"]), "unit": unit})


def _scaled(unit: Unit, value: float | None) -> float | None:
    if value is None or unit == "p":
        return value
    return round(100 * value, 4) if unit in PERCENT else round(value, 6)


def records_text(records: Sequence[Mapping[str, Any]], form: Literal["csv", "json"]) -> str:
    """Records of the same fields, as text that ends without a line break; CSV of none is empty."""
    if form == "json":
        return escaped(json.dumps(records, indent=1, ensure_ascii=False))
    header = [list(records[0])] if records else []
    return delimited([*header, *([_words(value) for value in record.values()] for record in records)]).rstrip("\n")


def _words(value: Any) -> Any:
    """Lists and objects as words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}={_plain(field)}" for name, field in value.items())
    return " ".join(value) if isinstance(value, list) else value


def _plain(value: Any) -> str:
    return "" if value is None else "+".join(value) if isinstance(value, list) else str(value)
