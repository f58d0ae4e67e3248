"""The one form of everything that is printed as a table: cells on sheets, whatever they were measured by.

A sheet is what a reader sees: a title, lines of words, blocks of rows and columns, notes. Its cells say by themselves
what they are, so that the long form of CSV and JSON has the same fields and units for every table and every command.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sweeps.table import Value

Unit = Literal["share", "hours", "GB", "records", "taxa", "seconds", "bytes", "count", "points", "p"]
"""What a value is in. Shares are in [0, 1] everywhere but in `results.render`, which prints percent; so are `points`,
differences of shares, which it prints as percentage points. `p` is a p-value."""


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
    """Of an accuracy: a right answer is among so many nearest keys."""
    unit: Unit = "share"
    published: float | None = None
    published_note: str | None = None
    """Why the published number cannot be right as printed."""
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
    decimals: int | None = None
    """Of shares in percent and of counts; None: one of percent, three significant digits of others."""

    @property
    def has_ours(self) -> bool:
        """Whether any number on it is ours."""
        return any(cell.ours is not None for cell in self.cells)
