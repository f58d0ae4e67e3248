"""Figures 5 and 11 to 13: where the vision tower looks, before and after alignment, by whether it names the species.

Under recipe `authors` maps are drawn as in the paper, blended in the colours of JET. Else they are drawn over the grey
picture in magma, whose lightness grows evenly with attention.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, TypedDict

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from results.evaluated import EvaluatedFolder
from results.figures.ink import shown, tile, write
from results.figures.picture import FigureChoice, Picture, Record, plain_style, sheet_of
from workloads.arrays import Floats
from workloads.data.files.images import Pixels
from workloads.data.inputs.image_views import Extent, evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.run_files import read_object

SUBSETS = ("seen", "unseen")
AttentionFigure = Literal[5, 11, 12, 13]
_LEAST: Mapping[AttentionFigure, int] = {5: 1, 11: 2, 12: 3, 13: 2}
"""Models that each figure needs."""
ROWS_OF_GROUP, ROWS_OF_FIGURE = 2, 6
"""Queries that Figure 5 shows of each outcome, and the others in all, of seen and of unseen species."""
RightByModel = tuple[bool, ...]
"""Whether each model named the species, what came before first."""
_RIGHT, _WRONG = "#168A36", "#D1232A"
_SIDE = 224  # pixels of a tile
_LETTERS = 17  # of a line beneath a tile

_STEP, _NAMES = 1.08, 0.4  # inches: from one tile to the next, and the lines of text beneath
_LEFT, _LABELS, _GAP, _TOP, _FOOT = 0.2, 1.3, 0.3, 0.95, 0.4


class Glance(NamedTuple):
    """What one model saw in a query, and answered."""

    specimen_id: str
    subset: str
    truth: str
    right: bool
    """Whether it named the species."""
    found: str | None
    """Species of the nearest key."""
    key_id: str
    mask: Floats
    """(side, side), in [0, 1]."""


class _Counted(TypedDict):
    subset: str
    outcome: str
    queries: int


class _StoredFacts(TypedDict):
    models: list[str]
    outcomes: list[_Counted]
    recipe: str
    extent: Extent


Glances = tuple[Glance, ...]
"""What every model saw in a query."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Queries of one outcome."""

    title: str
    cases: Mapping[str, Sequence[Glances]]
    """By subset, as many as are shown."""
    counts: Mapping[str, int]
    """How many queries had the outcome, by subset."""


@dataclass(frozen=True, slots=True)
class StoredAttention:
    """What `clibd attention` left for one partition."""

    models: tuple[str, ...]
    recipe: str
    extent: Extent
    cases: tuple[Glances, ...]
    counts: Mapping[tuple[str, RightByModel], int]
    """Queries by subset, and by which models named their species."""


def read_attention(evaluated: EvaluatedFolder, partition: str) -> StoredAttention:
    """The stored attention of an evaluation.

    Raises:
        MissingPathError: there is none for the partition.
        DamagedError: the files are not what was written.
    """
    folder, name = evaluated.folder, f"attention-{partition}"
    if not (folder.has(f"{name}.json") and folder.has(f"{name}.parquet")):
        # It is stored with the evaluation that the queries were answered in, which may be one inside the run.
        inside = [f"{folder}/{other}" for other in folder.folders() if (folder / other).has(f"{name}.json")]
        store = f"Store it with `clibd attention RUN --data DIR --partition {partition}`."
        remedy = f"There is some in {', '.join(inside)}." if inside else store
        raise MissingPathError(f"{folder}/{name}.parquet", f"attention of {partition} queries", remedy)
    facts = read_object(folder, f"{name}.json", _StoredFacts)
    rows = folder.read_table(f"{name}.parquet").to_pylist()
    try:
        counts, models = {}, tuple(facts["models"])
        for row in facts["outcomes"]:
            counts[row["subset"], tuple(word == "right" for word in row["outcome"].split())] = row["queries"]
        return StoredAttention(models, facts["recipe"], facts["extent"], _cases(rows, len(models)), counts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(f"{folder}/{name}.parquet", f"not what `clibd attention` writes ({error})") from error


def _cases(rows: Sequence[Mapping[str, Any]], num_models: int) -> tuple[Glances, ...]:
    glances: dict[str, dict[int, Glance]] = defaultdict(dict)
    for row in rows:
        mask = np.array(row["values"], dtype=np.float32).reshape(row["grid_side"], row["grid_side"])
        about = {name: row[name] for name in Glance._fields if name != "mask"}
        glances[row["specimen_id"]][row["model"]] = Glance(**about, mask=mask)
    return tuple(tuple(own[number] for number in range(num_models)) for own in glances.values())


def groups_of_figure(figure: AttentionFigure, stored: StoredAttention) -> list[Outcome]:
    """What a figure shows, in its order; groups without a query are left out.

    Figure 5 compares the first model with the last; 11 to 13 ask which of the models named the species, of which the
    first is the one before alignment.

    Raises:
        UsageError: fewer models than it compares, or no query fits.
    """
    if len(stored.models) < (least := _LEAST[figure]):
        raise UsageError(
            f"figure {figure} compares {least} models at least, and attention was stored of "
            f"{', '.join(stored.models)}; use `clibd attention RUN --data DIR --untrained --before OTHER_RUN`"
        )
    at_most = ROWS_OF_GROUP if figure == 5 else ROWS_OF_FIGURE
    outcomes = [_outcome(stored, title, fits, at_most) for title, fits in _wanted(figure, stored.models)]
    if not (there := [outcome for outcome in outcomes if any(outcome.cases.values())]):
        raise UsageError(f"no query that was stored fits figure {figure} ({' '.join(outcomes[0].title.split())})")
    return there


_Fits = Callable[[RightByModel], bool]


def _wanted(figure: AttentionFigure, models: Sequence[str]) -> list[tuple[str, _Fits]]:
    """The groups of a figure: what each is called, and which queries are in it."""
    if figure == 11:
        return [(f"Only {models[-1]}\nis right", lambda v: v[-1] and not any(v[:-1]))]
    if figure == 12:
        return [("Several aligned\nmodels are right", lambda v: sum(v[1:]) > 1)]
    if figure == 13:
        return [("No model\nis right", lambda v: not any(v))]
    if len(models) == 1:
        return [("Right", lambda v: v[0]), ("Wrong", lambda v: not v[0])]
    return [
        ("Wrong before,\nright after", lambda v: not v[0] and v[-1]),
        ("Right before,\nwrong after", lambda v: v[0] and not v[-1]),
        ("Right before\nand after", lambda v: v[0] and v[-1]),
        ("Wrong before\nand after", lambda v: not v[0] and not v[-1]),
    ]


def _outcome(stored: StoredAttention, title: str, fits: _Fits, at_most: int) -> Outcome:
    """The first queries of an outcome: one of each pattern of verdicts, then a second of each, and so on."""
    alike: dict[tuple[str, RightByModel], list[Glances]] = defaultdict(list)
    for case in stored.cases:
        if fits(verdicts := tuple(glance.right for glance in case)):
            alike[case[0].subset, verdicts].append(case)
    cases, counts = {}, {}
    for subset in SUBSETS:
        turns = zip_longest(*(alike[place] for place in sorted(alike) if place[0] == subset))
        cases[subset] = [case for turn in turns for case in turn if case is not None][:at_most]
        counts[subset] = sum(queries for (own, v), queries in stored.counts.items() if own == subset and fits(v))
    return Outcome(title, cases, counts)


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


def overlaid(picture: Pixels, mask: Floats, recipe: str) -> Pixels:
    """A picture under its attention.

    Args:
        picture: (side, side, 3).
        mask: (grid, grid), in [0, 1].
        recipe: decides the colours.

    Returns:
        (side, side, 3).
    """
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
