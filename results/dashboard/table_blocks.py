"""A sheet as pages show it, block by block: each row with its numbers, and beside published ones the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from results.layout import Laid, Spot, counts_below, lines_of
from results.paper.verdicts import Verdict, verdict
from results.sheet import Cell

_SHOWN = {"both": ("paper", "ours", "diff"), "ours": ("ours",), "difference": ("diff",)}
_PARTS = {"paper": "paper", "ours": "ours", "diff": "difference", "verdict": "verdict"}
_UNITS = {"share": "accuracies in percent", "hours": "hours", "GB": "GB", "records": "records", "taxa": "taxa"}
PARTITIONS = {"val": "validation", "test": "test"}
"""What partitions are called."""


class Entry(NamedTuple):
    """What stands in a row under a column."""

    part: str
    text: str
    best: bool = False
    number: int | None = None
    """Of its cell on the sheet."""
    verdict: Verdict | None = None


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


def blocks_of(laid: Laid, view: str = "both", numbers: Mapping[int, int] | None = None) -> list[Block]:
    """The blocks of a sheet that is laid out.

    Args:
        laid: the sheet.
        view: `both`, `ours` or `difference`: which numbers are shown; a verdict stands beside all but `ours`.
        numbers: of cells on their sheet, by `id`, where there are pages of them.
    """
    return [_block(laid, name, cells, view, numbers or {}) for name, cells in laid.blocks.items()]


def _block(laid: Laid, name: str, cells: Sequence[Cell], view: str, numbers: Mapping[int, int]) -> Block:
    lines = lines_of(laid, cells)
    published = {cell.column for cell in cells if cell.published is not None}
    rows = [
        ([spot.text for spot in line if not spot.column], list(_entries(line, view, published, numbers)))
        for line in lines
    ]
    headers: dict[str, list[str]] = {}
    for spot, entry in zip(_under_columns(lines[0], view, published), rows[0][1], strict=True):
        headers.setdefault(spot.column, []).append(_PARTS[entry.part])
    names = [spot.part for spot in lines[0] if not spot.column]
    return Block(name, names, list(headers.items()), rows, _about(cells))


def _under_columns(line: Sequence[Spot], view: str, published: set[str]) -> Iterator[Spot]:
    """What is shown of a line, and behind each published column its verdict, for which stands a part of its own."""
    by_column: dict[str, list[Spot]] = {}
    for spot in line:
        if spot.column:
            by_column.setdefault(spot.column, []).append(spot)
    for column, spots in by_column.items():
        kept = [spot for spot in spots if spot.part in _SHOWN[view]]
        if column not in published:
            yield from kept if view != "difference" else ()
            continue
        yield from kept
        if view != "ours":
            yield spots[-1]._replace(part="verdict", text="", best=False)


def _entries(line: Sequence[Spot], view: str, published: set[str], numbers: Mapping[int, int]) -> Iterator[Entry]:
    for spot in _under_columns(line, view, published):
        number = None if spot.cell is None else numbers.get(id(spot.cell))
        if spot.part != "verdict":
            yield Entry(spot.part, spot.text, spot.best, number)
        else:
            found = None if spot.cell is None or spot.cell.published is None else verdict(spot.cell)
            yield Entry("verdict", "", False, number, found)


def _about(cells: Sequence[Cell]) -> str:
    units = dict.fromkeys(_UNITS.get(cell.unit, cell.unit) for cell in cells)
    parts = dict.fromkeys(PARTITIONS.get(cell.partition, cell.partition) for cell in cells if cell.partition)
    texts = [", ".join(units), f"partition {' and '.join(parts)}" if parts else "", counts_below(cells)]
    return ". ".join(f"{text[0].upper()}{text[1:]}" for text in texts if text)
