"""A table as it is printed: published, ours, their difference where it means something, and the verdict in words.

An address names the sheet, as runs of other data sets, scales and recipes stand on others, what of it is shown, and
the cell whose runs are shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.damage import damage_words
from results.dashboard.catalog import Catalog
from results.dashboard.cell_facts import cell_facts
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.pages.tables import OWN, caption_of, is_synthetic, number_of
from results.dashboard.table_blocks import blocks_of
from results.layout import Laid, words_below
from results.paper.tables import NUMBERS
from results.paper.verdicts import counts
from results.render import render_sheets
from results.sheet import Format, Sheet

CITATION = (
    "ZeMing Gong, Austin T. Wang, Xiaoliang Huo, Joakim Bruslund Haurum, Scott C. Lowe, Graham W. Taylor and "
    "Angel X. Chang: CLIBD: Bridging Vision and Genomics for Biodiversity Monitoring at Scale. International "
    "Conference on Learning Representations (ICLR), 2025. arXiv:2405.17537"
)
"""Of the paper, as CITATION.cff has it."""
_FILTERS = {"rank": "Rank", "average": "Average", "partition": "Partition", "k": "Top"}
"""Fields of cells that an address chooses by, and what they are called."""
_VIEWS = {"both": "published and ours", "ours": "ours alone", "difference": "differences alone"}
_OPTIONS = {"sheet": "1", "view": "both", "cell": "", **dict.fromkeys(_FILTERS, "")}
_MOST_CELLS = 400
"""Cells of a sheet, up to which an export has a page of each published number; of more, of those with ours beside."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A place to go to among others of its kind."""

    words: str
    to: Sequence[Asked]
    """Where it leads; where an export lacks the first, the next."""
    chosen: bool


# --- The page -----------------------------------------------------------------------------------------------------


def _table(catalog: Catalog, asked: Asked) -> Page:
    sheets = catalog.sheets(number_of(asked.of))
    sheet = _sheet(sheets, asked)
    if asked.option("cell"):
        return _cell_page(catalog, asked, sheet)
    view = asked.option("view", "both")
    if view not in _VIEWS:
        raise NotThereError(f"There is no view '{view}'; there are {', '.join(_VIEWS)}.")
    shown = _filtered(sheet, asked)
    laid = Laid(shown)
    numbers = {id(cell): number for number, cell in enumerate(sheet.cells)}
    told = {
        "number": asked.of,
        "about": sheet.about,
        "citation": CITATION if asked.of not in OWN else None,
        "sheets": _sheet_choices(asked, sheets),
        "filters": _filters(asked, sheet),
        "blocks": blocks_of(laid, view, numbers),
        "words": counts([shown]),
        "notes": words_below(laid),
        "damaged": damage_words([sheet], catalog.address),
        "sheet": str(asked.number("sheet", 1)),
        "forms": FORMS,
    }
    return Page(
        title=f"{sheet.title}" if asked.of in OWN else f"Table {asked.of}. {caption_of(sheet)}",
        template="table.html.j2",
        told=told,
        scripts=("tables.js",),
        trail=(("Paper tables", Asked("tables")),),
        synthetic=is_synthetic(sheet),
    )


def _sheet(sheets: Sequence[Sheet], asked: Asked) -> Sheet:
    number = asked.number("sheet", 1)
    if not 1 <= number <= len(sheets):
        raise NotThereError(f"Table {asked.of} has {len(sheets)} sheet(s); there is no sheet {asked.option('sheet')}.")
    return sheets[number - 1]


def _sheet_choices(asked: Asked, sheets: Sequence[Sheet]) -> list[Choice]:
    chosen = asked.number("sheet", 1)
    words = [(sheet.about[0] if sheet.about else "").removeprefix("Ours: ") for sheet in sheets]
    return [Choice(text, [_to_sheet(asked.of, number)], number == chosen) for number, text in enumerate(words, 1)]


def _to_sheet(of: str, number: int, **options: Any) -> Asked:
    return Asked.to("table", of, {"sheet": number if number > 1 else None, **options})


# --- What is chosen of a sheet ------------------------------------------------------------------------------------


def _values(sheet: Sheet, name: str) -> list[str]:
    """What its cells have in a field, in their order; nothing where they do not differ."""
    values = dict.fromkeys(str(value) for cell in sheet.cells if (value := getattr(cell, name)) is not None)
    return list(values) if len(values) > 1 else []


def _filtered(sheet: Sheet, asked: Asked) -> Sheet:
    """Only cells of what is asked for; those that do not have the field, such as costs, stay."""
    cells = sheet.cells
    for name, words in _FILTERS.items():
        if wanted := asked.option(name):
            there = {str(getattr(cell, name)) for cell in sheet.cells}
            if wanted not in there - {"None"}:
                values = ", ".join(sorted(there - {"None"})) or "none"
                raise NotThereError(f"{words}: there is no '{wanted}' in this table; there are: {values}.")
            cells = tuple(cell for cell in cells if str(getattr(cell, name)) in (wanted, "None"))
    return replace(sheet, cells=cells)


def _filters(asked: Asked, sheet: Sheet) -> list[tuple[str, list[Choice]]]:
    """Each filter that there is something to choose of, with its choices; `all` first."""
    there = {name: _values(sheet, name) for name in _FILTERS}
    found = [(words, _choices(asked, name, "", ("", *there[name]))) for name, words in _FILTERS.items() if there[name]]
    if any(cell.published is not None for cell in sheet.cells):
        found.append(("Shown", _choices(asked, "view", "both", list(_VIEWS))))
    return found


def _choices(asked: Asked, name: str, default: str, values: Sequence[str]) -> list[Choice]:
    chosen, alone = asked.option(name, default), Asked.to("table", asked.of, {"sheet": asked.option("sheet")})
    options = [(value, None if value == default else value) for value in values]
    return [
        Choice(_VIEWS.get(value, value) or "all", [asked.but(**{name: to}), alone.but(**{name: to})], value == chosen)
        for value, to in options
    ]


# --- A cell -------------------------------------------------------------------------------------------------------


def _cell_page(catalog: Catalog, asked: Asked, sheet: Sheet) -> Page:
    number = asked.number("cell", len(sheet.cells))
    if number >= len(sheet.cells):
        raise NotThereError(f"This sheet has {len(sheet.cells)} cells, from 0 on; there is no {asked.option('cell')}.")
    cell = sheet.cells[number]
    title = f"Table {asked.of}" if asked.of not in OWN else sheet.title
    back = _to_sheet(asked.of, asked.number("sheet", 1))
    return Page(
        title=f"{title}: {cell.column}, {cell.block}" if cell.block else f"{title}: {cell.column}",
        template="cell.html.j2",
        told={**cell_facts(catalog, sheet, cell), "back": back, "caption": caption_of(sheet)},
        trail=(("Paper tables", Asked("tables")), (title, back)),
        synthetic=bool(cell.synthetic) and cell.ours is not None,
    )


# --- Downloads, and what an export holds --------------------------------------------------------------------------

FORMS: dict[str, tuple[Format, str, str]] = {
    "Markdown": ("md", "md", "text/markdown"),
    "CSV": ("csv", "csv", "text/csv"),
    "JSON": ("json", "json", "application/json"),
    "LaTeX": ("latex", "tex", "application/x-tex"),
}
"""What a sheet can be saved as: the form, the ending of its file, its type."""


def _download(form: Format, ending: str, media_type: str, catalog: Catalog, asked: Asked) -> File:
    sheet = _sheet(catalog.sheets(number_of(asked.of)), asked)
    text = render_sheets([sheet], form)
    which = "" if asked.number("sheet", 1) == 1 else f"-sheet-{asked.number('sheet', 1)}"
    return File(content=f"{text}\n".encode(), media_type=media_type, name=f"clibd-table-{asked.of}{which}.{ending}")


def _listed(catalog: Catalog) -> Iterable[Asked]:
    """Every sheet, with each filter alone, and its cells."""
    for of in (*map(str, NUMBERS), *OWN):
        for number, sheet in enumerate(catalog.sheets(number_of(of)), 1):
            plain = _to_sheet(of, number)
            yield plain
            yield from (choice.to[-1] for _, each in _filters(plain, sheet) for choice in each if not choice.chosen)
            all_of_them = len(sheet.cells) <= _MOST_CELLS
            yield from (
                plain.but(cell=place)
                for place, cell in enumerate(sheet.cells)
                if cell.runs or (cell.published is not None and (all_of_them or cell.ours is not None))
            )


def _form_kind(form: Format, ending: str, media_type: str) -> Kind:
    def make(catalog: Catalog, asked: Asked) -> File:
        return _download(form, ending, media_type, catalog, asked)

    return Kind(name=f"table-{form}", make=make, options={"sheet": "1"}, suffix=f".{ending}")


KINDS = (
    Kind(name="table", make=_table, options=_OPTIONS, listed=_listed),
    *(_form_kind(*form) for form in FORMS.values()),
)
