"""Figure 8 of the paper for a data set: how many records its species have in each split."""

from collections.abc import Mapping
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

from results.figures.ink import INK, legend
from results.figures.picture import Record, entitle
from workloads.data.specimens.statistics import ROLES, TaxonCounts, records_per_taxon, splits_of_roles

_BIN_STARTS = (1, 2, 3, 5, 10, 20, 40, 80, 160)
_BARS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Training and queries": {
        "Train": ("train_seen",),
        "Val": ("val_query_seen", "val_query_unseen"),
        "Test": ("test_query_seen", "test_query_unseen"),
    },
    "Keys": {"Seen": ("key_seen",), "Val unseen": ("val_key_unseen",), "Test unseen": ("test_key_unseen",)},
}


def figure_8(counts: TaxonCounts, dataset: str) -> tuple[Figure, list[Record]]:
    """Figure 8: species of each split, stacked by how many records they have; seen in blue, unseen in orange.

    Its numbers are the whole distribution, ungrouped: how many species of a split have so many records there.
    """
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
    splits = splits_of_roles(counts.protocol)
    return figure, [
        {"role": role, "splits": " ".join(splits[role]), "num_records": size, "num_species": species}
        for role in ROLES
        for size, species in records_per_taxon(counts, "species", role).items()
    ]


def _binned(counts: TaxonCounts, role: str) -> tuple[bool, list[int]]:
    """Whether the species are seen, and how many of them fall into each bin."""
    sizes = records_per_taxon(counts, "species", role)
    num_species, _ = np.histogram(list(sizes), [*_BIN_STARTS, np.inf], weights=list(sizes.values()))
    return role.endswith("_seen"), num_species.astype(int).tolist()


def _shades(seen: bool) -> list[tuple[float, float, float, float]]:
    """Light for few records, dark for many."""
    scale = matplotlib.colormaps["Blues" if seen else "Oranges"]
    return [scale(0.15 + 0.85 * number / (len(_BIN_STARTS) - 1)) for number in range(len(_BIN_STARTS))]


def _stack(axes: Axes, bars: Mapping[str, list[tuple[bool, list[int]]]]) -> None:
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


def _legend(figure: Figure) -> None:
    """Two swatches a bin, seen and unseen."""
    bins = [(start, after - 1) for start, after in pairwise(_BIN_STARTS)]
    labels = [str(start) if start == end else f"{start} to {end}" for start, end in bins]
    labels.append(f"{_BIN_STARTS[-1]} and more")
    pairs = [(Patch(color=a), Patch(color=b)) for a, b in zip(_shades(True), _shades(False), strict=True)]
    handlers = {tuple: HandlerTuple(ndivide=None, pad=0.2)}
    how = {"loc": "center left", "handler_map": handlers, "handlelength": 3, "fontsize": 9}
    legend(figure, pairs, (0.815, 0.49), "Records a species\n(seen, unseen)", labels=labels, **how)
