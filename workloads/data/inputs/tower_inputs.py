"""What towers take of some specimens: read from the mapped columns, augmented, and turned into tensors.

One class a kind of input; those of barcodes are in `workloads.data.inputs.dna_inputs`. What is random is a pure
function of the seed, the epoch, the specimen and the number of its view.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.arrays import Indices
from workloads.data.files.images import Pixels
from workloads.data.inputs.augment import evaluation_view, training_view
from workloads.data.inputs.simclr_view import simclr_view
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.errors import SpecError
from workloads.spec import RANKS, ExperimentSpec, TextTower

Groups = tuple[Indices, Indices]
"""First row of each distinct input, and for each row which of these it equals."""


@dataclass(frozen=True, slots=True)
class View:
    """How specimens are shown to the towers: as they are, or augmented for one epoch."""

    seed: int = 0
    epoch: int | None = None
    """None: as they are."""
    number: int = 0
    """Which of several views of a specimen in the epoch."""

    def random(self, row: int) -> np.random.Generator:
        """What is drawn for one specimen; the same whenever it is asked for."""
        assert self.epoch is not None, "specimens as they are have nothing random about them"
        return np.random.default_rng([self.seed, self.epoch, row, self.number])


class TowerInput(Protocol):
    """The inputs of one tower."""

    def take(self, rows: Indices, view: View) -> Tensor:
        """Those of some specimens, (rows, ...)."""

    def groups(self) -> Groups:
        """Which specimens have the same one."""


class Rows:
    """A column of lists of one length, of which any rows can be had without reading the others."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in chunks]
        self._stops = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._stops[-1])

    def take(self, rows: Indices) -> npt.NDArray[Any]:
        """Some rows as a matrix of the column's own type, (rows, length)."""
        which = np.searchsorted(self._stops, rows, side="right")
        offsets = rows - np.concatenate([[0], self._stops])[which]
        taken = np.empty((len(rows), self._parts[0].shape[1]), dtype=self._parts[0].dtype)
        for part in np.unique(which):
            mine = which == part
            taken[mine] = self._parts[part][offsets[mine]]
        return taken


class Images:
    """Pictures as squares."""

    def __init__(self, column: pa.ChunkedArray, spec: ExperimentSpec) -> None:
        self._column, self._size = column, spec.image.image_size
        self._augmented = _AUGMENTED[spec.augmentation]

    def take(self, rows: Indices, view: View) -> Tensor:
        """Bytes of pixels, uint8 (rows, 3, size, size)."""
        pictures = np.empty((len(rows), self._size, self._size, 3), dtype=np.uint8)
        for place, row in enumerate(rows.tolist()):
            content: bytes = self._column[row].as_py()
            if view.epoch is None or self._augmented is None:
                pictures[place] = evaluation_view(content, self._size)
            else:
                pictures[place] = self._augmented(content, self._size, view.random(row))
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def groups(self) -> Groups:
        """Each by itself: no two photographs are the same."""
        everything = np.arange(len(self._column))
        return everything, everything


_AUGMENTED: dict[str, Callable[[bytes, int, np.random.Generator], Pixels] | None] = {
    "crop_and_turn": training_view,
    "simclr": simclr_view,
    "none": None,
}


class Features:
    """What another model made of an image or a barcode.

    Two views of a specimen are equal; it is the dropout of the tower that tells them apart.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._rows = Rows(column)

    def take(self, rows: Indices, view: View) -> Tensor:
        """Values, float32 (rows, features)."""
        return torch.from_numpy(self._rows.take(rows))

    def groups(self) -> Groups:
        """Specimens of the same values."""
        return groups_of(self._rows.take(np.arange(len(self._rows))))


class Labels:
    """Token ids of taxonomic labels."""

    def __init__(self, texts: pa.ChunkedArray, tokenizer: LabelTokenizer, spec: TextTower) -> None:
        self._first, self._which = groups_of_texts(texts)
        distinct = texts.take(pa.array(self._first))
        whole = spec.kind == "bert" and spec.pooling == "mean"  # the mean runs over all positions, padding too
        self._ids = tokenizer.ids(distinct.to_pylist(), spec.max_tokens, whole)

    def take(self, rows: Indices, view: View) -> Tensor:
        """Ids, int64 (rows, tokens)."""
        return torch.from_numpy(self._ids[self._which[rows]])

    def groups(self) -> Groups:
        """Specimens of the same label."""
        return self._first, self._which


def image_input(inputs: pa.Table, spec: ExperimentSpec) -> TowerInput:
    """What the spec's image tower takes.

    Raises:
        SpecError: the data set has none of it.
    """
    if spec.image.kind == "features":
        return Features(filled(inputs, "image_features", "image features"))
    return Images(filled(inputs, "image", "images"), spec)


def filled(inputs: pa.Table, column: str, what: str) -> pa.ChunkedArray:
    """A column that every specimen has.

    Raises:
        SpecError: some lack it.
    """
    found = inputs[column]
    if found.null_count:
        raise SpecError(f"{found.null_count:,} of {len(found):,} specimens have no {what}, which the tower takes")
    return found


def authors_texts(ranks: pa.Table) -> pa.ChunkedArray:
    """Labels as the authors' code writes them: all four ranks, and `not_classified` for each that has no name.

    The genus is said twice where the species is known, since a species is the full binomial.
    """
    named = [pc.fill_null(ranks[rank], "not_classified") for rank in RANKS]
    return pc.binary_join_element_wise(*named, " ")


def groups_of(matrix: npt.NDArray[Any]) -> Groups:
    """Rows of a matrix that are equal to the last bit."""
    rows = np.ascontiguousarray(matrix)
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    return first, which.ravel()


def groups_of_texts(texts: pa.ChunkedArray) -> Groups:
    """Rows of a column of text that are equal."""
    which = pc.index_in(texts, value_set=pc.unique(texts)).to_numpy().astype(np.int64)
    _, first = np.unique(which, return_index=True)
    return first, which
