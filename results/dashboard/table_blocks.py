"""A sheet as pages show it, block by block: each row with its numbers, and beside published ones the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from results.dashboard.names import PARTITIONS
from results.layout import Laid, Spot, counts_below, lines_of
from results.paper.verdicts import Verdict, verdict
from results.sheet import Cell

_PARTS = {"paper": "paper", "ours": "ours", "diff": "difference"}
_UNITS = {"share": "accuracies in percent", "hours": "hours", "GB": "GB", "records": "records", "taxa": "taxa"}
"""What partitions are called."""


class Entry(NamedTuple):
    """What stands in a row under a column."""

    part: str
    """`paper`, `ours` or `diff`."""
    text: str
    best: bool = False
    """Whether it is the best of ours."""
    number: int | None = None
    """Of its cell on the sheet."""
    verdict: Verdict | None = None
    """What came of its published number; None also where the whole block says so at once."""


@dataclass(frozen=True, slots=True)
class Block:
    """Columns that are read together, row by row."""

    title: str
    names: Sequence[str]
    """What the fields are called that name a row."""
    columns: Sequence[tuple[str, Sequence[str]]]
    """Headers, each with the words for what stands below it."""
    rows: Sequence[tuple[Sequence[str], Sequence[Entry]]]
    about: str
    """Unit, partition, and how many queries or classes are behind."""
    verdict: Verdict | None
    """What came of all published numbers, where it is the same."""


def blocks_of(laid: Laid, view: str = "both", numbers: Mapping[int, int] | None = None) -> list[Block]:
    """The blocks of a sheet that is laid out; of differences alone only those with published numbers.

    Args:
        laid: the sheet.
        view: `both`, `ours` or `difference`: which numbers are shown; a verdict goes with all but `ours`.
        numbers: of cells on their sheet, by `id`, where there are pages of them.
    """
    blocks = [_block(laid, name, cells, view, numbers or {}) for name, cells in laid.blocks.items()]
    return [block for block in blocks if block.columns]


def _block(laid: Laid, name: str, cells: Sequence[Cell], view: str, numbers: Mapping[int, int]) -> Block:
    lines = lines_of(laid, cells)
    published = {cell.column for cell in cells if cell.published is not None}
    said = [verdict(cell) for cell in cells if cell.published is not None]
    alike = said[0] if said and view != "ours" and all(each == said[0] for each in said) else None
    marked = {"both": "ours", "difference": "diff"}.get(view) if alike is None else None
    spots = [list(_shown(line, view, published)) for line in lines]
    headers: dict[str, list[str]] = {}
    for spot in spots[0]:
        headers.setdefault(spot.column, []).append(_PARTS[spot.part])
    names = [[spot.text for spot in line if not spot.column] for line in lines]
    rows = [(named, [_entry(spot, marked, numbers) for spot in line]) for named, line in zip(names, spots, strict=True)]
    fields = [spot.part for spot in lines[0] if not spot.column]
    return Block(name, fields, list(headers.items()), rows, _about(cells), alike)


def _shown(line: Sequence[Spot], view: str, published: set[str]) -> Iterator[Spot]:
    """What is shown of a line; of differences alone a dash where there is none."""
    has_difference = {spot.column for spot in line if spot.part == "diff"}
    for spot in line:
        if view != "difference":
            if spot.column and (view == "both" or spot.part == "ours"):
                yield spot
        elif spot.column in has_difference:
            if spot.part == "diff":
                yield spot
        elif spot.column in published and spot.part == "ours":
            yield spot._replace(part="diff", text="–", best=False)


def _entry(spot: Spot, marked: str | None, numbers: Mapping[int, int]) -> Entry:
    number = None if spot.cell is None else numbers.get(id(spot.cell))
    is_marked = spot.part == marked and spot.cell is not None and spot.cell.published is not None
    return Entry(spot.part, spot.text, spot.best, number, verdict(spot.cell) if is_marked and spot.cell else None)


def _about(cells: Sequence[Cell]) -> str:
    units = dict.fromkeys(_UNITS.get(cell.unit, cell.unit) for cell in cells)
    parts = dict.fromkeys(PARTITIONS.get(cell.partition, cell.partition) for cell in cells if cell.partition)
    texts = [", ".join(units), f"partition {' and '.join(parts)}" if parts else "", counts_below(cells)]
    return ". ".join(f"{text[0].upper()}{text[1:]}" for text in texts if text)
