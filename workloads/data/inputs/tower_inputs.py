"""What towers take of some specimens: read from the mapped columns, augmented, and turned into tensors.

One function a modality; barcodes are in `barcode_inputs`. What is random is a pure function of the seed, the epoch,
the specimen and the number of its view.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.arrays import Indices, Mask
from workloads.data.files.images import Pixels
from workloads.data.inputs.image_views import evaluation_view, simclr_view, training_view
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.data.specimens.schema import VIEWS
from workloads.errors import DamagedError, RecordError, SpecError
from workloads.spec import RANKS, ExperimentSpec
from workloads.tower_specs import TextTower

Numbers = npt.NDArray[Any]
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

    def random(self, row: int, *stream: int) -> np.random.Generator:
        """What is drawn for one specimen; the same whenever it is asked for. Another stream is of other numbers."""
        assert self.epoch is not None, "specimens as they are have nothing random about them"
        return np.random.default_rng([self.seed, self.epoch, row, self.number, *stream])

    def which(self, row: int, count: int) -> int:
        """Which of several images of a specimen is shown; from a stream of its own, so that others draw as without."""
        return int(self.random(row, count).integers(count))


AS_THEY_ARE = View()
Take = Callable[[Indices, View], Numbers]
"""Gives numbers of some specimens, (rows, length)."""


@dataclass(frozen=True, slots=True)
class InputColumn:
    """What one tower takes of the specimens."""

    take: Callable[[Indices, View], Tensor]
    """The inputs of some specimens, (rows, ...)."""
    groups: Callable[[], Groups]
    """Which specimens have the same one."""
    there: Mask | None = None
    """Which specimens have it, (specimens,), as what is taken of the others means nothing; None: all have."""
    padding: int | None = None
    """Fills rows up to the longest of those that are taken together; None where all have one length."""


class Rows:
    """A column of lists of one length, of which any rows can be had without reading the others; of null, zeros."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk.drop_null() for chunk in column.chunks if chunk.null_count < len(chunk)]
        self._parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in chunks]
        self._stops = np.cumsum([len(part) for part in self._parts])
        self._there = there_in(column)
        self._places = None if self._there is None else np.cumsum(self._there) - 1
        """Of rows among those that are not null."""

    def take(self, rows: Indices) -> Numbers:
        """Some rows as a matrix of the column's own type, (rows, length)."""
        if self._there is None or self._places is None:
            return self._taken(rows)
        own = self._there[rows]
        found = self._taken(self._places[rows[own]])
        taken = np.zeros((len(rows), found.shape[1]), dtype=found.dtype)
        taken[own] = found
        return taken

    def _taken(self, rows: Indices) -> Numbers:
        which = np.searchsorted(self._stops, rows, side="right")
        offsets = rows - np.concatenate([[0], self._stops])[which]
        taken = np.empty((len(rows), self._parts[0].shape[1]), dtype=self._parts[0].dtype)
        for part in np.unique(which):
            mine = which == part
            taken[mine] = self._parts[part][offsets[mine]]
        return taken


def there_in(column: pa.ChunkedArray) -> Mask | None:
    """Which rows of a column are not null, (rows,); None where all are."""
    return np.asarray(column.is_valid()) if column.null_count else None


Called = Callable[[int], tuple[str, str]]
"""The id of a specimen and the shard that it lies in, by its row."""


def image_input(inputs: pa.Table, spec: ExperimentSpec, called: Called | None = None) -> InputColumn:
    """What the spec's image tower takes: squares of pixels, or features of another model.

    What is taken raises DamagedError where an image does not decode, with what it is `called`.
    """
    if spec.image.kind == "features":
        return number_input(inputs["image_features"])
    column = inputs["image"]
    augmented = _AUGMENTED.get(spec.augmentation)
    others = inputs[VIEWS.name] if VIEWS.name in inputs.column_names else None
    take = partial(_pictures, column, others, spec.image.image_size, augmented)
    take = take if called is None else partial(_named, take, called)
    return InputColumn(take, partial(_each_apart, len(column)), there_in(column))


def _named(take: Callable[[Indices, View], Tensor], called: Called, rows: Indices, view: View) -> Tensor:
    """What is taken; of rows that cannot be, the first one is looked for and named."""
    try:
        return take(rows, view)
    except RecordError:
        for row in rows.tolist():
            try:
                take(np.array([row]), view)
            except RecordError as error:
                specimen, shard = called(row)
                raise DamagedError(shard, f"of specimen {specimen} {error}") from error
        raise


_Augmentation = Callable[[bytes, int, np.random.Generator], Pixels]
_AUGMENTED: dict[str, _Augmentation] = {"crop_and_turn": training_view, "simclr": simclr_view}


def _pictures(
    column: pa.ChunkedArray,
    others: pa.ChunkedArray | None,
    side: int,
    augmented: _Augmentation | None,
    rows: Indices,
    view: View,
) -> Tensor:
    """Bytes of pixels, uint8 (rows, 3, side, side); of several images one is drawn, and as they are it is the first.

    Without an image it is black.
    """
    pictures = np.empty((len(rows), side, side, 3), dtype=np.uint8)
    for place, row in enumerate(rows.tolist()):
        content: bytes | None = column[row].as_py()
        if content is None:
            pictures[place] = 0
            continue
        if others is not None and view.epoch is not None and (further := others[row].as_py()):
            content = [content, *further][view.which(row, 1 + len(further))]
        if view.epoch is None or augmented is None:
            pictures[place] = evaluation_view(content, side)
        else:
            pictures[place] = augmented(content, side, view.random(row))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _each_apart(count: int) -> Groups:
    """No two photographs are the same."""
    everything = np.arange(count)
    return everything, everything


def number_input(
    column: pa.ChunkedArray,
    take: Take | None = None,
    masked: Callable[..., Numbers] | None = None,
) -> InputColumn:
    """Features of another model, ids of 5-mers, or codes of bases.

    Two views of what is not masked are equal; it is the dropout of the tower that tells them apart.

    Args:
        column: of which they are made.
        take: gives views of some rows, (rows, length); None: as they lie in the column.
        masked: gives a view of one row that is masked at random; None: they are shown as they are.
    """
    take, there = take or partial(_as_stored, Rows(column)), there_in(column)
    return InputColumn(partial(numbers, take, masked), partial(_groups_of_numbers, take, len(column)), there)


def _as_stored(column: Rows, rows: Indices, view: View) -> Numbers:
    return column.take(rows)


def numbers(take: Take, masked: Callable[..., Numbers] | None, rows: Indices, view: View) -> Tensor:
    """Features, float32 (rows, features), or codes, int64 (rows, 133) of 5-mers, (rows, 660) of bases."""
    taken = take(rows, view)
    if masked is not None and view.epoch is not None:
        for place, row in enumerate(rows.tolist()):
            taken[place] = masked(taken[place], view.random(row))
    return torch.from_numpy(taken if taken.dtype.kind == "f" else taken.astype(np.int64))


def _groups_of_numbers(take: Take, count: int) -> Groups:
    return equal_rows(take(np.arange(count), AS_THEY_ARE))


def text_input(
    inputs: pa.Table, ranks: pa.Table | None, tokenizer: LabelTokenizer | None, spec: TextTower
) -> InputColumn:
    """Token ids of labels, each distinct one read once.

    Args:
        inputs: the specimens.
        ranks: their names, where a missing one is written out; None: labels as they are stored.
        tokenizer: of the text tower.
        spec: which tower.

    Raises:
        SpecError: there is no tokeniser.
    """
    if tokenizer is None:
        raise SpecError("aligning text needs a tokeniser")
    texts = inputs["text"] if ranks is None else _authors_texts(ranks)
    first, which = groups_of_texts(texts)
    whole = spec.kind == "bert" and spec.pooling == "mean"  # the mean runs over all positions, padding too
    ids = tokenizer.ids([text or "" for text in texts.take(pa.array(first)).to_pylist()], spec.max_tokens, whole)
    return InputColumn(partial(_labels, ids, which), partial(groups_of_texts, texts), there_in(inputs["text"]))


def _labels(ids: Indices, which: Indices, rows: Indices, view: View) -> Tensor:
    """Ids, int64 (rows, tokens)."""
    return torch.from_numpy(ids[which[rows]])


def _authors_texts(ranks: pa.Table) -> pa.ChunkedArray:
    """Labels as the authors' code writes them: all four ranks, and `not_classified` for each that has no name.

    The genus is said twice where the species is known, since a species is the full binomial.
    """
    named = [pc.fill_null(ranks[rank], "not_classified") for rank in RANKS]
    return pc.binary_join_element_wise(*named, " ")


def equal_rows(matrix: Numbers) -> Groups:
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
