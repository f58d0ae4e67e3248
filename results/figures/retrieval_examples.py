"""Figure 3: a row a query, its nearest keys beside it, framed and lettered by the lowest rank that they share."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, INK, TILE, feature_word, pair_words, shown, tile, write
from results.figures.picture import FigureChoice, Picture, plain_style, sheet_of
from workloads.arrays import Codes, Mask
from workloads.data.files.images import Pixels, decode
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError
from workloads.predictions import FUSED, MISSING, Answers
from workloads.spec import RANKS

_NUM_QUERIES, _NUM_KEYS = 5, 3
TaxonNames = Mapping[str, str | None]
"""A specimen's names by rank."""
Portrait = tuple[Pixels | None, str | None]
"""What can be drawn of a specimen: its picture and its barcode."""

FRAMES: Mapping[str, tuple[str, str, str]] = {
    "species": ("#168A36", "S", "same species"),
    "genus": ("#9ADB6E", "G", "same genus"),
    "family": ("#F2CB05", "F", "same family"),
    "order": ("#EE8208", "O", "same order"),
    "none": ("#D1232A", "–", "no match"),
}
"""Colour, letter and words for the lowest shared rank: no meaning hangs on colour alone."""
_BASES = {"A": (76, 175, 80), "C": (33, 100, 200), "G": (40, 40, 40), "T": (226, 60, 50)}
_UNCERTAIN, _PAST_THE_END = (205, 205, 205), (255, 255, 255)
_BASES_A_LINE = 110  # six lines hold the 660 bases that the DNA tower reads
_SIDE = 240  # pixels of a stored picture: what a tile of an inch shows in print

_STEP, _LINE = 1.1, 1.66  # inches: from one tile to the next, from row to row
_LETTERS = 16  # of a name across a tile
_LEFT, _GROUP_GAP, _TOP, _FOOT = 0.2, 0.2, 0.88, 0.66


def retrieval_examples(evaluated: EvaluatedFolder, choice: FigureChoice) -> list[dict[str, Any]]:
    """Draw five queries: a taxon, each as likely as any other and none twice while there are others; then one of its
    queries. Taxa are orders unless another rank was asked for. Of texts one a species is shown where it was evaluated:
    others show the same thrice.

    Args:
        evaluated: the evaluation.
        choice: which queries.

    Returns:
        The three nearest keys by each feature of a query, a record a key, the nearest first.

    Raises:
        UsageError: there are no such queries, or no image, DNA or text keys were searched.
    """
    rank = choice.rank or "order"
    wanted = [(choice.query, key) for key in ("image", "dna", "species_text", "text")]
    keys = [key for _, key in evaluated.pairs(choice.partition, wanted)]
    keys = [key for key in keys if key != "text" or "species_text" not in keys]
    answers = {key: evaluated.answers(choice.partition, choice.query, key) for key in keys}
    first = next(iter(answers.values()))
    eligible: Mask = first.truth[rank] != MISSING
    if choice.subset is not None:
        eligible &= first.subset == choice.subset
    if choice.only_errors:
        wrong = [(one.truth["species"] != MISSING) & ~one.hits("species") for one in answers.values()]
        eligible &= np.any(wrong, axis=0)
    rows = _draw(first.truth[rank], eligible, choice.seed)
    if not rows:
        raise UsageError(
            f"no {choice.partition} query of {evaluated.folder} has a name at the rank of {rank} and fits what was "
            "asked for; choose another rank, or drop --subset and --only-errors"
        )
    specimens = evaluated.predictions.specimens.select(["specimen_id", *RANKS]).to_pylist()
    names = {row["specimen_id"]: row for row in specimens}
    return [record for row in rows for record in _records(first.ids[row], answers, names, choice)]


def _draw(codes: Codes, eligible: Mask, seed: int) -> list[int]:
    """Rows of up to five queries, taxa in random turns."""
    chance = np.random.default_rng(seed)
    waiting = {int(code): list(np.flatnonzero(eligible & (codes == code))) for code in np.unique(codes[eligible])}
    rows: list[int] = []
    while waiting and len(rows) < _NUM_QUERIES:
        for code in chance.permutation(sorted(waiting))[: _NUM_QUERIES - len(rows)].tolist():
            rows.append(int(waiting[code].pop(chance.integers(len(waiting[code])))))
            if not waiting[code]:
                del waiting[code]
    return rows


def _records(
    query: str, answers: Mapping[str, Answers], names: Mapping[str, TaxonNames], choice: FigureChoice
) -> Iterator[dict[str, Any]]:
    for key, answer in answers.items():
        row = int(np.flatnonzero(answer.ids == query)[0])
        own = answer.take(np.array([row]))
        for place, name in enumerate(answer.key_ids[row, :_NUM_KEYS]):
            if name is not None:
                yield {
                    "partition": choice.partition,
                    "query": choice.query,
                    "key": key,
                    "query_id": query,
                    "subset": answer.subset[row],
                    **{f"query_{rank}": names[query][rank] for rank in RANKS},
                    "place": place + 1,
                    "key_id": name,
                    "cosine": round(float(answer.cosines[row, place]), 6),
                    "shared": ("none", *RANKS)[own.depth_shared(place)[0]],
                    **{f"key_{rank}": names[name][rank] for rank in RANKS},
                }


@plain_style()
def draw_retrieval_examples(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw Figure 3: five queries with their three nearest keys by image, DNA and text.

    Raises:
        UsageError: there are no such queries, or the data set lacks their specimens.
        MissingPathError: there is no prepared data set.
    """
    dataset = choice.data_of(evaluated)
    records = retrieval_examples(evaluated, choice)
    groups = list(dict.fromkeys(record["key"] for record in records))
    examples = [list(own) for _, own in groupby(records, key=lambda record: record["query_id"])]
    portraits = _find_portraits(evaluated, PreparedDataset(dataset), records)
    notes = [f"{choice.queries}, seed {choice.seed}", *(["errors only"] if choice.only_errors else [])]
    if all(image is None for image, _ in portraits.values()):
        notes.append("the data set has no pictures: names instead")
    width = _LEFT + (1 + _NUM_KEYS * len(groups)) * _STEP + len(groups) * _GROUP_GAP + 0.1
    height = _TOP + len(examples) * _LINE + _FOOT
    title = f"Nearest keys of {feature_word(choice.query)} queries"
    figure = sheet_of(evaluated, max(width, 7.2), height, title, *notes)
    write(figure, _LEFT, 0.74, "Query", 9.5, weight="bold")
    for number, key in enumerate(groups):
        write(figure, _left_of(number, 0), 0.74, pair_words(choice.query, key), 9.5, weight="bold")
    for number, example in enumerate(examples):
        _draw_row(figure, _TOP + number * _LINE, example, portraits)
    _key_to_frames(figure)
    return Picture(figure, records, evaluated.facts["synthetic"])


def _find_portraits(
    evaluated: EvaluatedFolder, dataset: PreparedDataset, records: Sequence[Mapping[str, Any]]
) -> dict[str, Portrait]:
    """Pictures and barcodes of all specimens of some examples.

    Raises:
        UsageError: the data set does not have one of them.
    """
    wanted = {record[name] for record in records for name in ("query_id", "key_id")}
    specimens = evaluated.predictions.specimens.select(["specimen_id", "split"]).to_pylist()
    splits = sorted({row["split"] for row in specimens if row["specimen_id"] in wanted})
    rows = dataset.find(splits, ["image", "barcode"], wanted).to_pylist()
    if missing := wanted - {row["specimen_id"] for row in rows}:
        raise UsageError(
            f"{dataset.folder} has no specimen {min(missing)}, so the evaluation is of other data; give with --data "
            "the data set that the run was evaluated on"
        )
    return {row["specimen_id"]: (_thumbnail(row["image"]), row["barcode"]) for row in rows}


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
    return _LEFT + _STEP + (group + 1) * _GROUP_GAP + (_NUM_KEYS * group + place) * _STEP


def _draw_row(
    figure: Figure, top: float, records: Sequence[Mapping[str, Any]], portraits: Mapping[str, Portrait]
) -> None:
    query = records[0]
    names = _names(query, "query")
    _fill(tile(figure, _LEFT, top, FAINT, 0.8), query["query"], portraits[query["query_id"]], names)
    lines = [*_lowest_name(names), f"{query['subset']} species"]
    write(figure, _LEFT, top + TILE + 0.15, "\n".join(lines), 7)
    for group, (key, nearest) in enumerate(groupby(records, key=lambda record: record["key"])):
        for near in nearest:
            left = _left_of(group, near["place"] - 1)
            colour, letter, words = FRAMES[near["shared"]]
            names = _names(near, "key")
            axes = tile(figure, left, top, colour, 3)
            _fill(axes, key, portraits[near["key_id"]], names)
            corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "left", "va": "top", "zorder": 5}
            axes.text(0, 1, letter, fontsize=8, **corner, **_badge(near["shared"]))
            lines = [words, *_lowest_name(names), f"cosine {near['cosine']:.3f}".replace("-", "−")]
            write(figure, left, top + TILE + 0.15, "\n".join(lines), 7)


def _names(record: Mapping[str, Any], of: str) -> TaxonNames:
    return {rank: record[f"{of}_{rank}"] for rank in RANKS}


def _lowest_name(names: TaxonNames) -> list[str]:
    """The most precise name there is, on at most two lines."""
    return _wrapped(next((name for rank in reversed(RANKS) if (name := names[rank]) is not None), "no name"))


def _wrapped(name: str) -> list[str]:
    """A name on at most two lines as wide as a tile."""
    lines = textwrap.wrap(shown(name, len(name)), _LETTERS)
    return lines if len(lines) <= 2 else [lines[0], shown(" ".join(lines[1:]), _LETTERS)]


def _fill(axes: Axes, feature: str, portrait: Portrait, names: TaxonNames) -> None:
    """What the feature is made of: the picture, the barcode, else the names."""
    image, barcode = portrait
    if feature in ("image", "averaged", "concatenated", FUSED) and image is not None:
        height, width = image.shape[:2]
        side = max(height, width)
        axes.imshow(image)
        axes.set_xlim(width / 2 - side / 2 - 0.5, width / 2 + side / 2 - 0.5)
        axes.set_ylim(height / 2 + side / 2 - 0.5, height / 2 - side / 2 - 0.5)
    elif feature in ("dna", FUSED) and barcode:
        stripes = barcode_stripes(barcode)
        axes.imshow(stripes, aspect="auto", interpolation="nearest")
        for line in range(1, len(stripes)):
            axes.axhline(line - 0.5, color="white", linewidth=1.6)
    else:
        lines = [shown(name, _LETTERS) for rank in RANKS[:-1] if (name := names[rank]) is not None]
        lines += _wrapped(names["species"]) if names["species"] is not None else []
        axes.text(0.5, 0.5, "\n".join(lines) or "no name", fontsize=6.4, ha="center", va="center", linespacing=1.5)
        axes.set_facecolor("#F7F7F4")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)


def _badge(shared: str) -> dict[str, Any]:
    """How the letter of a rank is drawn."""
    ink = "white" if shared in ("species", "none") else INK
    box = {"boxstyle": "square,pad=0.22", "facecolor": FRAMES[shared][0], "edgecolor": "none"}
    return {"weight": "bold", "family": "monospace", "color": ink, "bbox": box}


def _key_to_frames(figure: Figure) -> None:
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
