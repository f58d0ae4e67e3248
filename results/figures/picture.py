"""What all figures share: how they are asked for, sheet and small print, and files that are the same bytes each time.

Figures are drawn without a window system and without matplotlib's global state, in matplotlib's own default style
whatever the user's is. Names are no formulas: `$` and markup in them are drawn as they are.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.style import context
from matplotlib.textpath import TextPath

from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, INK, shown
from results.sheet import records_text
from workloads.errors import UsageError
from workloads.spec import Rank
from workloads.storage import Folder

SEED = 413
"""The authors' seed for the examples of Figure 3."""

Record = Mapping[str, str | int | float | bool | None]

_MARGIN = 0.2  # inches
_TITLE, _SMALL = 11.0, 7.5  # points
_LONGEST, _LONGEST_LABEL = 44, 70  # characters of a data set's or run's name: in the small print, beside a title


@dataclass(frozen=True, slots=True)
class FigureChoice:
    """A figure as it was asked for; None is what the figure itself holds for usual."""

    runs: tuple[str, ...] = ()
    """Run folders, or evaluations in them; only Figure 9 takes several."""
    data: str | None = None
    """Prepared data set, whose pictures or barcodes are drawn."""
    before: str | None = None
    """Evaluation before alignment, which is drawn beside."""
    partition: str = "val"
    """`val` or `test`: whose queries."""
    rank: Rank | None = None
    within: str | None = None
    """Only queries of the higher taxon of this name."""
    query: str = "image"
    """Feature that asks."""
    key: str = "dna"
    """Feature that answers."""
    subset: str | None = None
    """Only `seen` or `unseen` queries; None for both."""
    only_errors: bool = False
    """Only queries whose nearest key of some kind is of another species."""
    seed: int = SEED

    @property
    def queries(self) -> str:
        """Which queries, as the small print says it."""
        return f"{self.partition} queries{f' of {self.subset} species' if self.subset else ''}"

    def data_of(self, evaluated: EvaluatedFolder) -> Folder:
        """The data set whose specimens are drawn.

        Raises:
            UsageError: none was named.
        """
        if self.data is None:
            dataset = evaluated.facts["dataset"]
            raise UsageError(f"this figure shows specimens: give the prepared data set of {dataset} with --data DIR")
        return Folder(self.data)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure and the numbers it shows."""

    figure: Figure
    records: Sequence[Record]
    """All numbers behind it, in long form; every record has the same fields."""
    synthetic: bool
    """Whether they are of drawn specimens."""


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's default style without formulas, and SVG whose labels are text and whose ids are fixed.

    Everything is created and saved in it, as texts ask for the style when they are made. A letter that the font lacks
    is a box in PNG, and is itself in SVG and CSV.
    """
    ours = {"text.parse_math": False, "svg.hashsalt": "clibd", "svg.fonttype": "none", "font.size": 9}
    ink = {"text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK}
    with warnings.catch_warnings(), context(["default", {**ours, **ink}]):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def drawn_files(figure: Figure, records: Sequence[Record] | None = None) -> dict[str, bytes]:
    """A figure as PNG of 150 dots an inch and as SVG, and its numbers, if any, as CSV; by ending.

    Equal figures are equal files: there is no date in them, and ids are fixed.
    """
    files: dict[str, bytes] = {}
    options: Mapping[str, Any] = {
        "png": {"dpi": 150, "metadata": {"Software": None}},
        "svg": {"metadata": {"Date": None, "Creator": None}},
    }
    for form, how in options.items():
        sink = io.BytesIO()
        with plain_style():
            figure.savefig(sink, format=form, **how)
        files[form] = sink.getvalue()
    return files if records is None else {**files, "csv": f"{records_text(records, 'csv')}\n".encode()}


def sheet_of(
    evaluated: EvaluatedFolder, width: float, height: float, title: str, *notes: str, runs: str | None = None
) -> Figure:
    """An empty sheet that says of what it is; nobody takes drawn specimens for insects.

    Args:
        evaluated: whose numbers are drawn.
        width: inches.
        height: inches.
        title: what is drawn.
        notes: more small print.
        runs: which runs, where they are several.
    """
    facts = evaluated.facts
    dataset, run = (shown(name, _LONGEST) for name in (facts["dataset"], evaluated.run))
    keys = [place.keys for place in evaluated.predictions.places]
    small_print = [
        f"{dataset}{' (SYNTHETIC specimens)' if facts['synthetic'] else ''}",
        f"recipe {facts['recipe']}",
        runs or f"run {run}",
        *([] if "all" in keys or not keys else [f"keys searched: {keys[0]}"]),
        *notes,
    ]
    title = f"SYNTHETIC specimens: {title}" if facts["synthetic"] else title
    return sheet(width, height, title, " · ".join(small_print))


def sheet(width: float, height: float, title: str, small_print: str) -> Figure:
    """An empty figure, in inches, with its title on top and small print at its foot; half an inch is kept for each.

    A long title is written smaller, and long small print on two lines.
    """
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


def entitle(figure: Figure, title: str, dataset: str) -> None:
    """Title to the left, data set to the right; names are no formulas."""
    width, height = figure.get_size_inches()
    top = 1 - 0.3 / height
    figure.text(0.25 / width, top, title, ha="left", va="center", fontsize=12, weight="bold", color=INK)
    name = shown(dataset, _LONGEST_LABEL)
    figure.text(1 - 0.25 / width, top, name, ha="right", va="center", fontsize=9, color=INK, parse_math=False)


def _text_width(text: str, size: float, weight: str) -> float:
    """Width of a line of text, inches, and a little more, as hinting widens letters."""
    if not text.strip():
        return 0.1
    with plain_style():
        outline = TextPath((0, 0), text, prop=FontProperties(size=size, weight=weight))
    return 1.05 * float(outline.get_extents().width) / 72
