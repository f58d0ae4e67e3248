"""Figure 4: the accuracy of a species against the number of its records among the keys."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from results.figures.evaluated import Evaluated
from results.figures.picture import FAINT, SEEN, UNSEEN, Picture, Record, mark, pair_words, plain_style, sheet
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import UsageError
from workloads.predictions import MISSING, Answers, KeyChoice
from workloads.spec import Rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIRS = [("image", "image"), ("image", "dna"), ("dna", "image"), ("dna", "dna")]
_COLOURS = {"seen": SEEN, "unseen": UNSEEN}
_MARKERS = {"seen": "o", "unseen": "s"}
_SIDESTEP = {"seen": 0.965, "unseen": 1.035}  # factors: equal points of both lie side by side
_ASKING = {split for protocol in PROTOCOLS.values() for part in protocol.queries.values() for split in part.values()}


@dataclass(frozen=True, slots=True)
class KeyCountBin:
    """The taxa of a subset that have the same number of keys."""

    query: str
    key: str
    subset: str
    num_keys: int
    num_taxa: int
    num_queries: int
    accuracy: float
    """Mean over the taxa of the share of their queries that were answered rightly."""


def key_count_bins(evaluated: Evaluated, partition: str, rank: Rank) -> list[KeyCountBin]:
    """Figure 4 as numbers: by retrieval and subset, the fewest keys first. Queries without a name are left out.

    Raises:
        UsageError: the evaluation has none of the retrievals of image and DNA, or no query has a name at this rank.
    """
    bins = []
    for query, key in evaluated.pairs(partition, PAIRS):
        answers = evaluated.answers(partition, query, key)
        counts = keys_per_taxon(evaluated.predictions.specimens, rank, answers.place.keys)
        bins += _bins(answers, rank, counts, list(evaluated.predictions.names(rank)))
    if not bins:
        raise UsageError(f"no {partition} query of {evaluated.folder} has a name at the rank of {rank}; choose another")
    return bins


def keys_per_taxon(specimens: pa.Table, rank: Rank, keys: KeyChoice) -> Counter[str]:
    """How many of the searched keys have each name.

    Args:
        specimens: every query and key of an evaluation.
        rank: whose names.
        keys: which keys were searched. Those of a species' own kind are all of its keys.
    """
    counts: Counter[str] = Counter()
    for split, name in zip(specimens["split"].to_pylist(), specimens[rank].to_pylist(), strict=True):
        kind = "unseen" if "unseen" in split else "seen"
        if name is not None and split not in _ASKING and keys in ("all", "own", kind):
            counts[name] += 1
    return counts


def _bins(answers: Answers, rank: Rank, counts: Counter[str], names: Sequence[str]) -> list[KeyCountBin]:
    """The bins of one retrieval."""
    frame = pd.DataFrame({"subset": answers.subset, "code": answers.truth[rank], "hit": answers.hits(rank)})
    taxa = frame[frame.code != MISSING].groupby(["subset", "code"]).hit.agg(["mean", "size"]).reset_index()
    taxa["keys"] = [counts[names[code]] for code in taxa.code]
    pair = answers.place.query, answers.place.key
    return [
        KeyCountBin(*pair, subset, count, len(found), int(found["size"].sum()), float(found["mean"].mean()))
        for (subset, count), found in taxa.groupby(["subset", "keys"])
    ]


@plain_style()
def draw_key_counts(evaluated: Evaluated, partition: str = "val", rank: Rank = "species") -> Picture:
    """Draw Figure 4; a panel for each retrieval by image or DNA that the evaluation has.

    Raises:
        UsageError: as `key_count_bins`.
    """
    bins = key_count_bins(evaluated, partition, rank)
    pairs = list(dict.fromkeys((found.query, found.key) for found in bins))
    columns = min(2, len(pairs))
    lines = -(-len(pairs) // columns)
    taxa = {"species": "species", "genus": "genera", "family": "families", "order": "orders"}[rank]
    title = f"Accuracy of {taxa} by their number of keys"
    height = 1.35 + 2.55 * lines
    figure = sheet(9.4, height, evaluated.title(title), evaluated.small_print(f"{partition} queries, top 1"))
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.81, top=1 - 0.75 / height, bottom=0.85 / height, hspace=0.28, wspace=0.08)
    for axes in panels.flat[len(pairs) :]:
        axes.set_axis_off()
    largest = max(found.num_taxa for found in bins)
    for axes, (query, key) in zip(panels.flat, pairs, strict=False):
        _panel(axes, [found for found in bins if (found.query, found.key) == (query, key)], largest)
        axes.set_title(pair_words(query, key), loc="left", fontsize=9.5)
    for axes in panels[-1]:
        axes.set_xlabel(f"Keys of the {rank}")
    for axes in panels[:, 0]:
        axes.set_ylabel("Mean accuracy, %")
    _legends(figure, largest, taxa, any(found.num_keys == 0 for found in bins))
    return Picture(figure, [_record(found, partition, rank) for found in bins], evaluated.synthetic)


def _panel(axes: "Axes", bins: list[KeyCountBin], largest: int) -> None:
    from matplotlib.ticker import NullLocator, ScalarFormatter

    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xticks(_ticks(max(one.num_keys for one in bins)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    fewest = min(one.num_keys for one in bins)
    axes.set_xlim(-0.3 if fewest == 0 else 0.8, 1.3 * max(1, max(one.num_keys for one in bins)))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylim(-9, 110)
    axes.set_yticks(range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)
    for one in sorted(bins, key=lambda one: -one.num_taxa):  # small ones on top
        axes.scatter(
            one.num_keys * _SIDESTEP[one.subset],
            100 * one.accuracy,
            _area(one.num_taxa, largest) * (1 if _MARKERS[one.subset] == "o" else np.pi / 4),
            color=(_COLOURS[one.subset], _strength(one.num_taxa, largest)),
            marker=_MARKERS[one.subset],
            edgecolor=_COLOURS[one.subset],
            linewidth=0.8,
        )


def _ticks(most: int) -> list[int]:
    """0, 1, 2, 5, 10 and so on up to the largest number of keys; 0, 1, 3, 10 where that is above a hundred."""
    steps = (1, 2, 5) if most <= 100 else (1, 3)
    ticks = [step * 10**power for power in range(len(str(most))) for step in steps]
    return [0, *(tick for tick in ticks if tick <= most)]


def _area(num_taxa: int, largest: int) -> float:
    """Of a marker, square points: in proportion to the taxa, and never too small to be seen."""
    return 12 + 188 * num_taxa / largest


def _strength(num_taxa: int, largest: int) -> float:
    """How opaque a marker is: the more taxa, the stronger."""
    return 0.25 + 0.55 * num_taxa / largest


def _legends(figure: "Figure", largest: int, taxa: str, keyless: bool) -> None:
    """What colours and sizes mean, to the right of the panels."""
    kinds = [
        mark(_MARKERS[subset], f"{subset} species", color=colour, markersize=7) for subset, colour in _COLOURS.items()
    ]
    sizes = [
        mark(
            "o",
            f"{step:,}",
            color=(FAINT, _strength(step, largest)),
            markeredgecolor=FAINT,
            markersize=_area(step, largest) ** 0.5,
        )
        for step in sorted({1, max(1, round(largest**0.5)), largest})
    ]
    place = {"frameon": False, "fontsize": 9, "title_fontsize": 9, "alignment": "left"}
    figure.legend(handles=kinds, loc="upper left", bbox_to_anchor=(0.82, 0.87), **place)
    figure.legend(
        handles=sizes, title=f"Number of {taxa}", loc="upper left", bbox_to_anchor=(0.82, 0.72), labelspacing=1, **place
    )
    if keyless:
        figure.text(0.83, 0.25, "At 0: without keys,\nso never right.", fontsize=8, color=FAINT, va="top")


def _record(found: KeyCountBin, partition: str, rank: Rank) -> Record:
    return {"partition": partition, "rank": rank, **asdict(found), "accuracy": round(found.accuracy, 6)}
