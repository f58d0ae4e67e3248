"""Figure 7 of the paper for a data set: how the partition came about, from all records to the splits.

Species are sorted by their number of records where the splits are those of the paper's Appendix A. In a partition of
another protocol they are merely seen or unseen.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from results.data.figures import LIGHT, box, canvas, tone
from results.figures.picture import INK
from workloads.data.specimens.partition import COMMON
from workloads.data.specimens.partition_checks import key_splits
from workloads.data.specimens.schema import PROTOCOLS, Protocol
from workloads.data.specimens.statistics import TaxonCounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Species = npt.NDArray[np.bool_]

ALL, KNOWN, UNKNOWN = "All records", "Species known", "Species unknown"


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

    def records(self) -> list[dict[str, str | int]]:
        """The arrows as rows of a table."""
        return [asdict(step) for step in self.steps]


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
    stages = ((ALL,), (KNOWN, UNKNOWN), tuple(classes), tuple(groups), (*grouped, *alone))
    met = {ALL, *(step.target for step in steps)}
    kept = (tuple(name for name in stage if name in met) for stage in stages)
    return Flow(tuple(stage for stage in kept if stage), tuple(steps))


def _groups(protocol: Protocol) -> dict[str, list[str]]:
    """Labelled splits of the seen and of the unseen species; of val and test apart where each has its own keys."""
    asking = {part: protocol.queries[part]["unseen"] for part in protocol.queries if "unseen" in protocol.queries[part]}
    keys = {part: key_splits(protocol, part, "unseen") for part in asking}
    named = dict.fromkeys(
        (*protocol.training, *(part["seen"] for part in protocol.queries.values()), *protocol.keys), None
    )
    groups = {"Seen": [split for split in named if split != "no_split" and "unseen" not in split]}
    if len(set(keys.values())) == len(keys):
        groups |= {f"Unseen in {part}": [asking[part], *keys[part]] for part in asking}
    else:
        groups["Unseen"] = [*asking.values(), *dict.fromkeys(key for of_part in keys.values() for key in of_part)]
    return {name: splits for name, splits in groups.items() if splits}


def _classes(counts: TaxonCounts, seen: Iterable[str], partition: str | None) -> dict[str, Species]:
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
    counts: TaxonCounts, groups: Mapping[str, list[str]], classes: Mapping[str, Species], alone: list[str]
) -> Iterator[Step]:
    splits = counts.protocol.splits
    species = counts.of("species", splits)
    everyone = np.ones(len(species), dtype=np.bool_)
    yield Step(ALL, KNOWN, int(species.sum()), int(np.count_nonzero(species)))
    yield Step(ALL, UNKNOWN, sum(counts.num_records.values()) - int(species.sum()), 0)
    for name, members in classes.items():
        yield _step(counts, KNOWN, name, splits, members)
    for source, members in (classes or {KNOWN: everyone}).items():
        for name, of_group in {**groups, **{split: [split] for split in alone}}.items():
            yield _step(counts, source, name, of_group, members)
    for name, of_group in groups.items():
        for split in of_group:
            yield _step(counts, name, split, [split], everyone)
    for split in splits:
        yield Step(UNKNOWN, split, counts.num_records[split] - int(counts.of("species", [split]).sum()), 0)


def _step(counts: TaxonCounts, source: str, target: str, splits: Iterable[str], members: Species) -> Step:
    records = counts.of("species", list(splits)) * members
    return Step(source, target, int(records.sum()), int(np.count_nonzero(records)))


# --- Drawing ------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _STEP = 1.62, 0.58, 0.68  # of a box, and from one to the next below it, inches
_SPLIT_WIDTH, _SPACE = 1.75, 0.72


def figure_7(flow: Flow, protocol: Protocol, dataset: str) -> "Figure":
    """Figure 7: boxes and arrows; numbers on the arrows are species."""
    places = _heights(flow)
    num_stages = len(flow.stages)
    width = 0.25 + (num_stages - 1) * (_WIDTH + _SPACE) + _SPLIT_WIDTH + 0.25
    height = 0.75 + len(flow.stages[-1]) * _STEP
    figure, axes = canvas(width, height, "Partition: how the splits came about", dataset)
    left = {name: 0.25 + number * (_WIDTH + _SPACE) for number, stage in enumerate(flow.stages) for name in stage}
    for step in flow.steps:
        _arrow(axes, (left[step.source] + _WIDTH, places[step.source]), (left[step.target], places[step.target]))
    for name in left:
        into = [step for step in flow.steps if step.target == name]
        _labels(axes, [(left[s.source] + _WIDTH, places[s.source], s) for s in into], (left[name], places[name]))
        is_split = name in protocol.splits
        face = tone(protocol, name) if is_split else LIGHT["unused"]
        size = (_SPLIT_WIDTH if is_split else _WIDTH, _HEIGHT)
        box(axes, (left[name], places[name] - _HEIGHT / 2, *size), face, name, _amount(flow, name))
    axes.text(0.25, 0.2, "Numbers on arrows are species.", ha="left", va="center", fontsize=8, color=INK)
    return figure


def _amount(flow: Flow, name: str) -> list[str]:
    steps = [step for step in flow.steps if (step.source if name == ALL else step.target) == name]
    species = sum(step.num_species for step in steps)
    return [f"{sum(step.num_records for step in steps):,} records", *([f"{species:,} species"] if species else [])]


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


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color="#9A9A9A", shrinkA=0, shrinkB=1)
    )


def _labels(axes: "Axes", sources: list[tuple[float, float, Step]], end: tuple[float, float]) -> None:
    """Species on the arrows into a box where several end; near their sources, where they do not cross yet."""
    for x, y, step in sources:
        if len(sources) > 1 and step.num_species:
            where = (x + 0.3 * (end[0] - x), y + 0.3 * (end[1] - y))
            number = axes.text(*where, f"{step.num_species:,}", ha="center", va="center", fontsize=7.5, color=INK)
            number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
