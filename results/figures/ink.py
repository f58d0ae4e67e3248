"""What figures are drawn with: colours, symbols, tiles and lines of text, and names in words that can be drawn."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, FAINT = "#222222", "#767676"
SEEN, UNSEEN = "#0072B2", "#C25300"
"""Seen species in blue and unseen ones in orange, as in the paper; tones of Okabe and Ito's palette, which colour-blind
readers can tell apart."""

TILE = 1.02  # inches, a picture among others


def write(figure: Figure, left: float, top: float, text: str, size: float, **style: Any) -> None:
    """Lines of text in inches from the upper left corner, the first one's base line at `top`.

    Each is placed alone, so that base lines meet across tiles whatever letters are in them.
    """
    width, height = figure.get_size_inches()
    for number, line in enumerate(text.split("\n")):
        below = top + number * 1.28 * size / 72
        figure.text(left / width, 1 - below / height, line, fontsize=size, ha="left", va="baseline", **style)


def tile(figure: Figure, left: float, top: float, edge: str, edge_width: float) -> Axes:
    """A framed square in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + TILE) / height, TILE / width, TILE / height))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(edge)
    axes.spines[:].set_linewidth(edge_width)
    return axes


def mark(marker: str, label: str, **style: Any) -> Line2D:
    """A symbol and its words, for a legend."""
    return Line2D([], [], linestyle="", marker=marker, label=label, **style)


def legend(figure: Figure, marks: Sequence[Any], place: tuple[float, float], title: str | None, **how: Any) -> None:
    """Symbols and their words, with a corner of them at a place of the figure."""
    usual = {"loc": "upper left", "frameon": False, "title_fontsize": 9, "alignment": "left"}
    figure.legend(handles=marks, title=title, bbox_to_anchor=place, **{**usual, **how})


def percent_axis(axes: Axes, low: float, high: float) -> None:
    """Accuracies upwards, in percent, in an open frame."""
    axes.set_ylim(low, high)
    axes.set_yticks(range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)


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
