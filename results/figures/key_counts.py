"""Figure 4: the accuracy of a species against the number of its records among the keys, with 95 % intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, SEEN, UNSEEN, legend, mark, pair_words, percent_axis
from results.figures.keys_of_taxa import accuracy_by, searched_splits, taxa_by_keys
from results.figures.picture import FigureChoice, Picture, plain_style, sheet_of
from workloads.arrays import Codes
from workloads.errors import UsageError
from workloads.predictions import KeyChoice, Predictions
from workloads.spec import Rank

_PAIRS = [("image", "image"), ("image", "dna"), ("dna", "image"), ("dna", "dna")]
_STYLES: Mapping[Any, tuple[str, str, float, float]] = {
    "seen": (SEEN, "o", 0.965, 1.0),
    "unseen": (UNSEEN, "s", 1.035, np.pi / 4),
}
"""Colour, marker, and the factors of its place, so that equal points of both lie side by side, and of its area."""


def _key_count_bins(evaluated: EvaluatedFolder, partition: str, rank: Rank) -> pd.DataFrame:
    """Figure 4 as numbers: by retrieval and subset, the fewest keys first. Queries without a name are left out.

    Returns:
        A row for the taxa of a subset that have the same number of keys: as `accuracy_by` gives them.

    Raises:
        UsageError: the evaluation has none of the retrievals of image and DNA, or no query has a name at this rank.
    """
    bins = []
    for query, key in evaluated.pairs(partition, _PAIRS):
        answers = evaluated.answers(partition, query, key)
        keys = _searched(evaluated.predictions, rank, answers.place.keys)
        names = evaluated.predictions.names(rank)
        taxa = taxa_by_keys(names, answers.truth[rank], answers.hits(rank), answers.subset, keys)
        if len(taxa):
            bins.append(accuracy_by(taxa, "num_keys").assign(query=query, key=key))
    if not bins:
        raise UsageError(f"no {partition} query of {evaluated.folder} has a name at the rank of {rank}; choose another")
    frame = pd.concat(bins, ignore_index=True)
    frame = frame[["query", "key", "subset", "num_keys", "num_taxa", "num_queries", "accuracy", "low", "high"]]
    return frame.astype({"low": float, "high": float})


def _searched(predictions: Predictions, rank: Rank, keys: KeyChoice) -> Codes:
    """Codes of the names of the searched keys; those of a species' own kind are all of its keys."""
    splits = predictions.specimens["split"]
    searched = pa.array(searched_splits(splits.unique().to_pylist(), keys), pa.string())
    return np.asarray(predictions.codes(rank)[np.asarray(pc.is_in(splits, value_set=searched))])


@plain_style()
def draw_key_counts(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw Figure 4; a panel for each retrieval by image or DNA that the evaluation has. By species, unless asked.

    Raises:
        UsageError: as `_key_count_bins`.
    """
    rank = choice.rank or "species"
    bins = _key_count_bins(evaluated, choice.partition, rank)
    pairs = list(dict.fromkeys(zip(bins["query"], bins["key"], strict=True)))
    columns = min(2, len(pairs))
    lines = -(-len(pairs) // columns)
    taxa = {"species": "species", "genus": "genera", "family": "families", "order": "orders"}[rank]
    height = 1.35 + 2.55 * lines
    title = f"Accuracy of {taxa} by their number of keys"
    figure = sheet_of(evaluated, 9.4, height, title, f"{choice.partition} queries, top 1")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.81, top=1 - 0.75 / height, bottom=0.85 / height, hspace=0.28, wspace=0.08)
    for axes in panels.flat[len(pairs) :]:
        axes.set_axis_off()
    largest = int(bins["num_taxa"].max())
    for axes, (query, key) in zip(panels.flat, pairs, strict=False):
        _panel(axes, bins[(bins["query"] == query) & (bins["key"] == key)], largest)
        axes.set_title(pair_words(query, key), loc="left", fontsize=9.5)
    for axes in panels[-1]:
        axes.set_xlabel(f"Keys of the {rank}")
    for axes in panels[:, 0]:
        axes.set_ylabel("Mean accuracy, %")
    _legends(figure, largest, taxa, bool((bins["num_keys"] == 0).any()))
    place = {"partition": choice.partition, "rank": rank}
    rounded = bins.round(dict.fromkeys(("accuracy", "low", "high"), 6)).astype(object)
    records = [{**place, **row} for row in rounded.where(rounded.notna(), None).to_dict("records")]
    return Picture(figure, records, evaluated.facts["synthetic"])


def _panel(axes: Axes, bins: pd.DataFrame, largest: int) -> None:
    fewest, most = bins["num_keys"].min(), bins["num_keys"].max()
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xticks(_ticks(most))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.3 if fewest == 0 else 0.8, 1.3 * max(1, most))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    percent_axis(axes, -9, 110)
    for one in bins.sort_values("num_taxa", ascending=False, kind="stable").itertuples():  # small ones on top
        colour, marker, sidestep, size = _STYLES[one.subset]
        area, opacity = _look(one.num_taxa, largest)
        style: dict[str, Any] = {"color": (colour, opacity), "marker": marker, "edgecolor": colour, "linewidth": 0.8}
        axes.plot([one.num_keys * sidestep] * 2, [100 * one.low, 100 * one.high], color=colour, linewidth=0.8)
        axes.scatter(one.num_keys * sidestep, 100 * one.accuracy, area * size, **style)


def _ticks(most: int) -> list[int]:
    """0, 1, 2, 5, 10 and so on up to the largest number of keys; 0, 1, 3, 10 where that is above a hundred."""
    steps = (1, 2, 5) if most <= 100 else (1, 3)
    ticks = [step * 10**power for power in range(len(str(most))) for step in steps]
    return [0, *(tick for tick in ticks if tick <= most)]


def _look(num_taxa: int, largest: int) -> tuple[float, float]:
    """Area, square points, and opacity of a marker: the more taxa, the larger and stronger; none too small to see."""
    return 12 + 188 * num_taxa / largest, 0.25 + 0.55 * num_taxa / largest


def _legends(figure: Figure, largest: int, taxa: str, keyless: bool) -> None:
    """What colours and sizes mean, to the right of the panels."""
    kinds = [
        mark(marker, f"{subset} species", color=colour, markersize=7)
        for subset, (colour, marker, *_) in _STYLES.items()
    ]
    steps = {step: _look(step, largest) for step in sorted({1, max(1, round(largest**0.5)), largest})}
    sizes = [
        mark("o", f"{step:,}", color=(FAINT, opacity), markeredgecolor=FAINT, markersize=area**0.5)
        for step, (area, opacity) in steps.items()
    ]
    legend(figure, kinds, (0.82, 0.87), None, fontsize=9)
    legend(figure, sizes, (0.82, 0.72), f"Number of {taxa}", fontsize=9, labelspacing=1)
    figure.text(0.83, 0.33, "Lines: 95 % intervals\nof means over taxa.", fontsize=8, color=FAINT, va="top")
    if keyless:
        figure.text(0.83, 0.25, "At 0: without keys,\nso never right.", fontsize=8, color=FAINT, va="top")
