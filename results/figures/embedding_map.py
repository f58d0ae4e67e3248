"""Figure 10: images, barcodes and texts in one plane by UMAP, by taxon and modality, before and after alignment."""

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.figures.evaluated import Evaluated, Floats, Names
from results.figures.picture import FAINT, INK, Picture, Record, feature_word, mark, plain_style, sheet, shown
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_TAXA = 10
_FEWEST = 5  # points; fewer are no picture, and UMAP has no neighbours to look at
_NUM_NEIGHBOURS = 15
_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#A89400",
    "#222222",
    "#8C564B",
    "#8A8A8A",
)
_MARKERS = {"image": "o", "dna": "^", "text": "*"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The queries of the map: of seen species, and of the commonest taxa among them."""

    ids: Names
    """(queries,)."""
    taxa: Names
    """Name of each at the rank, (queries,)."""
    first_of_text: npt.NDArray[np.bool_]
    """Whether no query before has the same text, (queries,)."""
    ranking: tuple[str, ...]
    """The taxa, the commonest first."""


@dataclass(frozen=True, slots=True)
class Map:
    """The points of one panel."""

    panel: str
    ids: Names
    modality: Names
    taxa: Names
    places: Floats
    """(points, 2)."""


def choose_queries(table: pa.Table, rank: Rank, within: str | None = None) -> Chosen:
    """The queries of seen species with one of the ten commonest names at a rank.

    Args:
        table: ids, splits and names of the queries of a partition.
        rank: which names are told apart.
        within: only queries of the order, family or genus of this name.

    Raises:
        UsageError: there are none.
    """
    rows = table.to_pandas()
    rows = rows[~rows["split"].str.contains("unseen") & rows[rank].notna()]
    if within is not None:
        rows = rows[(rows[list(RANKS[: RANKS.index(rank)])] == within).any(axis=1)]
    counts = Counter(rows[rank])
    if not counts:
        place = f" within '{shown(within, 60)}'" if within is not None else ""
        raise UsageError(f"no query of a seen species has a name at the rank of {rank}{place}; choose another")
    ranking = sorted(counts, key=lambda name: (-counts[name], name))[:NUM_TAXA]
    rows = rows[rows[rank].isin(ranking)]
    first = ~rows.duplicated(list(RANKS)).to_numpy()
    ids, taxa = (rows[name].to_numpy(dtype=object) for name in ("specimen_id", rank))
    return Chosen(ids, taxa, first, tuple(ranking))


def embedding_map(evaluated: Evaluated, partition: str, chosen: Chosen, panel: str, seed: int) -> Map:
    """Lay the embeddings of some queries out in a plane: UMAP by cosine, all modalities together.

    Raises:
        UsageError: the evaluation is of other specimens, or there are fewer than five points.
    """
    table, rows = evaluated.embeddings(partition)
    place = pc.index_in(pa.array(chosen.ids, pa.string()), value_set=table["specimen_id"].combine_chunks())
    if place.null_count:
        raise UsageError(
            f"{evaluated.folder} was evaluated on other specimens: {place.null_count:,} of {len(place):,} are not in "
            "it. Evaluate both runs on the same data set."
        )
    order = place.to_numpy()
    masks = {name: chosen.first_of_text if name == "text" else np.ones(len(order), dtype=bool) for name in rows}
    points = np.concatenate([rows[name][order[mask]] for name, mask in masks.items()])
    ids, taxa = (np.concatenate([values[mask] for mask in masks.values()]) for values in (chosen.ids, chosen.taxa))
    modality = np.concatenate([np.full(mask.sum(), name, dtype=object) for name, mask in masks.items()])
    return Map(panel, ids, modality, taxa, _lay_out(points, seed))


def _lay_out(points: Floats, seed: int) -> Floats:
    """Two coordinates a point, the same for the same seed: one thread, and a random start as in the authors' code."""
    if len(points) < _FEWEST:
        raise UsageError(f"{len(points)} points are too few for a map; choose a wider group of taxa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # about its parametric form, which needs TensorFlow
        from umap import UMAP
    mapping = UMAP(
        n_components=2,
        metric="cosine",
        min_dist=0.5,
        init="random",
        n_neighbors=min(_NUM_NEIGHBOURS, len(points) - 1),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(mapping.fit_transform(points), dtype=np.float32)


@plain_style()
def draw_embedding_map(
    evaluated: Evaluated,
    before: Evaluated | None = None,
    partition: str = "val",
    rank: Rank = "order",
    within: str | None = None,
    seed: int = 413,
) -> Picture:
    """Draw Figure 10.

    Args:
        evaluated: the aligned run.
        before: the same specimens embedded before alignment; without it only the aligned ones are drawn.
        partition: `val` or `test`; its queries of seen species are drawn.
        rank: hue.
        within: only queries of the higher taxon of this name.
        seed: of UMAP.

    Raises:
        UsageError: as `choose_queries` and `embedding_map`.
        MissingPathError, DamagedError: as `Evaluated.embeddings`.
    """
    chosen = choose_queries(evaluated.embeddings(partition)[0], rank, within)
    maps = [] if before is None else [embedding_map(before, partition, chosen, "before", seed)]
    maps.append(embedding_map(evaluated, partition, chosen, "after", seed))
    place = f" within {shown(within, 30)}" if within is not None else ""
    kind = "after alignment only" if before is None else "before and after alignment"
    width = 7.0 if before is None else 11.4
    title = f"UMAP by {rank}{place}, {kind}"
    notes = [f"{partition} queries of seen species", f"seed {seed}"]
    if before is not None and before.run != evaluated.run:
        notes.append(f"before: {shown(before.run, 40)}")
    figure = sheet(width, 5.6, evaluated.title(title), evaluated.small_print(*notes))
    for number, points in enumerate(maps):
        axes = figure.add_axes(((0.2 + 4.55 * number) / width, 0.5 / 5.6, 4.4 / width, 4.4 / 5.6))
        _panel(axes, points, chosen)
    _legends(figure, (0.3 + 4.55 * len(maps)) / width, maps[-1], chosen)
    return Picture(figure, [record for points in maps for record in _records(points, rank)], evaluated.synthetic)


def _panel(axes: "Axes", points: Map, chosen: Chosen) -> None:
    size = float(np.clip(4000 / len(points.ids), 3, 30))
    for modality, marker in _MARKERS.items():  # texts are few and come last, on top
        of_modality = points.modality == modality
        colours = [_COLOURS[chosen.ranking.index(name)] for name in points.taxa[of_modality]]
        large = 4.0 if modality == "text" else 1.0
        edge = {"edgecolor": "white", "linewidth": 0.4} if modality == "text" else {"linewidth": 0}
        x, y = points.places[of_modality].T
        axes.scatter(x, y, size * large, color=colours, marker=marker, alpha=0.75, rasterized=len(x) > 3000, **edge)
    for number, name in enumerate(chosen.ranking):
        own = points.places[points.taxa == name]
        x, y = own[np.square(own - np.median(own, axis=0)).sum(axis=1).argmin()]
        face = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": _COLOURS[number], "alpha": 0.9}
        axes.text(x, y, str(number + 1), ha="center", va="center", fontsize=8, weight="bold", bbox=face)
    axes.set_title(f"{points.panel.title()} alignment", loc="left", fontsize=9.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#CCCCCC")


def _legends(figure: "Figure", left: float, points: Map, chosen: Chosen) -> None:
    """Taxa by number and hue, modalities by symbol."""
    counts = Counter(chosen.taxa.tolist())
    taxa = [
        mark("o", f"{number + 1}  {shown(name, 20)} ({counts[name]:,})", color=_COLOURS[number])
        for number, name in enumerate(chosen.ranking)
    ]
    modalities = [
        mark(_MARKERS[name], f"{feature_word(name)} ({num_points:,})", color=FAINT, markersize=8)
        for name in _MARKERS
        if (num_points := (points.modality == name).sum())
    ]
    place = {"frameon": False, "fontsize": 8.5, "title_fontsize": 9, "alignment": "left", "labelcolor": INK}
    figure.legend(handles=taxa, title="Taxon (queries)", loc="upper left", bbox_to_anchor=(left, 0.9), **place)
    figure.legend(handles=modalities, title="Modality (points)", loc="lower left", bbox_to_anchor=(left, 0.08), **place)


def _records(points: Map, rank: Rank) -> list[Record]:
    """A record a point; a text stands for all queries of its label, under the id of the first of them."""
    return [
        {
            "panel": points.panel,
            "specimen_id": identifier,
            "modality": modality,
            "rank": rank,
            "taxon": taxon,
            "x": round(float(x), 4),
            "y": round(float(y), 4),
        }
        for identifier, modality, taxon, (x, y) in zip(
            points.ids, points.modality, points.taxa, points.places, strict=True
        )
    ]
