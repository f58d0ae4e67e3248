"""Figure 10: images, barcodes and texts in one plane by UMAP, by taxon and modality, before and after alignment."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.confusions import commonest
from results.evaluated import EvaluatedFolder, read_evaluated
from results.figures.ink import FAINT, INK, feature_word, legend, mark, shown
from results.figures.picture import FigureChoice, Picture, plain_style, sheet_of
from workloads.data.specimens.schema import subset_of
from workloads.errors import UsageError
from workloads.plane import by_umap
from workloads.spec import RANKS, Rank
from workloads.storage import Folder

_NUM_TAXA = 10
_FEWEST = 5  # points; fewer are no picture, and UMAP has no neighbours to look at
_AROUND = 15
"""Points around one, itself among them, that say whose place it is."""
_HUES = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#A89400", "#222222", "#8C564B", "#8A8A8A"]
_MARKERS = {"image": "o", "dna": "^", "text": "*"}


def choose_queries(table: pa.Table, rank: Rank, within: str | None = None) -> pd.DataFrame:
    """The queries of seen species with one of the ten commonest names at a rank.

    Args:
        table: ids, splits and names of the queries of a partition.
        rank: which names are told apart.
        within: only queries of the order, family or genus of this name.

    Returns:
        `specimen_id`, its name as `taxon`, and whether no query before has the same text, `first_of_text`.

    Raises:
        UsageError: there are none.
    """
    rows = table.to_pandas()
    rows = rows[(rows["split"].map(subset_of) == "seen") & rows[rank].notna()]
    if within is not None:
        rows = rows[(rows[list(RANKS[: RANKS.index(rank)])] == within).any(axis=1)]
    if rows.empty:
        place = f" within '{shown(within, 60)}'" if within is not None else ""
        raise UsageError(f"no query of a seen species has a name at the rank of {rank}{place}; choose another")
    rows = rows[rows[rank].isin(commonest(Counter(rows[rank]), _NUM_TAXA))]
    first = ~rows.duplicated(list(RANKS))
    return rows[["specimen_id", rank]].set_axis(["specimen_id", "taxon"], axis=1).assign(first_of_text=first)


def _embedding_map(
    evaluated: EvaluatedFolder, partition: str, chosen: pd.DataFrame, panel: str, seed: int
) -> pd.DataFrame:
    """Lay the embeddings of some queries out in a plane: UMAP by cosine, all modalities together.

    Args:
        evaluated: whose embeddings.
        partition: `val` or `test`.
        chosen: the queries, as `choose_queries` gives them.
        panel: what the map is called.
        seed: of UMAP.

    Returns:
        A row a point; a text stands for all queries of its label, under the id of the first of them.

    Raises:
        UsageError: the evaluation is of other specimens, or there are fewer than five points.
    """
    table, vectors = evaluated.embeddings(partition)
    place = pc.index_in(pa.array(chosen["specimen_id"], pa.string()), value_set=table["specimen_id"].combine_chunks())
    if place.null_count:
        raise UsageError(
            f"{evaluated.folder} was evaluated on other specimens: {place.null_count:,} of {len(place):,} are not in "
            "it. Evaluate both runs on the same data set."
        )
    rows = {name: chosen[chosen["first_of_text"] | (name != "text")] for name in vectors}
    order = pd.Series(place.to_numpy(), chosen.index)
    rows = {name: own[np.isfinite(vectors[name][order[own.index], 0])] for name, own in rows.items()}
    vectors_of_all = np.concatenate([vectors[name][order[own.index]] for name, own in rows.items()])
    if len(vectors_of_all) < _FEWEST:
        raise UsageError(f"{len(vectors_of_all)} points are too few for a map; choose a wider group of taxa")
    places = by_umap(vectors_of_all, seed)
    points = pd.concat([own.assign(modality=name) for name, own in rows.items()], ignore_index=True)
    return points.assign(panel=panel, x=places[:, 0].astype(float), y=places[:, 1].astype(float))


@plain_style()
def draw_embedding_map(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw Figure 10: the queries of seen species, in the hues of orders unless another rank was asked for.

    Without an evaluation before alignment only the aligned embeddings are drawn.

    Raises:
        UsageError: there are no such queries or too few, or the evaluation before is of other specimens.
        MissingPathError, DamagedError: as `EvaluatedFolder.embeddings`.
    """
    rank, partition, within = choice.rank or "order", choice.partition, choice.within
    before = None if choice.before is None else read_evaluated(Folder(choice.before))
    chosen = choose_queries(evaluated.embeddings(partition)[0], rank, within)
    panels = {"after": evaluated} if before is None else {"before": before, "after": evaluated}
    maps = [_embedding_map(of, partition, chosen, panel, choice.seed) for panel, of in panels.items()]
    place = f" within {shown(within, 30)}" if within is not None else ""
    kind = "after alignment only" if before is None else "before and after alignment"
    width = 7.0 if before is None else 11.4
    notes = [f"{partition} queries of seen species", f"seed {choice.seed}"]
    if before is not None and before.run != evaluated.run:
        notes.append(f"before: {shown(before.run, 40)}")
    figure = sheet_of(evaluated, width, 5.6, f"UMAP by {rank}{place}, {kind}", *notes)
    counts = Counter(chosen["taxon"])
    ranking = commonest(counts, _NUM_TAXA)
    for number, points in enumerate(maps):
        axes = figure.add_axes(((0.2 + 4.55 * number) / width, 0.5 / 5.6, 4.4 / width, 4.4 / 5.6))
        _panel(axes, points, ranking)
        axes.set_title(f"{[*panels][number].title()} alignment", loc="left", fontsize=9.5)
    taxa = [f"{number}  {shown(name, 20)} ({counts[name]:,})" for number, name in enumerate(ranking, start=1)]
    _legends(figure, (0.3 + 4.55 * len(maps)) / width, taxa, Counter(maps[-1]["modality"]))
    records = pd.concat(maps).assign(rank=rank).round({"x": 4, "y": 4})
    columns = ["panel", "specimen_id", "modality", "rank", "taxon", "x", "y"]
    return Picture(figure, records[columns].to_dict("records"), evaluated.facts["synthetic"])


def _panel(axes: Axes, points: pd.DataFrame, ranking: Sequence[str]) -> None:
    size = float(np.clip(4000 / len(points), 3, 30))
    colours = dict(zip(ranking, _HUES, strict=False))
    for modality, marker in _MARKERS.items():  # texts are few and come last, on top
        own = points[points["modality"] == modality]
        large = 4.0 if modality == "text" else 1.0
        style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.4} if modality == "text" else {"linewidth": 0}
        style |= {"color": [colours[name] for name in own["taxon"]], "rasterized": len(own) > 3000}
        axes.scatter(own["x"], own["y"], size * large, marker=marker, alpha=0.75, **style)
    for number, name in enumerate(ranking, start=1):
        x, y = _badge_place(points, name)
        face = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": colours[name], "alpha": 0.9}
        axes.text(x, y, str(number), ha="center", va="center", fontsize=8, weight="bold", bbox=face)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#CCCCCC")


def _badge_place(points: pd.DataFrame, taxon: str) -> tuple[float, float]:
    """Where a taxon's number stands: on the point of it that has most of its own kind around.

    The middle of a taxon in several clusters lies between them, where another taxon may be.
    """
    from scipy.spatial import cKDTree

    places = points[["x", "y"]].to_numpy()
    is_own = (points["taxon"] == taxon).to_numpy()
    own = places[is_own]
    nearest = cKDTree(places).query(own, min(_AROUND, len(places)))[1].reshape(len(own), -1)
    share = is_own[nearest].mean(axis=1)
    purest = own[share == share.max()]
    x, y = purest[np.square(purest - np.median(purest, axis=0)).sum(axis=1).argmin()]
    return float(x), float(y)


def _legends(figure: Figure, left: float, taxa: Sequence[str], num_points: Counter[str]) -> None:
    """Taxa by number and hue, modalities by symbol."""
    hues = [mark("o", words, color=colour) for words, colour in zip(taxa, _HUES, strict=False)]
    symbols = [
        mark(marker, f"{feature_word(name)} ({num_points[name]:,})", color=FAINT, markersize=8)
        for name, marker in _MARKERS.items()
        if num_points[name]
    ]
    legend(figure, hues, (left, 0.9), "Taxon (queries)", fontsize=8.5, labelcolor=INK)
    legend(figure, symbols, (left, 0.08), "Modality (points)", loc="lower left", fontsize=8.5, labelcolor=INK)
