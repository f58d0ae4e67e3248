"""What all figures share: ink, sheet and small print, and files that are the same bytes for the same numbers.

Figures are drawn without a window system and without matplotlib's global state, in matplotlib's own default style
whatever the user's is. Names are no formulas: `$` and markup in them are drawn as they are.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results.render import records_text
from workloads.storage import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

INK, FAINT = "#222222", "#767676"
SEEN, UNSEEN = "#0072B2", "#C25300"
"""Seen species in blue and unseen ones in orange, as in the paper; tones of Okabe and Ito's palette, which colour-blind
readers can tell apart."""

Record = Mapping[str, str | int | float | bool | None]

TILE = 1.02  # inches, a picture among others
_MARGIN = 0.2  # inches
_TITLE, _SMALL = 11.0, 7.5  # points


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure and the numbers it shows."""

    figure: "Figure"
    records: Sequence[Record]
    """All numbers behind it, in long form; every record has the same fields."""
    synthetic: bool
    """Whether they are of drawn specimens."""


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's default style without formulas, and SVG whose labels are text and whose ids are fixed.

    Everything is created and saved in it, as texts ask for the style when they are made.
    """
    from matplotlib.style import context

    ours = {"text.parse_math": False, "svg.hashsalt": "clibd", "svg.fonttype": "none", "font.size": 9}
    ink = {"text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK}
    with context(["default", {**ours, **ink}]):
        yield


def png(figure: "Figure") -> bytes:
    """A figure as PNG, 150 dots an inch."""
    sink = io.BytesIO()
    with plain_style():
        figure.savefig(sink, format="png", dpi=150, metadata={"Software": None})
    return sink.getvalue()


def svg(figure: "Figure") -> bytes:
    """A figure as SVG, without date and with fixed ids, so that equal figures are equal files."""
    sink = io.BytesIO()
    with plain_style():
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def save(picture: Picture, folder: Folder, stem: str) -> list[str]:
    """Write a figure as PNG and SVG and its numbers as CSV.

    Args:
        picture: the figure.
        folder: where to; files of an earlier call are replaced, each whole or not at all.
        stem: name of the three files without their endings.

    Returns:
        Where they are.
    """
    records = [{**record, "synthetic": picture.synthetic} for record in picture.records]
    contents = {
        "png": png(picture.figure),
        "svg": svg(picture.figure),
        "csv": f"{records_text(records, 'csv')}\n".encode(),
    }
    for ending, content in contents.items():
        folder.write(f"{stem}.{ending}", content)
    return [f"{folder}/{stem}.{ending}" for ending in contents]


def sheet(width: float, height: float, title: str, small_print: str) -> "Figure":
    """An empty figure, in inches, with its title on top and small print at its foot; half an inch is kept for each.

    A long title is written smaller, and long small print on two lines.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    left, across = _MARGIN / width, width - 2 * _MARGIN
    size = min(_TITLE, _TITLE * across / _text_width(title, _TITLE, "bold"))
    figure.text(left, 1 - 0.25 / height, title, ha="left", va="center", fontsize=size, weight="bold")
    letters = 1 + int(0.97 * len(small_print) * across / _text_width(small_print, _SMALL, "normal"))
    lines = textwrap.wrap(small_print, letters, break_on_hyphens=False)
    for number, line in enumerate(reversed(lines)):
        place = (0.15 + 0.14 * number) / height
        figure.text(left, place, line, ha="left", va="center", fontsize=_SMALL, color=FAINT)
    return figure


def write(figure: "Figure", left: float, top: float, text: str, size: float, **style: Any) -> None:
    """Lines of text in inches from the upper left corner, the first one's base line at `top`.

    Each is placed alone, so that base lines meet across tiles whatever letters are in them.
    """
    width, height = figure.get_size_inches()
    for number, line in enumerate(text.split("\n")):
        below = top + number * 1.28 * size / 72
        figure.text(left / width, 1 - below / height, line, fontsize=size, ha="left", va="baseline", **style)


def tile(figure: "Figure", left: float, top: float, edge: str, edge_width: float) -> "Axes":
    """A framed square in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + TILE) / height, TILE / width, TILE / height))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(edge)
    axes.spines[:].set_linewidth(edge_width)
    return axes


def mark(marker: str, label: str, **style: Any) -> "Line2D":
    """A symbol and its words, for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, label=label, **style)


def _text_width(text: str, size: float, weight: str) -> float:
    """Width of a line of text, inches, and a little more, as hinting widens letters."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.1
    with plain_style():
        outline = TextPath((0, 0), text, prop=FontProperties(size=size, weight=weight))
    return 1.05 * float(outline.get_extents().width) / 72


def shown(name: str, longest: int) -> str:
    """A name as it can be drawn: on one line, without control characters, and cut in its middle where it is too long.

    The end of a name tells as much as its beginning: sister species share their first word.
    """
    clean = "".join(letter if letter.isprintable() else " " for letter in name)
    clean = " ".join(clean.split())
    if len(clean) <= longest:
        return clean
    head = longest // 2
    tail = longest - 1 - head
    return f"{clean[:head]}…{clean[len(clean) - tail :]}"


def feature_word(feature: str) -> str:
    """A query or key feature as figures write it."""
    return {"dna": "DNA", "species_text": "text of the species"}.get(feature, feature)


def pair_words(query: str, key: str) -> str:
    """A retrieval as headings write it."""
    words = f"{feature_word(query)} to {feature_word(key)}"
    return words[0].upper() + words[1:]
