"""Makes what an evaluation leaves for looking at: `shown.parquet` and `map.parquet` (`workloads.shown`).

The choice is a function of predictions and embeddings alone, and so is the map: those who measure stored embeddings
again choose and place alike.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from workloads.arrays import Indices, Names
from workloads.data.files.images import thumbnail
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, RecordError, first_line
from workloads.evaluation.embedded import KEYS, REST, Embedded, unit
from workloads.evaluation.stored import read_parts, stored_facts
from workloads.plane import by_pca, by_umap
from workloads.predictions import PAPERS_PAIRS, PREDICTIONS, Place, Predictions
from workloads.printed_text import remark
from workloads.record import EVALUATION, RunFolder, read_evaluation
from workloads.seals import seal_run, unseal_run
from workloads.shown import (
    KEY,
    LONGEST_SIDE,
    MAP,
    MAP_SCHEMA,
    MOST_POINTS,
    MOST_SHOWN,
    QUERY,
    SHOWN,
    SHOWN_SCHEMA,
    read_map,
    read_shown,
)
from workloads.storage import Folder

LOOKING_FILES = (SHOWN, MAP)

Portraits = Callable[[pa.Table], pa.Table]
"""Rows of `SHOWN_SCHEMA` of chosen specimens, from their rows of `specimens.parquet`; as far as there are any."""

_SEED = 0
_FIRST_PAIRS = (("image", "dna"), *PAPERS_PAIRS)
"""By whose outcomes queries take turns: the first of these that was asked."""
FEWEST_FOR_UMAP, MOST_FOR_UMAP = 5_000, 20_000
"""Points between which the map is UMAP's. Of 768 numbers each it takes 22 s of a core for 3,000 points (numba compiles
for 8 of them), 54 s for 10,000, 45 s for 20,000 in fewer epochs, and 0.5 GB; principal components take 0.5 s. A run of
the demo, which has up to 3,800 points, is measured in less."""


@dataclass(frozen=True, slots=True)
class Looking:
    """What an evaluation leaves beside its numbers."""

    shown: pa.Table | None
    """None where nobody had images and barcodes."""
    points: pa.Table
    about: Mapping[str, Any]
    """For evaluation.json."""

    def write(self, folder: Folder) -> None:
        """Put the files into the folder of the evaluation, and remove those of an earlier one."""
        if self.shown is None:
            folder.remove(SHOWN)
        else:
            folder.write_table(SHOWN, self.shown)
        folder.write_table(MAP, self.points)


def look_again(run: RunFolder, dataset: PreparedDataset) -> bool:
    """Make anew what a run's own evaluation leaves, where that is damaged or not there; no number changes.

    Args:
        run: finished, and held by this process.
        dataset: any; only with the run's own there is something to do.

    Returns:
        Whether it was made. Where its embeddings or predictions are damaged too, a warning says that it was not.
    """
    own, facts, folder = stored_facts(run.folder), dataset.facts, run.folder
    of_own = own and (own.data_fingerprint, own.data_content) == (facts.fingerprint, facts.content)
    if not of_own or not folder.has(EVALUATION) or not folder.has(PREDICTIONS) or _is_whole(folder):
        return False
    try:
        said = read_evaluation(folder)
        looking = look_at(read_parts(folder), Predictions.read(folder), portraits_of(dataset))
    except DamagedError as error:
        remark(f"warning: what is shown of {run.id} is not made anew: {first_line(error)}")
        return False
    unseal_run(folder, EVALUATION, *LOOKING_FILES)
    looking.write(folder)
    folder.write_json(EVALUATION, {**said, **looking.about})
    seal_run(folder)
    return True


def _is_whole(folder: Folder) -> bool:
    try:
        return read_shown(folder) is not None and read_map(folder) is not None
    except DamagedError:
        return False


def look_at(parts: Mapping[str, Embedded], predictions: Predictions, portraits: Portraits | None) -> Looking:
    """Choose what is shown of an evaluation, and lay its embeddings out.

    Args:
        parts: keys, and queries by partition; what neither answers nor asks is left out.
        predictions: what these were answered.
        portraits: gives images and barcodes; None where there are none to be had.
    """
    specimens, shown = predictions.specimens, None
    if portraits is not None:
        rows = {name: row for row, name in enumerate(specimens["specimen_id"].to_pylist())}
        shown = portraits(specimens.take([rows[name] for name in choose_shown(predictions)]))
    points, placed = map_of(parts)
    count = {"specimens": 0 if shown is None else len(shown), "of": len(specimens)}
    return Looking(shown, points, {"shown": count, "map": placed})


# --- Which specimens are shown ------------------------------------------------------------------------------------


def choose_shown(predictions: Predictions, most: int = MOST_SHOWN) -> list[str]:
    """Ids of the specimens that are shown, in their order; the same of the same predictions.

    Partitions and outcomes take turns, an outcome being the lowest rank that a query shares with its nearest key; in
    each of them chance decides. Each query brings along its nearest key by each of the paper's pairs, and is left out
    where there is no room for all. What room is left is for keys, and for queries that have asked in other pairs.

    Args:
        predictions: of an evaluation.
        most: specimens.
    """
    chance, chosen = np.random.default_rng(_SEED), dict[str, None]()
    nearest = _nearest(predictions)
    turns = zip_longest(*_outcomes(predictions, chance))
    first = [query for turn in turns for query in turn if query is not None]
    others = chance.permutation(np.array(predictions.specimens["specimen_id"].to_pylist(), dtype=object))
    for specimen in (*first, *others):
        group = dict.fromkeys([specimen, *nearest.get(specimen, ())])
        new = [name for name in group if name not in chosen]
        if len(chosen) + len(new) <= most:
            chosen.update(dict.fromkeys(new))
    return list(chosen)


def _outcomes(predictions: Predictions, chance: np.random.Generator) -> Iterator[Names]:
    """Ids of the queries of each partition and outcome, in random order."""
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        answers = predictions.answers(_places(predictions, partition)[0])
        depth = answers.depth_shared()
        for outcome in np.unique(depth):
            yield chance.permutation(answers.ids[depth == outcome])


def _nearest(predictions: Predictions) -> dict[str, list[str]]:
    """The nearest keys of each query, one by each of the pairs that are shown."""
    found: dict[str, list[str]] = {}
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        for place in _places(predictions, partition):
            answers = predictions.answers(place)
            for query, key in zip(answers.ids, answers.key_ids[:, 0], strict=True):
                found.setdefault(query, []).append(key)
    return found


def _places(predictions: Predictions, partition: str) -> list[Place]:
    """The retrievals of a partition that are shown: by the paper's pairs, image to DNA first; without them the first.

    Queries that only other pairs have asked of are shown where there is room.
    """
    own = [place for place in predictions.places if place.partition == partition]
    own = [place for place in own if place.keys == own[0].keys]
    by_pair = {(place.query, place.key): place for place in own}
    return [by_pair[pair] for pair in dict.fromkeys(_FIRST_PAIRS) if pair in by_pair] or own[:1]


# --- Their images and barcodes ------------------------------------------------------------------------------------


def portraits_of(dataset: PreparedDataset) -> Portraits:
    """Images and barcodes from a prepared data set."""

    def portraits(specimens: pa.Table) -> pa.Table:
        ids = specimens["specimen_id"].to_pylist()
        found = dataset.find(sorted(set(specimens["split"].to_pylist())), ["image", "barcode"], ids)
        rows = {name: row for row, name in enumerate(found["specimen_id"].to_pylist())}
        found = found.take([rows[name] for name in ids if name in rows])
        pictures = pa.array([_thumbnail(content.as_py()) for content in found["image"]], pa.binary())
        return pa.table([found["specimen_id"], pictures, found["barcode"]], SHOWN_SCHEMA)

    return portraits


def portraits_again(folder: Folder) -> Portraits | None:
    """Images and barcodes that an evaluation has kept; None where it has none that can be read."""
    try:
        shown = read_shown(folder)
    except DamagedError as error:
        again = "`clibd evaluate RUN --data DIR` with the run's own data set makes them anew"
        remark(f"warning: no pictures are kept, and {again}: {first_line(error)}")
        return None
    return None if shown is None else lambda specimens: shown.rows_of(specimens["specimen_id"].to_pylist())


def _thumbnail(content: bytes | None) -> bytes | None:
    """The image as a WebP of at most 96 pixels a side; None without one that decodes, which models may do without."""
    if content is None:
        return None
    try:
        return thumbnail(content, LONGEST_SIDE)
    except RecordError:
        return None


# --- The map ------------------------------------------------------------------------------------------------------


def map_of(
    parts: Mapping[str, Embedded], most: int = MOST_POINTS, fewest_for_umap: int = FEWEST_FOR_UMAP
) -> tuple[pa.Table, dict[str, Any]]:
    """The embeddings of keys and queries in a plane, a point for each specimen and modality that it has.

    Args:
        parts: keys, and queries by partition.
        most: points; of more, these are drawn.
        fewest_for_umap: points from which on UMAP lays them out, five at least.

    Returns:
        Rows of `MAP_SCHEMA`, and what they are: `method`, `points`, and `of` how many.
    """
    having = {
        (part, modality): embedded.having([modality])
        for part, embedded in parts.items()
        if part != REST
        for modality in embedded.rows
    }
    total = sum(map(len, having.values()))
    kept = _drawn(having, total, most)
    points = np.concatenate([unit(parts[part].rows[modality][own]) for (part, modality), own in kept.items()])
    method = method_for(len(points), fewest_for_umap)
    places = by_umap(points, _SEED) if method == "umap" else by_pca(points)
    if not np.isfinite(places).all():  # UMAP leaves a point without neighbours nowhere
        method, places = "pca", by_pca(points)
    rows = pa.concat_tables([_rows(parts[part], part, modality, own) for (part, modality), own in kept.items()])
    about = {"method": method, "points": len(points), "of": total}
    columns = [*rows.columns, *(pa.array(places[:, axis]) for axis in (0, 1))]
    return pa.table(columns, MAP_SCHEMA.with_metadata({"map": json.dumps(about)})), about


def _drawn(having: Mapping[tuple[str, str], Indices], total: int, most: int) -> dict[tuple[str, str], Indices]:
    """All points, or as many as there may be, each as likely as any other."""
    if total <= most:
        return dict(having)
    drawn = np.zeros(total, dtype=bool)
    drawn[np.random.default_rng(_SEED).choice(total, most, replace=False)] = True
    ends = np.cumsum([len(own) for own in having.values()])[:-1]
    return {
        place: own[mask] for (place, own), mask in zip(having.items(), np.split(drawn, ends), strict=True) if mask.any()
    }


def method_for(num_points: int, fewest_for_umap: int = FEWEST_FOR_UMAP) -> Literal["umap", "pca"]:
    """How so many points are laid out."""
    return "umap" if fewest_for_umap <= num_points <= MOST_FOR_UMAP else "pca"


def _rows(embedded: Embedded, part: str, modality: str, own: Indices) -> pa.Table:
    count = len(own)
    columns: dict[str, Sequence[str | None] | Names] = {
        "specimen_id": embedded.ids[own],
        "partition": [None if part == KEYS else part] * count,
        "kind": [KEY if part == KEYS else QUERY] * count,
        "modality": [modality] * count,
    }
    return pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()})
