"""Figures 5 and 11 to 13: where the vision tower looks, before and after alignment, by whether it names the species."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from results.evaluated import EvaluatedFolder
from results.figures.attention_cases import (
    SUBSETS,
    AttentionFigure,
    Glances,
    Outcome,
    StoredAttention,
    groups_of_figure,
    overlaid,
    read_attention,
)
from results.figures.ink import shown, tile, write
from results.figures.picture import FigureChoice, Picture, Record, plain_style, sheet_of
from workloads.data.files.images import Pixels
from workloads.data.inputs.image_views import Extent, evaluation_view
from workloads.data.prepared.dataset import PreparedDataset

_RIGHT, _WRONG = "#168A36", "#D1232A"
_SIDE = 224  # pixels of a tile
_LETTERS = 17  # of a line beneath a tile

_STEP, _NAMES = 1.08, 0.4  # inches: from one tile to the next, and the lines of text beneath
_LEFT, _LABELS, _GAP, _TOP, _FOOT = 0.2, 1.3, 0.3, 0.95, 0.4


def _records(groups: Sequence[Outcome], stored: StoredAttention, partition: str) -> list[Record]:
    """A record for each map that is shown; its values are in the order of rows, with three decimals."""
    return [
        {
            "partition": partition,
            "group": " ".join(group.title.split()),
            "subset": subset,
            "specimen_id": glance.specimen_id,
            "species": glance.truth,
            "model": model,
            "right": glance.right,
            "key_id": glance.key_id,
            "key_species": glance.found,
            "num_queries_of_group": group.counts[subset],
            "grid_side": len(glance.mask),
            "attention": " ".join(f"{value:.3f}" for value in glance.mask.ravel().tolist()),
        }
        for group in groups
        for subset, cases in group.cases.items()
        for case in cases
        for model, glance in zip(stored.models, case, strict=True)
    ]


@plain_style()
def draw_attention(evaluated: EvaluatedFolder, choice: FigureChoice, figure: AttentionFigure = 5) -> Picture:
    """Draw one of the figures from what `clibd attention` stored; 11 to 13 show the nearest key beneath each map.

    Raises:
        UsageError: the figure compares more models than there are, no query fits, or the data set lacks the specimens.
        MissingPathError: no attention was stored for the partition, or there is no data set.
        DamagedError: what was stored is not what was written.
    """
    partition, data = choice.partition, choice.data_of(evaluated)
    stored = read_attention(evaluated, partition)
    groups = groups_of_figure(figure, stored)
    with_keys = figure != 5
    cases = [case for group in groups for own in group.cases.values() for case in own]
    pictures = _pictures(PreparedDataset(data), cases, partition, stored.extent, with_keys)
    subsets = [subset for subset in SUBSETS if any(group.cases[subset] for group in groups)]
    width_of_subset = (1 + len(stored.models)) * _STEP + _GAP
    height_of_row = (2 if with_keys else 1) * _STEP + _NAMES
    lengths = [max(len(cases) for cases in group.cases.values()) for group in groups]
    width = _LEFT + _LABELS + len(subsets) * width_of_subset
    height = _TOP + sum(lengths) * height_of_row + _FOOT
    notes = [f"{partition} queries, nearest image key", f"roll-out of recipe {stored.recipe}"]
    title = "Attention of the vision tower" + (" and the nearest keys" if with_keys else "")
    drawn = sheet_of(evaluated, max(width, 7.6), height, title, *notes)
    lefts = {subset: _LEFT + _LABELS + side * width_of_subset for side, subset in enumerate(subsets)}
    for subset, left in lefts.items():
        _text(drawn, left, 0.5, f"{subset.title()} species", 9.5, weight="bold")
        for number, name in enumerate(("Input", *stored.models)):
            _text(drawn, left + number * _STEP, 0.72, shown(name, 18), 8.5)
    _scale(drawn, stored.recipe)
    top = _TOP
    for group, length in zip(groups, lengths, strict=True):
        _text(drawn, _LEFT, top, group.title, 8.5, weight="bold")
        _text(drawn, _LEFT, top + 0.38, "\n".join(f"{group.counts[subset]:,} {subset}" for subset in subsets), 8)
        for subset, left in lefts.items():
            for number, case in enumerate(group.cases[subset]):
                _row(drawn, (left, top + number * height_of_row), case, pictures, stored.recipe, with_keys)
        top += length * height_of_row
    return Picture(drawn, _records(groups, stored, partition), evaluated.facts["synthetic"])


def _pictures(
    dataset: PreparedDataset, cases: Sequence[Glances], partition: str, extent: Extent, with_keys: bool
) -> dict[str, Pixels]:
    """Squares of all queries shown, as the towers saw them, and of their nearest keys."""
    splits = dataset.facts.splits
    asked = {case[0].specimen_id for case in cases}
    asking = dataset.images(splits.asking(partition), asked)
    squares = {name: evaluation_view(content, _SIDE, extent) for name, content in asking.items()}
    if with_keys:
        keys = {glance.key_id for case in cases for glance in case}
        squares |= {
            name: evaluation_view(content, _SIDE) for name, content in dataset.images(splits.keys, keys).items()
        }
    return squares


# --- Layout, in inches from the upper left corner ------------------------------------------------------------------


def _text(figure: Figure, left: float, top: float, text: str, size: float, **style: Any) -> None:
    """Lines from a place down."""
    write(figure, left, top + 0.85 * size / 72, text, size, **style)


def _show(figure: Figure, left: float, top: float, pixels: Pixels, edge: str = "#FFFFFF") -> None:
    tile(figure, left, top, edge, 2).imshow(pixels, interpolation="nearest")


def _scale(figure: Figure, recipe: str) -> None:
    """What the colours mean, in the upper right corner."""
    width, height = figure.get_size_inches()
    levels = np.linspace(0, 1, 64, dtype=np.float32)
    bar = overlaid(np.full((64, 64, 3), 255, dtype=np.uint8), np.tile(levels, (64, 1)), recipe)
    axes = figure.add_axes((1 - 1.35 / width, 1 - 0.32 / height, 0.8 / width, 0.12 / height))
    axes.imshow(bar, aspect="auto")
    axes.set_axis_off()
    _text(figure, width - 2.2, 0.2, "attention: none", 7)
    _text(figure, width - 0.5, 0.2, "most", 7)


def _row(
    figure: Figure,
    place: tuple[float, float],
    case: Glances,
    pictures: Mapping[str, Pixels],
    recipe: str,
    with_keys: bool,
) -> None:
    left, top = place
    picture = pictures[case[0].specimen_id]
    names_top = top + (2 if with_keys else 1) * _STEP
    _show(figure, left, top, picture)
    _text(figure, left, top + _STEP, _lines(case[0].truth), 7)
    for number, glance in enumerate(case, start=1):
        across = left + number * _STEP
        colour = _RIGHT if glance.right else _WRONG
        _show(figure, across, top, overlaid(picture, glance.mask, recipe))
        if with_keys:
            _show(figure, across, top + _STEP, pictures[glance.key_id], colour)
        mark = "✓ " if glance.right else "✗ "  # no meaning hangs on colour alone
        _text(figure, across, names_top, _lines(glance.found or "no species", mark), 7, color=colour)


def _lines(name: str, mark: str = "") -> str:
    """A name as wide as a tile; one that is too long has its first word, the genus, on a line by itself."""
    if len(mark + name) <= _LETTERS or " " not in name:
        return mark + shown(name, _LETTERS - len(mark))
    genus, _, rest = name.partition(" ")
    return f"{mark}{shown(genus, _LETTERS - len(mark))}\n{shown(rest, _LETTERS)}"
