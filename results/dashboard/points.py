"""The points of an evaluation's map, ready to be drawn: places as whole numbers, classes and words as codes.

A million points are some 12 MB as the page reads them; what their specimens are called it has in common with the
page of retrieval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from results.dashboard.numbers import Answered
from workloads.arrays import Codes, Floats, Names
from workloads.errors import DamagedError
from workloads.predictions import MISSING
from workloads.shown import MAP, read_map
from workloads.spec import MODALITIES, Modality, Rank
from workloads.storage import Folder

COLOURED: tuple[Rank, ...] = ("order", "family")
"""Ranks whose names have colours."""
NUM_COLOURS = 8
"""Names that have one of their own, the commonest."""
OTHER, NAMELESS = NUM_COLOURS, NUM_COLOURS + 1
_STEPS = 32_767
"""From the middle of the map to its edge: less than a pixel, up to a zoom of 64."""
_NOT_ASKED = -1
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
    steps: Codes
    """From the row of the specimen before to that of each point's, the first from 0, (points,)."""
    slots: Mapping[Rank, _Small]
    """Colours, (points,)."""
    classes: Mapping[Rank, Sequence[ClassOfPoints]]
    """By rank, the commonest first; what has no colour of its own comes last."""
    num_specimens: int

    @property
    def nbytes(self) -> int:
        """Bytes of it all."""
        return sum(int(array.nbytes) for array in self.columns.values())

    @property
    def columns(self) -> dict[str, Any]:
        """What is drawn: columns for `column_file`."""
        own = {"x": self.x, "y": self.y, "modality": self.modality, "part": self.part, "steps": self.steps}
        return {**own, **{f"slot_{rank}": slots for rank, slots in self.slots.items()}}

    def num_of_modality(self, modality: Modality) -> int:
        """Points of a modality."""
        return int((self.modality == MODALITIES.index(modality)).sum())

    def num_of_part(self, part: int) -> int:
        """Points of the keys, or of a partition."""
        return int((self.part == part).sum())


def read_points(folder: Folder, evaluation: Answered) -> Points | None:
    """The points of an evaluation; None where it has kept none.

    Args:
        folder: of the evaluation.
        evaluation: its specimens, and their names.

    Raises:
        DamagedError: they are not what was written, or are of others than its specimens.
    """
    table, about = read_map(folder), evaluation.facts.get("map", {})
    if table is None:
        return None
    rows = pc.index_in(table["specimen_id"].combine_chunks(), value_set=evaluation.ids)
    if rows.null_count:
        raise DamagedError(f"{folder}/{MAP}", "it is of specimens that the evaluation does not have")
    order = np.argsort(rows.to_numpy(), kind="stable")
    owner = rows.to_numpy()[order]
    partitions = tuple(sorted(table["partition"].drop_null().unique().to_pylist()))
    parts = pa.array([None, *partitions], pa.string())
    places = np.stack([np.asarray(table[name])[order] for name in ("x", "y")], axis=1)
    modality = _codes(table["modality"], pa.array(MODALITIES, pa.string()))[order]
    part = _codes(table["partition"], parts)[order]
    del table, rows
    pa.default_memory_pool().release_unused()  # 200 MB of a million points, which Arrow would keep for later
    coloured = {rank: _coloured(evaluation.codes[rank][owner], evaluation.names[rank], places) for rank in COLOURED}
    x, y = _whole(places).T
    steps = np.diff(owner, prepend=0)
    return Points(
        method=str(about.get("method", "")),
        of=int(about.get("of", len(owner))),
        x=x,
        y=y,
        modality=modality,
        part=part,
        partitions=partitions,
        steps=steps,
        slots={rank: slots for rank, (slots, _) in coloured.items()},
        classes={rank: classes for rank, (_, classes) in coloured.items()},
        num_specimens=1 + int((steps[1:] != 0).sum()),
    )


def _codes(column: pa.ChunkedArray, words: pa.Array) -> _Small:
    return np.asarray(pc.index_in(column, value_set=words)).astype(np.int8)


def _whole(places: Floats) -> _Whole:
    """Places as whole numbers from the middle of the map, of one scale for both axes."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = max(float((high - low).max()) / 2, 1e-12)
    return np.asarray(((places - (low + high) / 2) / half * _STEPS).round().astype(np.int16))


def _coloured(codes: Codes, words: Names, places: Floats) -> tuple[_Small, list[ClassOfPoints]]:
    """The colour of each point by the code of its specimen's name, and the names with how many points each has."""
    codes = np.where(codes == MISSING, np.int32(len(words)), codes)
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


def answer_columns(evaluation: Answered) -> dict[str, Any]:
    """What is said of each specimen that asked, by its row: how near its nearest key is and what both share.

    `shares` is the depth of the deepest rank that a query shares with its nearest key, 0 for none, 4 for the species;
    -1 of keys, and of what was not asked. `cosine` is in ten thousandths.
    """
    cosine = np.zeros(len(evaluation.ids), dtype=np.int16)
    shares = np.full(len(evaluation.ids), _NOT_ASKED, dtype=np.int8)
    for partition in evaluation.partitions:
        one = evaluation.retrieval(partition)
        cosine[one.queries] = np.nan_to_num(one.similarity * 10_000).round()
        shares[one.queries] = one.depth
    return {"cosine": cosine, "shares": shares}
