"""Figures 5 and 11 to 13: where the vision tower looks, before and after alignment, by whether it names the species.

Under recipe `authors` maps are drawn as in the paper, blended in the colours of JET. Else they are drawn over the grey
picture in magma, whose lightness grows evenly with attention.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from results.figures.attention_data import (
    SUBSETS,
    Case,
    Glance,
    Group,
    StoredAttention,
    attention_records,
    groups_of_figure,
    read_attention,
)
from results.figures.evaluated import Evaluated
from results.figures.picture import Picture, plain_style, sheet, shown, tile, write
from workloads.data.files.images import Pixels
from workloads.data.inputs.pictures import find_pictures, square
from workloads.data.prepared.dataset import PreparedDataset
from workloads.storage import Folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT, WRONG = "#168A36", "#D1232A"
_SIDE = 224  # pixels of a tile
_LETTERS = 17  # of a line beneath a tile

_STEP, _NAMES = 1.08, 0.4  # inches: from one tile to the next, and the lines of text beneath
_LEFT, _LABELS, _GAP, _TOP, _FOOT = 0.2, 1.3, 0.3, 0.95, 0.4


@plain_style()
def draw_attention(evaluated: Evaluated, data: str, figure: int = 5, partition: str = "val") -> Picture:
    """Draw one of the figures from what `clibd attention` stored.

    Args:
        evaluated: the evaluation of the last model.
        data: the prepared data set that it was made on, for pictures.
        figure: 5, 11, 12 or 13; the last three show the nearest key beneath each map.
        partition: `val` or `test`.

    Raises:
        UsageError: the figure compares more models than there are, no query fits, or the data set lacks the specimens.
        MissingPathError: no attention was stored for the partition, or there is no data set.
        DamagedError: what was stored is not what was written.
    """
    stored = read_attention(evaluated, partition)
    groups = groups_of_figure(figure, stored)
    with_keys = figure != 5
    pictures = _pictures(PreparedDataset(Folder(data)), groups, partition, stored, with_keys)
    subsets = [subset for subset in SUBSETS if any(group.cases[subset] for group in groups)]
    columns = 1 + len(stored.models)
    height_of_row = (2 if with_keys else 1) * _STEP + _NAMES
    lengths = [max(len(cases) for cases in group.cases.values()) for group in groups]
    width = _LEFT + _LABELS + len(subsets) * (columns * _STEP + _GAP)
    height = _TOP + sum(lengths) * height_of_row + _FOOT
    notes = [f"{partition} queries, nearest image key", f"roll-out of recipe {stored.recipe}"]
    title = "Attention of the vision tower" + (" and the nearest keys" if with_keys else "")
    drawn = sheet(max(width, 7.6), height, evaluated.title(title), evaluated.small_print(*notes))
    _headings(drawn, subsets, stored.models)
    _scale(drawn, stored.recipe)
    top = _TOP
    for group, length in zip(groups, lengths, strict=True):
        _label(drawn, top, group, subsets)
        for side, subset in enumerate(subsets):
            for number, case in enumerate(group.cases[subset]):
                left = _LEFT + _LABELS + side * (columns * _STEP + _GAP)
                _row(drawn, (left, top + number * height_of_row), case, pictures, stored.recipe, with_keys)
        top += length * height_of_row
    return Picture(drawn, attention_records(groups, stored, partition), evaluated.synthetic)


def _pictures(
    dataset: PreparedDataset, groups: Sequence[Group], partition: str, stored: StoredAttention, with_keys: bool
) -> dict[str, Pixels]:
    """Squares of all queries shown, as the towers saw them, and of their nearest keys."""
    cases = [case for group in groups for cases in group.cases.values() for case in cases]
    splits = dataset.facts.splits
    asking = find_pictures(dataset, list(splits.queries.get(partition, {}).values()), {c.specimen_id for c in cases})
    found = {name: square(content, _SIDE, stored.extent) for name, content in asking.items()}
    if with_keys:
        keys = {glance.key_id for case in cases for glance in case.glances}
        found |= {name: square(content, _SIDE) for name, content in find_pictures(dataset, splits.keys, keys).items()}
    return found


def overlaid(picture: Pixels, mask: npt.NDArray[np.float32], recipe: str) -> Pixels:
    """A picture under its attention.

    Args:
        picture: (side, side, 3).
        mask: (grid, grid), in [0, 1].
        recipe: decides the colours.

    Returns:
        (side, side, 3).
    """
    import matplotlib

    side = len(picture)
    large = np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
    colours = matplotlib.colormaps["jet" if recipe == "authors" else "magma"](large)[..., :3]
    below = picture / 255
    if recipe == "authors":
        blended = below + colours
        return np.asarray(255 * blended / blended.max()).round().astype(np.uint8)
    grey = below.mean(axis=-1, keepdims=True)
    return np.asarray(255 * (0.4 * grey + 0.6 * colours)).round().astype(np.uint8)


# --- Layout, in inches from the upper left corner ------------------------------------------------------------------


def _text(figure: "Figure", left: float, top: float, text: str, size: float, **style: Any) -> None:
    """Lines from a place down."""
    write(figure, left, top + 0.85 * size / 72, text, size, **style)


def _show(figure: "Figure", left: float, top: float, pixels: Pixels, edge: str = "#FFFFFF") -> None:
    tile(figure, left, top, edge, 2).imshow(pixels, interpolation="nearest")


def _headings(figure: "Figure", subsets: Sequence[str], models: Sequence[str]) -> None:
    for side, subset in enumerate(subsets):
        left = _LEFT + _LABELS + side * ((1 + len(models)) * _STEP + _GAP)
        _text(figure, left, 0.5, f"{subset.title()} species", 9.5, weight="bold")
        for number, name in enumerate(("Input", *models)):
            _text(figure, left + number * _STEP, 0.72, shown(name, 18), 8.5)


def _scale(figure: "Figure", recipe: str) -> None:
    """What the colours mean, in the upper right corner."""
    width, height = figure.get_size_inches()
    levels = np.linspace(0, 1, 64, dtype=np.float32)
    bar = overlaid(np.full((64, 64, 3), 255, dtype=np.uint8), np.tile(levels, (64, 1)), recipe)
    axes = figure.add_axes((1 - 1.35 / width, 1 - 0.32 / height, 0.8 / width, 0.12 / height))
    axes.imshow(bar, aspect="auto")
    axes.set_axis_off()
    _text(figure, width - 2.2, 0.2, "attention: none", 7)
    _text(figure, width - 0.5, 0.2, "most", 7)


def _label(figure: "Figure", top: float, group: Group, subsets: Sequence[str]) -> None:
    """What the queries of a group have in common, and how many there are."""
    _text(figure, _LEFT, top, group.title, 8.5, weight="bold")
    counts = "\n".join(f"{group.counts[subset]:,} {subset}" for subset in subsets)
    _text(figure, _LEFT, top + 0.38, counts, 8)


def _row(
    figure: "Figure",
    place: tuple[float, float],
    case: Case,
    pictures: Mapping[str, Pixels],
    recipe: str,
    with_keys: bool,
) -> None:
    left, top = place
    picture = pictures[case.specimen_id]
    names_top = top + (2 if with_keys else 1) * _STEP
    _show(figure, left, top, picture)
    _text(figure, left, top + _STEP, _lines(case.truth), 7)
    for number, glance in enumerate(case.glances, start=1):
        across = left + number * _STEP
        colour = RIGHT if glance.right else WRONG
        _show(figure, across, top, overlaid(picture, glance.mask, recipe))
        if with_keys:
            _show(figure, across, top + _STEP, pictures[glance.key_id], colour)
        _text(figure, across, names_top, _answer(glance), 7, color=colour)


def _answer(glance: Glance) -> str:
    """The species found, with a mark, as no meaning hangs on colour alone."""
    return _lines(glance.found or "no species", "✓ " if glance.right else "✗ ")


def _lines(name: str, mark: str = "") -> str:
    """A name as wide as a tile; one that is too long has its first word, the genus, on a line by itself."""
    if len(mark + name) <= _LETTERS or " " not in name:
        return mark + shown(name, _LETTERS - len(mark))
    genus, _, rest = name.partition(" ")
    return f"{mark}{shown(genus, _LETTERS - len(mark))}\n{shown(rest, _LETTERS)}"
