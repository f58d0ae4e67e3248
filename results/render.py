"""Sheets of cells as Markdown, CSV, JSON, LaTeX or HTML.

CSV and JSON are one long form, a record a cell, with the same fields and units whatever printed it. The others show a
sheet block by block; all names come from users' files, so each form escapes them.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from results.layout import Laid, Spot, counts_below, lines_of, words_below
from results.sheet import Format, Sheet, record, records_text
from workloads.printed_text import escaped

_NUMBER = re.compile(r"[−+<]?\d[\d.,e−+]*(\*\d*)?( ± .*| \[.*\])?|–( \[\d+\])?")
"""What `number_text` and `ours_text` print, and p-values below what is shown."""
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
    return escaped("\n\n".join(_SHOWN[form](sheet, number) for number, sheet in enumerate(sheets, 1)))


# --- Markdown -----------------------------------------------------------------------------------------------------


def _markdown(sheet: Sheet, number: int) -> str:
    shown = Laid(sheet)
    parts = [*([f"# {sheet.title}"] if sheet.title else []), *sheet.about]
    parts = [_one_line(text) for text in parts]
    for block, cells in shown.blocks.items():
        lines = lines_of(shown, cells)
        headers = [_header(shown, spot) for spot in lines[0]]
        parts += [f"## {_one_line(block)}"] if block else []
        parts += [grid(headers, [[spot.text for spot in line] for line in lines]), counts_below(cells)]
    parts.append("\n".join(f"- {_one_line(text)}" for text in words_below(shown)))
    return "\n\n".join(filter(None, parts))


def _header(shown: Laid, spot: Spot) -> str:
    """One line in place of two."""
    if not spot.column or spot.column not in shown.columns:
        return spot.column or spot.part
    return f"{spot.column}, paper" if spot.part == "paper" else spot.part


def grid(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; text to the left, numbers to the right."""
    table = [[_one_line(text).replace("|", "\\|") for text in line] for line in (headers, *body)]
    columns = [_aligned(column) for column in zip(*table, strict=True)]
    return "\n".join(f"| {' | '.join(texts)} |" for texts in zip(*columns, strict=True))


def _aligned(texts: Sequence[str]) -> list[str]:
    """A column with its header and the rule below that."""
    width = max(map(len, texts))
    if all(_NUMBER.fullmatch(text) for text in texts[1:]):
        header, *body = (text.rjust(width) for text in texts)
        return [header, f"{'-' * (width - 1)}:", *body]
    header, *body = (text.ljust(width) for text in texts)
    return [header, "-" * width, *body]


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


# --- LaTeX and HTML -----------------------------------------------------------------------------------------------


def _styled(lines: Sequence[Sequence[Spot]], escape: Callable[[str], str]) -> Any:
    """A pandas Styler of a block, the best of ours in bold."""
    import pandas as pd  # half a second, for two of the five forms

    headers = pd.MultiIndex.from_tuples([(escape(spot.column), escape(spot.part)) for spot in lines[0]])
    make = partial(pd.DataFrame, columns=headers)
    bold = make([["font-weight: bold;" if spot.best else "" for spot in line] for line in lines])
    texts = make([[escape(spot.text) for spot in line] for line in lines])
    return texts.style.hide(axis="index").apply(lambda _: bold, axis=None)


def _latex(sheet: Sheet, number: int) -> str:
    """A booktabs table for each block; `\\usepackage{booktabs}` is all that it needs."""
    shown = Laid(sheet)
    tables = [
        _styled(lines_of(shown, cells), _latex_text).to_latex(
            hrules=True,
            convert_css=True,
            position_float="centering",
            multicol_align="c",
            caption=_latex_text(f"{sheet.title}. {block}" if block else sheet.title),
        )
        for block, cells in shown.blocks.items()
    ]
    words = [f"% {_one_line(text)}" for text in (sheet.title, *sheet.about)]
    return "\n".join([*words, *tables, *(f"% {_one_line(text)}" for text in words_below(shown))])


def _latex_text(text: str) -> str:
    return text.translate(_LATEX)


def _html(sheet: Sheet, number: int) -> str:
    shown = Laid(sheet)
    parts = [f'<section id="sheet{number}">', f"<h2>{html.escape(sheet.title)}</h2>", *map(_paragraph, sheet.about)]
    for place, (block, cells) in enumerate(shown.blocks.items()):
        styler = _styled(lines_of(shown, cells), html.escape).set_uuid(f"sheet{number}-{place}")
        parts += [f"<h3>{html.escape(block)}</h3>", styler.to_html().rstrip(), _paragraph(counts_below(cells))]
    return "\n".join([*parts, *map(_paragraph, words_below(shown)), "</section>"])


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


_SHOWN: Mapping[str, Callable[[Sheet, int], str]] = {"md": _markdown, "latex": _latex, "html": _html}
