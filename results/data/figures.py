"""Figures 2 and 8 of the paper for a data set: what each split holds, and how many records its species have.

Pictures are drawn without a window system and are the same bytes for the same numbers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from results.figures.picture import INK
from workloads.data.specimens.partition_checks import key_splits
from workloads.data.specimens.schema import Protocol
from workloads.data.specimens.statistics import ROLES, Role, TaxonCounts, records_per_taxon, splits_of_roles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart: a dark tone for queries, a light one for keys.
DARK = {"train": "#0072B2", "val": "#C25300", "test": "#007A5A"}
LIGHT = {"train": "#BFDDF0", "val": "#F8D3B5", "test": "#BDE3D6", "unused": "#E3E3E3", "shared": "#E3DCEB"}
_LONGEST_LABEL = 70


def canvas(width: float, height: float, title: str, dataset: str) -> "tuple[Figure, Axes]":
    """A figure for boxes, in inches, whose axes run from 0 to its size; title and data set stand on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    entitle(figure, title, dataset)
    return figure, axes


def entitle(figure: "Figure", title: str, dataset: str) -> None:
    """Title to the left, data set to the right; names are no formulas."""
    width, height = figure.get_size_inches()
    top = 1 - 0.3 / height
    figure.text(0.25 / width, top, title, ha="left", va="center", fontsize=12, weight="bold", color=INK)
    name = dataset if len(dataset) <= _LONGEST_LABEL else f"…{dataset[1 - _LONGEST_LABEL :]}"
    figure.text(1 - 0.25 / width, top, name, ha="right", va="center", fontsize=9, color=INK, parse_math=False)


def box(axes: "Axes", place: tuple[float, float, float, float], face: str, heading: str, lines: list[str]) -> None:
    """A box with a heading and lines in it; white ink where the face is dark."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import FancyBboxPatch

    left, bottom, width, height = place
    ink = "white" if sum(to_rgb(face)) < 1.5 else INK
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=face, edgecolor="white"))
    texts = [(heading, "bold"), *((line, "normal") for line in lines)]
    for number, (text, weight) in enumerate(texts):
        y = bottom + height / 2 + 0.17 * ((len(texts) - 1) / 2 - number)
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize=8.5, weight=weight, color=ink)


def amounts(counts: TaxonCounts, split: str) -> list[str]:
    """What a split holds, as lines of a box."""
    species = counts.num_taxa("species", [split])
    return [f"{counts.num_records[split]:,} records", *([f"{species:,} species"] if species else [])]


def tone(protocol: Protocol, split: str) -> str:
    """The colour of a split: of its partition, dark for queries and labelled training, light for keys."""
    if split in protocol.unused:
        return LIGHT["unused"]
    if split in protocol.training:
        return LIGHT["train"] if split == "no_split" else DARK["train"]
    part = split.partition("_")[0]
    return LIGHT.get(part, LIGHT["shared"]) if split in protocol.keys else DARK[part]


# --- Figure 2 -----------------------------------------------------------------------------------------------------

_COLUMNS = {"train": (1.55, 2.6), "val": (4.35, 2.6), "test": (7.15, 2.6)}
"""Left edge and width of each partition, inches."""
_ROWS = {"No species": 3.95, "Seen species": 2.5, "Unseen species": 1.05, "Not used": 0.3}
"""Lower edge of each row, inches."""
_HALF, _GAP = 0.6, 0.1  # height of a box, and the space between two
_FULL = 2 * _HALF + _GAP

Place = tuple[float, float, float, float]
"""Left, bottom, width and height of a box, inches."""


def figure_2(counts: TaxonCounts, dataset: str) -> "Figure":
    """Figure 2: a box for each split with its records and species; dark boxes train or ask, light ones answer."""
    protocol = counts.protocol
    figure, axes = canvas(10.0, 5.5, "Partition: records and species of each split", dataset)
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
        box(axes, place, tone(protocol, split), f"{split}{role if answers else ''}", amounts(counts, split))
    return figure


def _places(protocol: Protocol) -> dict[str, Place]:
    """The box of each split. Keys that serve both partitions lie under both."""
    left, width = _COLUMNS["train"]
    places: dict[str, Place] = {
        split: (left, _ROWS["No species"], width, _HALF)
        if split == "no_split"
        else (left, _ROWS["Seen species"], width, _FULL)
        for split in protocol.training
    }
    for subset, bottom in (("seen", _ROWS["Seen species"]), ("unseen", _ROWS["Unseen species"])):
        for part, asking in protocol.queries.items():
            answering = [key for key in key_splits(protocol, part, subset) if key not in protocol.training]
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


# --- Figure 8 -----------------------------------------------------------------------------------------------------

_BIN_STARTS = (1, 2, 3, 5, 10, 20, 40, 80, 160)
_BARS: Mapping[str, Mapping[str, tuple[Role, ...]]] = {
    "Training and queries": {
        "Train": ("train_seen",),
        "Val": ("val_query_seen", "val_query_unseen"),
        "Test": ("test_query_seen", "test_query_unseen"),
    },
    "Keys": {"Seen": ("key_seen",), "Val unseen": ("val_key_unseen",), "Test unseen": ("test_key_unseen",)},
}


def figure_8(counts: TaxonCounts, dataset: str) -> "Figure":
    """Figure 8: species of each split, stacked by how many records they have; seen in blue, unseen in orange."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 5.2), facecolor="white")
    entitle(figure, "Species by their number of records in each split", dataset)
    panels = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(left=0.11, right=0.8, top=0.87, bottom=0.11, hspace=0.32)
    for axes, (title, bars) in zip(panels, _BARS.items(), strict=True):
        _stack(axes, {name: [_binned(counts, role) for role in roles] for name, roles in bars.items()})
        axes.set_title(title, loc="left", fontsize=9.5, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    panels[1].set_xlabel("Number of species", fontsize=9.5)
    panels[1].xaxis.set_major_formatter("{x:,.0f}")
    panels[1].set_xlim(0, 1.14 * max(1, *(axes.dataLim.xmax for axes in panels)))
    _legend(figure)
    return figure


def figure_8_numbers(counts: TaxonCounts) -> list[dict[str, str | int]]:
    """The whole distribution, ungrouped: how many species of a split have so many records there."""
    splits = splits_of_roles(counts.protocol)
    return [
        {"role": role, "splits": " ".join(splits[role]), "num_records": size, "num_species": species}
        for role in ROLES
        for size, species in records_per_taxon(counts, "species", role).items()
    ]


def _binned(counts: TaxonCounts, role: Role) -> tuple[bool, list[int]]:
    """Whether the species are seen, and how many of them fall into each bin."""
    sizes = records_per_taxon(counts, "species", role)
    found, _ = np.histogram(list(sizes), [*_BIN_STARTS, np.inf], weights=list(sizes.values()))
    return role.endswith("_seen"), found.astype(int).tolist()


def _shades(seen: bool) -> list[tuple[float, float, float, float]]:
    """Light for few records, dark for many."""
    import matplotlib

    scale = matplotlib.colormaps["Blues" if seen else "Oranges"]
    return [scale(0.15 + 0.85 * number / (len(_BIN_STARTS) - 1)) for number in range(len(_BIN_STARTS))]


def _stack(axes: "Axes", bars: Mapping[str, list[tuple[bool, list[int]]]]) -> None:
    for row, stacks in enumerate(bars.values()):
        left = 0
        for seen, species in stacks:
            for width, shade in zip(species, _shades(seen), strict=True):
                axes.barh(row, width, 0.62, left=left, color=shade, edgecolor="white", linewidth=0.4)
                left += width
        totals = " + ".join(f"{sum(species):,}" for _, species in stacks if any(species))
        axes.annotate(totals, (left, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()


def _legend(figure: "Figure") -> None:
    """Two swatches a bin, seen and unseen."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    ends = [*(start - 1 for start in _BIN_STARTS[1:]), None]
    labels = [
        f"{start} and more" if end is None else str(start) if start == end else f"{start} to {end}"
        for start, end in zip(_BIN_STARTS, ends, strict=True)
    ]
    pairs = [(Patch(color=a), Patch(color=b)) for a, b in zip(_shades(True), _shades(False), strict=True)]
    figure.legend(  # type: ignore[call-overload]  # the types forget the pairs of handles that HandlerTuple is for
        pairs,
        labels,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.2)},
        handlelength=3,
        title="Records a species\n(seen, unseen)",
        loc="center left",
        bbox_to_anchor=(0.815, 0.49),
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        alignment="left",
    )
