"""The points of an evaluation's map, ready to be drawn: places as whole numbers, classes and words as codes.

A million points are some 11 MB as the page's script reads them, and as much again for what is said of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.evaluated import EvaluatedFolder
from workloads.arrays import Floats, Indices
from workloads.predictions import Answers, Place
from workloads.shown import read_map
from workloads.spec import MODALITIES, RANKS, Modality, Rank

COLOURED: tuple[Rank, ...] = ("order", "family")
"""Ranks whose names have colours."""
NUM_COLOURS = 8
"""Names that have one of their own, the commonest."""
OTHER, NAMELESS = NUM_COLOURS, NUM_COLOURS + 1
_STEPS = 32_767
"""From the middle of the map to its edge: less than a pixel, up to a zoom of 64."""
_NOT_ASKED = -1
_USUAL = ("image", "dna")
_Small = npt.NDArray[np.int8]
_Whole = npt.NDArray[np.int16]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassOfPoints:
    """The points of a name at a rank, or of all that have no colour of their own."""

    name: str | None
    """None for those."""
    slot: int
    """Its colour: from 0, `OTHER`, or `NAMELESS`."""
    count: int
    x: float
    """Its centre, in the units of the map."""
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """The points of a map, those of a specimen side by side."""

    method: str
    """`umap` or `pca`."""
    of: int
    """How many there could be."""
    x: _Whole
    y: _Whole
    modality: _Small
    """Index in `MODALITIES`, (points,)."""
    part: _Small
    """0 for keys, then `partitions`, (points,)."""
    partitions: tuple[str, ...]
    begins: _Small
    """1 where the points of another specimen begin, (points,)."""
    slots: Mapping[Rank, _Small]
    """Colours, (points,)."""
    classes: Mapping[Rank, Sequence[ClassOfPoints]]
    """By rank, the commonest first; what has no colour of its own comes last."""
    specimens: pa.Table
    """specimen_id and names, in the order in which their points stand."""

    @property
    def nbytes(self) -> int:
        """Bytes of it all."""
        return sum(int(array.nbytes) for array in self.columns.values()) + int(self.specimens.nbytes)

    @property
    def columns(self) -> dict[str, Any]:
        """What is drawn: columns for `column_file`."""
        own = {"x": self.x, "y": self.y, "modality": self.modality, "part": self.part, "begins": self.begins}
        return {**own, **{f"slot_{rank}": slots for rank, slots in self.slots.items()}}

    def num_of_modality(self, modality: Modality) -> int:
        """Points of a modality."""
        return int((self.modality == MODALITIES.index(modality)).sum())

    def num_of_part(self, part: int) -> int:
        """Points of the keys, or of a partition."""
        return int((self.part == part).sum())


def read_points(evaluated: EvaluatedFolder) -> Points | None:
    """The points of an evaluation; None where it has kept none.

    Raises:
        DamagedError: they, or the names of their specimens, are not what was written.
    """
    table = read_map(evaluated.folder)
    if table is None:
        return None
    owners = table["specimen_id"].combine_chunks().dictionary_encode()
    owner = owners.indices.to_numpy()
    order = np.argsort(owner, kind="stable")
    begins = np.diff(owner[order], prepend=-1)
    partitions = tuple(sorted(table["partition"].drop_null().unique().to_pylist()))
    parts = pa.array([None, *partitions], pa.string())
    named = _named(evaluated.predictions.specimens, owners.dictionary)
    places = np.stack([np.asarray(table[name])[order] for name in ("x", "y")], axis=1)
    coloured = {rank: _coloured(named[rank], owner[order], places) for rank in COLOURED}
    modality = _codes(table["modality"], pa.array(MODALITIES, pa.string()))[order]
    part = _codes(table["partition"], parts)[order]
    metadata = table.schema.metadata or {}
    method, of = metadata.get(b"method", b"").decode(), int(metadata.get(b"of", len(table)))
    x, y = _whole(places).T
    del table
    pa.default_memory_pool().release_unused()  # 200 MB of a million points, which Arrow would keep for later
    return Points(
        method=method,
        of=of,
        x=x,
        y=y,
        modality=modality,
        part=part,
        partitions=partitions,
        begins=begins.astype(np.int8),
        slots={rank: slots for rank, (slots, _) in coloured.items()},
        classes={rank: classes for rank, (_, classes) in coloured.items()},
        specimens=named,
    )


def _named(specimens: pa.Table, ids: pa.Array) -> pa.Table:
    rows = pc.index_in(ids, value_set=specimens["specimen_id"].combine_chunks())
    names: dict[str, pa.Array] = {
        rank: specimens[rank].combine_chunks().dictionary_encode().take(rows) for rank in RANKS
    }
    return pa.table({"specimen_id": ids, **names})


def _codes(column: pa.ChunkedArray, words: pa.Array) -> _Small:
    return np.asarray(pc.index_in(column, value_set=words)).astype(np.int8)


def _whole(places: Floats) -> _Whole:
    """Places as whole numbers from the middle of the map, of one scale for both axes."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = max(float((high - low).max()) / 2, 1e-12)
    return np.asarray(((places - (low + high) / 2) / half * _STEPS).round().astype(np.int16))


def _coloured(names: pa.ChunkedArray, owner: Indices, places: Floats) -> tuple[_Small, list[ClassOfPoints]]:
    """The colour of each point by the name of its specimen, and the names with how many points each has."""
    encoded = names.combine_chunks()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()[owner]
    words = encoded.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(words) + 1)
    order = sorted((code for code in range(len(words)) if counts[code]), key=lambda code: (-counts[code], words[code]))
    slot_of = np.full(len(words) + 1, OTHER, dtype=np.int8)
    slot_of[order[:NUM_COLOURS]] = range(min(NUM_COLOURS, len(order)))
    slot_of[len(words)] = NAMELESS
    slots = slot_of[codes]
    there = [slot for slot in range(NAMELESS + 1) if (slots == slot).any()]
    classes = []
    for slot in there:
        own = places[slots == slot]
        x, y = own.mean(axis=0, dtype=np.float64)
        name = words[order[slot]] if slot < NUM_COLOURS else None
        classes.append(ClassOfPoints(name=name, slot=slot, count=len(own), x=float(x), y=float(y)))
    return slots, classes


def specimen_columns(points: Points, evaluated: EvaluatedFolder) -> dict[str, Any]:
    """What is said of each specimen: its id, its names, and of a query how near its nearest key is and what it shares.

    `shares` is the depth of the deepest rank that a query shares with its nearest key, 0 for none, 4 for the species;
    -1 for keys and for what was not asked. `cosine` is in ten thousandths.
    """
    ids = points.specimens["specimen_id"].combine_chunks()
    cosine, shares = (np.full(len(ids), _NOT_ASKED, dtype=np.int16) for _ in range(2))
    for place in asked_places(evaluated, points.partitions):
        answers: Answers = evaluated.answers(place.partition, place.query, place.key)
        rows = pc.index_in(pa.array(answers.ids, pa.string()), value_set=ids)
        there = np.asarray(rows.is_valid())
        at = rows.drop_null().to_numpy()
        cosine[at] = np.nan_to_num(answers.cosines[there, 0] * 10_000).round()
        shares[at] = answers.depth_shared()[there]
    told: dict[str, Any] = {rank: points.specimens[rank].cast(pa.string()).to_pylist() for rank in RANKS}
    return {"specimen": ids.to_pylist(), **told, "cosine": cosine, "shares": shares}


def asked_places(evaluated: EvaluatedFolder, partitions: Sequence[str]) -> list[Place]:
    """Of each partition the retrieval whose answers are told: image to DNA, or the first that there is."""
    first: dict[str, Place] = {}
    for place in evaluated.predictions.places:
        if place.partition in partitions and (place.partition not in first or (place.query, place.key) == _USUAL):
            first[place.partition] = place
    return list(first.values())
