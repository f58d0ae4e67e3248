"""Figures 2 and 7 of the paper for a data set: what each split holds, and how the partition came about.

In Figure 7 species are sorted by their number of records where the splits are those of the paper's Appendix A. In a
partition of another protocol they are merely seen or unseen. Pictures are the same bytes for the same numbers.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from results.figures.ink import INK, SEEN, UNSEEN
from results.figures.picture import entitle
from workloads.arrays import Mask
from workloads.data.specimens.partition import COMMON
from workloads.data.specimens.schema import PROTOCOLS, SplitProtocol, part_of, subset_of
from workloads.data.specimens.statistics import TaxonCounts

# Okabe and Ito's palette, which colour-blind readers can tell apart: a dark tone for queries, a light one for keys.
_DARK = {"train": SEEN, "val": UNSEEN, "test": "#007A5A"}
_LIGHT = {"train": "#BFDDF0", "val": "#F8D3B5", "test": "#BDE3D6", "unused": "#E3E3E3", "shared": "#E3DCEB"}
_Box = tuple[float, float, float, float]
"""Left, bottom, width and height, inches."""


def _canvas(width: float, height: float, title: str, dataset: str) -> tuple[Figure, Axes]:
    """A figure for boxes, in inches, whose axes run from 0 to its size; title and data set stand on top."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    entitle(figure, title, dataset)
    return figure, axes


def _draw_box(axes: Axes, place: _Box, face: str, heading: str, lines: list[str]) -> None:
    """A box with a heading and lines in it; white ink where the face is dark."""
    left, bottom, width, height = place
    ink = "white" if sum(to_rgb(face)) < 1.5 else INK
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=face, edgecolor="white"))
    texts = [(heading, "bold"), *((line, "normal") for line in lines)]
    for number, (text, weight) in enumerate(texts):
        y = bottom + height / 2 + 0.17 * ((len(texts) - 1) / 2 - number)
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize=8.5, weight=weight, color=ink)


def _amounts(num_records: int, num_species: int) -> list[str]:
    """What a box holds, as its lines."""
    return [f"{num_records:,} records", *([f"{num_species:,} species"] if num_species else [])]


def _tone(protocol: SplitProtocol, split: str) -> str:
    """The colour of a split: of its partition, dark for queries and labelled training, light for keys."""
    if split in protocol.unused:
        return _LIGHT["unused"]
    if split in protocol.training:
        return _LIGHT["train"] if split == "no_split" else _DARK["train"]
    part = part_of(split) or "shared"
    return _LIGHT[part] if split in protocol.keys else _DARK[part]


# --- Figure 2 -----------------------------------------------------------------------------------------------------

_COLUMNS = {"train": (1.55, 2.6), "val": (4.35, 2.6), "test": (7.15, 2.6)}
"""Left edge and width of each partition, inches."""
_ROWS = {"No species": 3.95, "Seen species": 2.5, "Unseen species": 1.05, "Not used": 0.3}
"""Lower edge of each row, inches."""
_HALF, _GAP = 0.6, 0.1  # height of a box, and the space between two
_FULL = 2 * _HALF + _GAP


def figure_2(counts: TaxonCounts, dataset: str) -> Figure:
    """Figure 2: a box for each split with its records and species; dark boxes train or ask, light ones answer."""
    protocol = counts.protocol
    figure, axes = _canvas(10.0, 5.5, "Partition: records and species of each split", dataset)
    places = _places(protocol)
    for part, heading in (("train", "Training"), ("val", "Validation"), ("test", "Test")):
        left, width = _COLUMNS[part]
        if part == "train" or part in protocol.queries:
            axes.text(left + width / 2, 4.78, heading, ha="center", va="center", fontsize=10, color=INK)
    for name, bottom in _ROWS.items():
        height = _FULL if name in ("Seen species", "Unseen species") else _HALF
        if any(bottom <= place[1] < bottom + height for place in places.values()):
            axes.text(0.25, bottom + height / 2, name, ha="left", va="center", fontsize=9, color=INK)
    for split, place in places.items():
        answers = split in protocol.keys
        role = " (keys too)" if split in protocol.training else "" if split.endswith("keys") else " (keys)"
        amounts = _amounts(counts.num_records[split], counts.num_taxa("species", [split]))
        _draw_box(axes, place, _tone(protocol, split), f"{split}{role if answers else ''}", amounts)
    return figure


def _places(protocol: SplitProtocol) -> dict[str, _Box]:
    """The box of each split. Keys that serve both partitions lie under both."""
    left, width = _COLUMNS["train"]
    places: dict[str, _Box] = {
        split: (left, _ROWS["No species"], width, _HALF)
        if split == "no_split"
        else (left, _ROWS["Seen species"], width, _FULL)
        for split in protocol.training
    }
    for subset, bottom in (("seen", _ROWS["Seen species"]), ("unseen", _ROWS["Unseen species"])):
        for part, asking in protocol.queries.items():
            answering = [key for key in protocol.answering(part, subset) if key not in protocol.training]
            left, width = _COLUMNS[part]
            if subset in asking:
                raised = _HALF + _GAP if answering else 0.0
                places[asking[subset]] = (left, bottom + raised, width, _HALF if answering else _FULL)
            for key in answering:  # met a second time, it reaches from validation to test
                start = places[key][0] if key in places else left
                places[key] = (start, bottom, left + width - start, _HALF)
    left, right = _COLUMNS["train"][0], sum(_COLUMNS["test"])
    width = (right - left + _GAP) / max(1, len(protocol.unused)) - _GAP
    for number, split in enumerate(protocol.unused):
        places[split] = (left + number * (width + _GAP), _ROWS["Not used"], width, _HALF)
    return places


# --- Figure 7 -----------------------------------------------------------------------------------------------------

_ALL, _KNOWN, _UNKNOWN = "All records", "Species known", "Species unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """One arrow: a share of the records of one box goes on to another."""

    source: str
    target: str
    num_records: int
    num_species: int


@dataclass(frozen=True, slots=True)
class Flow:
    """All arrows, from all records to the splits."""

    stages: tuple[tuple[str, ...], ...]
    """Boxes from left to right, those of a stage from top to bottom; the splits come last."""
    steps: tuple[Step, ...]


def partition_flow(counts: TaxonCounts, partition: str | None) -> Flow:
    """The way of every record into its split.

    Args:
        counts: of the partitioned specimens.
        partition: what drew the splits, as the specimen table remembers it. A recipe says from how many records on a
            species is common; where lists gave the splits, it is taken from the smallest seen species.
    """
    protocol = counts.protocol
    groups = _groups(protocol)
    classes = _classes(counts, groups["Seen"], partition) if protocol == PROTOCOLS["clibd"] else {}
    grouped = [split for splits in groups.values() for split in splits]
    alone = [split for split in (*protocol.unused, *protocol.training) if split not in grouped]
    steps = [step for step in _steps(counts, groups, classes, alone) if step.num_records]
    stages = ((_ALL,), (_KNOWN, _UNKNOWN), tuple(classes), tuple(groups), (*grouped, *alone))
    met = {_ALL, *(step.target for step in steps)}
    kept = (tuple(name for name in stage if name in met) for stage in stages)
    return Flow(tuple(stage for stage in kept if stage), tuple(steps))


def _groups(protocol: SplitProtocol) -> dict[str, list[str]]:
    """Labelled splits of the seen and of the unseen species; of val and test apart where each has its own keys."""
    asking = {part: split for part in protocol.queries for split in protocol.asking(part, "unseen")}
    keys = {part: protocol.answering(part, "unseen") for part in asking}
    named = dict.fromkeys((*protocol.training, *protocol.asking(subset="seen"), *protocol.keys))
    groups = {"Seen": [split for split in named if split != "no_split" and subset_of(split) == "seen"]}
    if len(set(keys.values())) == len(keys):
        groups |= {f"Unseen in {part}": [asking[part], *keys[part]] for part in asking}
    else:
        groups["Unseen"] = [*asking.values(), *dict.fromkeys(key for of_part in keys.values() for key in of_part)]
    return {name: splits for name, splits in groups.items() if splits}


def _classes(counts: TaxonCounts, seen: Iterable[str], partition: str | None) -> dict[str, Mask]:
    """Which species are common, rare or of one record."""
    sizes = counts.of("species", counts.protocol.splits)
    of_seen = sizes[counts.of("species", list(seen)) > 0]
    drawn = [common for recipe, common in COMMON.items() if (partition or "").startswith(f"{recipe},")]
    common = drawn[0] if drawn else max(2, int(of_seen.min())) if len(of_seen) else COMMON["paper"]
    return {
        f"{common} records or more": sizes >= common,
        f"2 to {common - 1} records": (sizes > 1) & (sizes < common),
        "1 record": sizes == 1,
    }


def _steps(
    counts: TaxonCounts, groups: Mapping[str, list[str]], classes: Mapping[str, Mask], alone: list[str]
) -> Iterator[Step]:
    splits = counts.protocol.splits
    everyone = np.ones(counts.taxa["species"].shape[1], dtype=np.bool_)
    unnamed = {split: counts.num_records[split] - int(counts.of("species", [split]).sum()) for split in splits}
    yield _step(counts, _ALL, _KNOWN, splits, everyone)
    yield Step(_ALL, _UNKNOWN, sum(unnamed.values()), 0)
    for name, members in classes.items():
        yield _step(counts, _KNOWN, name, splits, members)
    for source, members in (classes or {_KNOWN: everyone}).items():
        for name, of_group in {**groups, **{split: [split] for split in alone}}.items():
            yield _step(counts, source, name, of_group, members)
    for name, split in ((name, split) for name, of_group in groups.items() for split in of_group):
        yield _step(counts, name, split, [split], everyone)
    for split, num_records in unnamed.items():
        yield Step(_UNKNOWN, split, num_records, 0)


def _step(counts: TaxonCounts, source: str, target: str, splits: Iterable[str], members: Mask) -> Step:
    records = counts.of("species", list(splits)) * members
    return Step(source, target, int(records.sum()), int(np.count_nonzero(records)))


_WIDTH, _HEIGHT, _STEP = 1.62, 0.58, 0.68  # of a box, and from one to the next below it, inches
_SPLIT_WIDTH, _SPACE = 1.75, 0.72


def figure_7(flow: Flow, protocol: SplitProtocol, dataset: str) -> Figure:
    """Figure 7: boxes and arrows; numbers on the arrows are species."""
    places = _heights(flow)
    num_stages = len(flow.stages)
    width = 0.25 + (num_stages - 1) * (_WIDTH + _SPACE) + _SPLIT_WIDTH + 0.25
    height = 0.75 + len(flow.stages[-1]) * _STEP
    figure, axes = _canvas(width, height, "Partition: how the splits came about", dataset)
    left = {name: 0.25 + number * (_WIDTH + _SPACE) for number, stage in enumerate(flow.stages) for name in stage}
    for step in flow.steps:
        _arrow(axes, (left[step.source] + _WIDTH, places[step.source]), (left[step.target], places[step.target]))
    for name in left:
        into = [step for step in flow.steps if step.target == name]
        _label_arrows(axes, [(left[s.source] + _WIDTH, places[s.source], s) for s in into], (left[name], places[name]))
        is_split = name in protocol.splits
        face = _tone(protocol, name) if is_split else _LIGHT["unused"]
        through = into or [step for step in flow.steps if step.source == name]
        amounts = _amounts(sum(s.num_records for s in through), sum(s.num_species for s in through))
        size = (_SPLIT_WIDTH if is_split else _WIDTH, _HEIGHT)
        _draw_box(axes, (left[name], places[name] - _HEIGHT / 2, *size), face, name, amounts)
    axes.text(0.25, 0.2, "Numbers on arrows are species.", ha="left", va="center", fontsize=8, color=INK)
    return figure


def _heights(flow: Flow) -> dict[str, float]:
    """The middle of each box: the splits evenly, the others where most of their species go, none on another."""
    splits = flow.stages[-1]
    places = {split: (len(splits) - number - 0.5) * _STEP + 0.1 for number, split in enumerate(splits)}
    for stage in reversed(flow.stages[:-1]):
        for name in stage:
            onward = [(places[s.target], s.num_species or 1) for s in flow.steps if s.source == name]
            places[name] = sum(y * weight for y, weight in onward) / sum(weight for _, weight in onward)
        for above, below in pairwise(stage):
            places[below] = min(places[below], places[above] - _STEP)
    return places


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color="#9A9A9A", shrinkA=0, shrinkB=1)
    )


def _label_arrows(axes: Axes, sources: list[tuple[float, float, Step]], end: tuple[float, float]) -> None:
    """Species on the arrows into a box where several end; near their sources, where they do not cross yet."""
    for x, y, step in sources:
        if len(sources) > 1 and step.num_species:
            where = (x + 0.3 * (end[0] - x), y + 0.3 * (end[1] - y))
            number = axes.text(*where, f"{step.num_species:,}", ha="center", va="center", fontsize=7.5, color=INK)
            number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
