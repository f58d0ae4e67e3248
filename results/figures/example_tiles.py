"""Figure 3 drawn: a row a query, its nearest keys beside it, framed and lettered by the lowest rank that they share."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from results.figures.evaluated import Evaluated
from results.figures.picture import (
    FAINT,
    INK,
    TILE,
    Picture,
    feature_word,
    pair_words,
    plain_style,
    sheet,
    shown,
    tile,
    write,
)
from results.figures.retrieval_examples import (
    NUM_KEYS,
    Example,
    Lineage,
    example_records,
    lowest_name,
    retrieval_examples,
)
from workloads.data.files.images import Pixels, decode
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank
from workloads.storage import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES: Mapping[Rank | None, tuple[str, str, str]] = {
    "species": ("#168A36", "S", "same species"),
    "genus": ("#9ADB6E", "G", "same genus"),
    "family": ("#F2CB05", "F", "same family"),
    "order": ("#EE8208", "O", "same order"),
    None: ("#D1232A", "–", "no match"),
}
"""Colour, letter and words for the lowest shared rank: no meaning hangs on colour alone."""
_BASES = {"A": (76, 175, 80), "C": (33, 100, 200), "G": (40, 40, 40), "T": (226, 60, 50)}
_UNCERTAIN, _PAST_THE_END = (205, 205, 205), (255, 255, 255)
_BASES_A_LINE = 110  # six lines hold the 660 bases that the DNA tower reads
_SIDE = 240  # pixels of a stored picture: what a tile of an inch shows in print

_STEP, _LINE = 1.1, 1.66  # inches: from one tile to the next, from row to row
_LETTERS = 16  # of a name across a tile
_LEFT, _GROUP_GAP, _TOP, _FOOT = 0.2, 0.2, 0.88, 0.66


@dataclass(frozen=True, slots=True)
class Portrait:
    """What can be drawn of a specimen."""

    image: Pixels | None
    barcode: str | None


@plain_style()
def draw_retrieval_examples(
    evaluated: Evaluated,
    data: str,
    partition: str = "val",
    query: str = "image",
    rank: Rank = "order",
    seed: int = 413,
    subset: str | None = None,
    only_errors: bool = False,
) -> Picture:
    """Draw Figure 3: five queries with their three nearest keys by image, DNA and text.

    Args:
        evaluated: the evaluation.
        data: the prepared data set that it was made on, for pictures and barcodes.
        partition: `val` or `test`.
        query: feature that asks.
        rank: of the taxa that queries are drawn from.
        seed: of the drawing.
        subset: only `seen` or `unseen` queries; None for both.
        only_errors: only queries whose nearest key of some kind is of another species.

    Raises:
        UsageError: there are no such queries, or the data set lacks their specimens.
        MissingPathError: there is no prepared data set.
    """
    keys = key_features(evaluated, partition, query)
    examples = retrieval_examples(evaluated, partition, query, keys, rank, seed, subset, only_errors)
    dataset = PreparedDataset(Folder(data))
    portraits = find_portraits(evaluated, dataset, examples)
    groups = list(examples[0].found)
    width = _LEFT + (1 + NUM_KEYS * len(groups)) * _STEP + len(groups) * _GROUP_GAP + 0.1
    height = _TOP + len(examples) * _LINE + _FOOT
    notes = [f"{partition} queries{f' of {subset} species' if subset else ''}, seed {seed}"]
    if only_errors:
        notes.append("errors only")
    if all(portrait.image is None for portrait in portraits.values()):
        notes.append("the data set has no pictures: names instead")
    title = f"Nearest keys of {feature_word(query)} queries"
    figure = sheet(max(width, 7.2), height, evaluated.title(title), evaluated.small_print(*notes))
    _headings(figure, groups, query)
    for number, example in enumerate(examples):
        _row(figure, _TOP + number * _LINE, example, query, portraits)
    _key_to_frames(figure)
    return Picture(figure, example_records(examples, partition, query), evaluated.synthetic)


def key_features(evaluated: Evaluated, partition: str, query: str) -> list[str]:
    """The key features that are shown. Of texts one a species where it was evaluated: others show the same thrice.

    Raises:
        UsageError: no image, DNA or text keys were searched.
    """
    wanted = [(query, key) for key in ("image", "dna", "species_text", "text")]
    keys = [key for _, key in evaluated.pairs(partition, wanted)]
    return [key for key in keys if key != "text" or "species_text" not in keys]


def find_portraits(evaluated: Evaluated, dataset: PreparedDataset, examples: Sequence[Example]) -> dict[str, Portrait]:
    """Pictures and barcodes of all specimens of some examples.

    Raises:
        UsageError: the data set does not have one of them.
        MissingPathError: there is no prepared data set.
    """
    wanted = {example.specimen_id for example in examples}
    wanted |= {near.specimen_id for example in examples for found in example.found.values() for near in found}
    specimens = evaluated.predictions.specimens.select(["specimen_id", "split"]).to_pylist()
    splits = sorted({row["split"] for row in specimens if row["specimen_id"] in wanted})
    rows = dataset.find(splits, ["image", "barcode"], wanted).to_pylist()
    if missing := wanted - {row["specimen_id"] for row in rows}:
        raise UsageError(
            f"{dataset.folder} has no specimen {min(missing)}, so the evaluation is of other data; give with --data "
            "the data set that the run was evaluated on"
        )
    return {row["specimen_id"]: Portrait(_thumbnail(row["image"]), row["barcode"]) for row in rows}


def _thumbnail(content: bytes | None) -> Pixels | None:
    if content is None:
        return None
    image = Image.fromarray(decode(content))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def barcode_stripes(barcode: str) -> Pixels:
    """A barcode as coloured bases, 110 a line and six lines at most, (lines, 110, 3)."""
    letters = barcode.upper().replace("U", "T")[: 6 * _BASES_A_LINE]
    lines = max(1, -(-len(letters) // _BASES_A_LINE))
    pixels = np.full((lines * _BASES_A_LINE, 3), _PAST_THE_END, dtype=np.uint8)
    for place, letter in enumerate(letters):
        pixels[place] = _BASES.get(letter, _UNCERTAIN)
    return pixels.reshape(lines, _BASES_A_LINE, 3)


# --- Layout, in inches from the upper left corner ------------------------------------------------------------------


def _left_of(group: int, place: int) -> float:
    """Left edge of a key's tile."""
    return _LEFT + _STEP + (group + 1) * _GROUP_GAP + (NUM_KEYS * group + place) * _STEP


def _headings(figure: "Figure", groups: Sequence[str], query: str) -> None:
    write(figure, _LEFT, 0.74, "Query", 9.5, weight="bold")
    for number, key in enumerate(groups):
        write(figure, _left_of(number, 0), 0.74, pair_words(query, key), 9.5, weight="bold")


def _row(figure: "Figure", top: float, example: Example, query: str, portraits: Mapping[str, Portrait]) -> None:
    axes = tile(figure, _LEFT, top, FAINT, 0.8)
    _fill(axes, query, portraits[example.specimen_id], example.lineage)
    lines = [*_name_lines(example.lineage), f"{example.subset} species"]
    write(figure, _LEFT, top + TILE + 0.15, "\n".join(lines), 7)
    for group, (key, neighbours) in enumerate(example.found.items()):
        for place, near in enumerate(neighbours):
            left = _left_of(group, place)
            colour, letter, words = FRAMES[near.shared]
            axes = tile(figure, left, top, colour, 3)
            _fill(axes, key, portraits[near.specimen_id], near.lineage)
            axes.text(
                0, 1, letter, fontsize=8, transform=axes.transAxes, ha="left", va="top", zorder=5, **_badge(near.shared)
            )
            lines = [words, *_name_lines(near.lineage), f"cosine {near.cosine:.3f}".replace("-", "−")]
            write(figure, left, top + TILE + 0.15, "\n".join(lines), 7)


def _name_lines(lineage: Lineage) -> list[str]:
    """The most precise name."""
    return _wrapped(lowest_name(lineage) or "no name")


def _wrapped(name: str) -> list[str]:
    """A name on at most two lines as wide as a tile."""
    lines = textwrap.wrap(shown(name, len(name)), _LETTERS)
    return lines if len(lines) <= 2 else [lines[0], shown(" ".join(lines[1:]), _LETTERS)]


def _fill(axes: "Axes", feature: str, portrait: Portrait, lineage: Lineage) -> None:
    """What the feature is made of: the picture, the barcode, else the names."""
    if feature in ("image", "averaged", "concatenated") and portrait.image is not None:
        height, width = portrait.image.shape[:2]
        side = max(height, width)
        axes.imshow(portrait.image)
        axes.set_xlim(width / 2 - side / 2 - 0.5, width / 2 + side / 2 - 0.5)
        axes.set_ylim(height / 2 + side / 2 - 0.5, height / 2 - side / 2 - 0.5)
    elif feature == "dna" and portrait.barcode:
        stripes = barcode_stripes(portrait.barcode)
        axes.imshow(stripes, aspect="auto", interpolation="nearest")
        for line in range(1, len(stripes)):
            axes.axhline(line - 0.5, color="white", linewidth=1.6)
    else:
        lines = [shown(name, _LETTERS) for rank in RANKS[:-1] if (name := lineage[rank]) is not None]
        lines += _wrapped(lineage["species"]) if lineage["species"] is not None else []
        axes.text(0.5, 0.5, "\n".join(lines) or "no name", fontsize=6.4, ha="center", va="center", linespacing=1.5)
        axes.set_facecolor("#F7F7F4")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)


def _badge(shared: Rank | None) -> dict[str, Any]:
    """How the letter of a rank is drawn."""
    ink = "white" if shared in ("species", None) else INK
    box = {"boxstyle": "square,pad=0.22", "facecolor": FRAMES[shared][0], "edgecolor": "none"}
    return {"weight": "bold", "family": "monospace", "color": ink, "bbox": box}


def _key_to_frames(figure: "Figure") -> None:
    """What frames, letters and bases mean."""
    _, height = figure.get_size_inches()
    left, top = _LEFT, height - 0.42
    for shared, (_, letter, words) in FRAMES.items():
        write(figure, left + 0.04, top, letter, 8, **_badge(shared))
        write(figure, left + 0.22, top, words, 8)
        left += 1.1
    for base, rgb in _BASES.items():
        write(figure, left + 0.12, top, base, 8, weight="bold", color="#{:02X}{:02X}{:02X}".format(*rgb))
        left += 0.16
    write(figure, left + 0.15, top, f"bases, {_BASES_A_LINE} a line", 8)
