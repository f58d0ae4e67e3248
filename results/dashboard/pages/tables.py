"""All tables: what each is of, how much of it there is, and what came of its published numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.damage import damage_words
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, Kind, Page
from results.paper.tables import NUMBERS, declared
from results.paper.verdicts import Word, counts
from results.sheet import Sheet

OWN = tuple(str(name) for name in declared() if name not in NUMBERS)
"""Tables that the paper lacks, by their names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A table in the list."""

    number: str
    caption: str
    num_sheets: int
    """Of different data sets, scales and recipes."""
    num_ours: int
    """Numbers of ours on all of them, floors left out."""
    num_published: int
    words: Mapping[Word, int]
    synthetic: bool
    """Whether any of ours are of drawn specimens."""


def number_of(text: str) -> int | str:
    """A table's number, or the name of one of our own, as addresses have it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def caption_of(sheet: Sheet) -> str:
    """What a table is of, without its number."""
    head, dot, rest = sheet.title.partition(". ")
    return rest if dot and head.startswith("Table ") else sheet.title


def is_synthetic(sheet: Sheet) -> bool:
    """Whether any number of ours on a sheet is of drawn specimens."""
    return any(cell.synthetic and cell.ours is not None for cell in sheet.cells)


def _line(number: int | str, sheets: Sequence[Sheet]) -> Line:
    words = counts(sheets)
    with_ours = [cell for sheet in sheets for cell in sheet.cells if cell.ours is not None]
    counted = [cell for cell in with_ours if cell.runs or cell.published is not None]
    return Line(
        number=str(number),
        caption=caption_of(sheets[0]),
        num_sheets=len(sheets),
        num_ours=len(counted),
        num_published=sum(words.values()),
        words=words,
        synthetic=any(map(is_synthetic, sheets)),
    )


def _tables(catalog: Catalog, asked: Asked) -> Page:
    every = {number: catalog.sheets(number) for number in (*NUMBERS, *OWN)}
    lines = catalog.kept(("tables", catalog.now.tables_version), lambda: [_line(*item) for item in every.items()])
    total = Counter[Word]()
    for line in lines:
        total.update(line.words)
    told = {
        "paper": [line for line in lines if line.number not in OWN],
        "own": [line for line in lines if line.number in OWN],
        "total": total,
        "damaged": damage_words([sheet for sheets in every.values() for sheet in sheets], catalog.address),
        "folder": catalog.address,
    }
    return Page(
        title="Paper tables", template="tables.html.j2", told=told, synthetic=any(line.synthetic for line in lines)
    )


KINDS = (Kind(name="tables", make=_tables, listed=lambda catalog: [Asked("tables")]),)
