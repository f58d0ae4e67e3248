"""What towers take of some specimens: read from the mapped columns, augmented, and turned into tensors.

One function a modality. What is random is a pure function of the seed, the epoch, the specimen and the number of its
view.

Trained on its own (`simclr`), a DNA tower sees views of barcodes that are masked at random; otherwise barcodes as they
are. These views are the counterpart of SimCLR's crops and colours. They are ours: CLIBD trains no DNA encoder this way,
and its reviewers missed the comparison. As a crop shows part of an image, a view shows a window of at least half of the
5-mers; as colours are changed, 15 % of the 5-mers shown are hidden as well. What is hidden is written as unknown, so
that every base keeps its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.arrays import Bytes, Indices, KmerIds, Mask
from workloads.data.files.images import Pixels
from workloads.data.inputs.image_views import evaluation_view, simclr_view, training_view
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.data.specimens.barcode import (
    FIRST_KMER_ID,
    KMER,
    NUM_TOKENS,
    UNCERTAIN_BASE,
    UNKNOWN_ID,
    base_codes,
    kmer_counts,
    placed,
    token_ids,
)
from workloads.data.specimens.schema import VIEWS
from workloads.errors import SpecError
from workloads.spec import RANKS, ExperimentSpec, TextTower

MAX_BYTE_PAIRS = 512
"""Longer barcodes are cut, as the published tokeniser of DNABERT-2 says."""
_LEAST_SHOWN = 0.5
"""Share of the 5-mers that the window holds at least."""
_HIDDEN = 0.15
"""Share of the window's 5-mers that are hidden, each by itself."""
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

    def random(self, row: int) -> np.random.Generator:
        """What is drawn for one specimen; the same whenever it is asked for."""
        assert self.epoch is not None, "specimens as they are have nothing random about them"
        return np.random.default_rng([self.seed, self.epoch, row, self.number])

    def which(self, row: int, count: int) -> int:
        """Which of several images of a specimen is shown; from a stream of its own, so that others draw as without."""
        assert self.epoch is not None, "specimens as they are show their first image"
        return int(np.random.default_rng([self.seed, self.epoch, row, self.number, count]).integers(count))


AS_THEY_ARE = View()


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


def image_input(inputs: pa.Table, spec: ExperimentSpec) -> InputColumn:
    """What the spec's image tower takes: squares of pixels, or features of another model."""
    if spec.image.kind == "features":
        return _number_input(inputs["image_features"])
    column = inputs["image"]
    augmented = _AUGMENTED.get(spec.augmentation)
    others = inputs[VIEWS.name] if VIEWS.name in inputs.column_names else None
    take = partial(_pictures, column, others, spec.image.image_size, augmented)
    return InputColumn(take, partial(_each_apart, len(column)), there_in(column))


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


def _number_input(
    column: pa.ChunkedArray,
    take: Callable[[Indices], Numbers] | None = None,
    masked: Callable[..., Numbers] | None = None,
) -> InputColumn:
    """Features of another model, ids of 5-mers, or codes of bases.

    Two views of what is not masked are equal; it is the dropout of the tower that tells them apart.

    Args:
        column: of which they are made.
        take: gives some rows, (rows, length); None: as they lie in the column.
        masked: gives a view of one row that is masked at random; None: they are shown as they are.
    """
    take, there = take or Rows(column).take, there_in(column)
    return InputColumn(partial(_numbers, take, masked), partial(_groups_of_numbers, take, len(column)), there)


def _numbers(
    take: Callable[[Indices], Numbers], masked: Callable[..., Numbers] | None, rows: Indices, view: View
) -> Tensor:
    """Features, float32 (rows, features), or codes, int64 (rows, 133) of 5-mers, (rows, 660) of bases."""
    taken = take(rows)
    if masked is not None and view.epoch is not None:
        for place, row in enumerate(rows.tolist()):
            taken[place] = masked(taken[place], view.random(row))
    return torch.from_numpy(taken if taken.dtype.kind == "f" else taken.astype(np.int64))


def _groups_of_numbers(take: Callable[[Indices], Numbers], count: int) -> Groups:
    return equal_rows(take(np.arange(count)))


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
    first, which = _groups_of_texts(texts)
    whole = spec.kind == "bert" and spec.pooling == "mean"  # the mean runs over all positions, padding too
    ids = tokenizer.ids([text or "" for text in texts.take(pa.array(first)).to_pylist()], spec.max_tokens, whole)
    return InputColumn(partial(_labels, ids, which), partial(_groups_of_texts, texts), there_in(inputs["text"]))


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


def _groups_of_texts(texts: pa.ChunkedArray) -> Groups:
    """Rows of a column of text that are equal."""
    which = pc.index_in(texts, value_set=pc.unique(texts)).to_numpy().astype(np.int64)
    _, first = np.unique(which, return_index=True)
    return first, which


# --- Barcodes -----------------------------------------------------------------------------------------------------

_IDS = {"own": "dna_ids", "authors": "authors_dna_ids"}


def dna_input(
    inputs: pa.Table, spec: ExperimentSpec, tokenizer: LabelTokenizer | None, frame: str | None = None
) -> InputColumn:
    """What the spec's DNA tower takes.

    Args:
        inputs: the specimens.
        spec: which tower.
        tokenizer: of byte pairs.
        frame: what our own 5-mers are laid into where it is not the frame of the stored ones; None: as they are stored.

    Raises:
        SpecError: there is no tokeniser for byte pairs.
    """
    tower, kind, simclr = spec.dna, spec.dna.kind, spec.objective == "simclr"
    take: Callable[[Indices], Numbers] | None = None
    if kind == "features":
        column = inputs["dna_features"]
    elif kind == "barcodebert" and (tower.tokens == "authors" or frame is None):
        column = inputs[_IDS[tower.tokens]]
    else:
        column = barcodes = inputs["barcode"]
        if kind == "dnabert2":
            if tokenizer is None:
                raise SpecError("DNABERT-2 needs the tokeniser of its byte pairs")
            read = partial(_byte_pairs, barcodes, tokenizer, simclr)
            return InputColumn(read, partial(_groups_of_texts, barcodes), there_in(barcodes), tokenizer.pad_id)
        if kind == "kmers":
            counts = partial(_encoded, barcodes, kmer_counts)
            return InputColumn(partial(_numbers, counts, None), partial(_groups_of_texts, barcodes), there_in(barcodes))
        take = partial(_encoded, barcodes, base_codes if kind == "cnn" else partial(_ids_in_frame, frame or ""))
    masked: dict[str, Callable[..., Numbers]] = {"barcodebert": view_of_token_ids, "cnn": view_of_base_codes}
    return _number_input(column, take, masked.get(kind) if simclr else None)


def _encoded(barcodes: pa.ChunkedArray, encode: Callable[[list[str]], Numbers], rows: Indices) -> Numbers:
    """Numbers that are made of barcodes when they are asked for, (rows, length)."""
    return encode([barcodes[row].as_py() or "" for row in rows.tolist()])


def _ids_in_frame(frame: str, barcodes: Sequence[str]) -> Numbers:
    """5-mer ids in a frame that is not the data set's; 20,000 take about a second."""
    return token_ids(placed(barcodes, frame))


def _byte_pairs(
    barcodes: pa.ChunkedArray, tokenizer: LabelTokenizer, masked: bool, rows: Indices, view: View
) -> Tensor:
    """Byte-pair ids, int64 (rows, the longest of them)."""
    texts: list[str] = [barcodes[row].as_py() or "" for row in rows.tolist()]
    if masked and view.epoch is not None:
        texts = [view_of_text(text, view.random(row)) for text, row in zip(texts, rows.tolist(), strict=True)]
    return torch.from_numpy(tokenizer.ids(texts, MAX_BYTE_PAIRS, whole_length=False))


def _shown_kmers(num_kmers: int, random: np.random.Generator) -> Mask:
    """Which 5-mers of a barcode a view shows, (num_kmers,).

    The window's length is drawn evenly from half of the 5-mers up to all of them, then its place.
    """
    length = int(random.integers(int(np.ceil(_LEAST_SHOWN * num_kmers)), num_kmers, endpoint=True))
    start = int(random.integers(0, num_kmers - length, endpoint=True))
    shown = np.zeros(num_kmers, dtype=np.bool_)
    shown[start : start + length] = random.random(length) >= _HIDDEN
    return shown


def view_of_token_ids(ids: KmerIds, random: np.random.Generator) -> KmerIds:
    """5-mer ids of which some are unknown, (133,); the first id and padding stay.

    The barcode ends with its last known 5-mer, since the authors' ids do not tell unknown ones from padding.
    """
    known = ids[1:] >= FIRST_KMER_ID
    view = ids.copy()
    view[1:][known & ~_shown(known, random)] = UNKNOWN_ID
    return view


def view_of_base_codes(codes: Bytes, random: np.random.Generator) -> Bytes:
    """Base codes of which some 5-mers are uncertain, (660,); past the end nothing changes."""
    known: Mask = np.less(codes, UNCERTAIN_BASE)
    shown = _shown(np.any(known.reshape(-1, KMER), axis=1), random)
    return np.where(known & ~np.repeat(shown, KMER), np.uint8(UNCERTAIN_BASE), codes)


def view_of_text(barcode: str, random: np.random.Generator) -> str:
    """The window as text, its hidden 5-mers written as N, for tokenisers that read letters."""
    shown = np.repeat(_shown_kmers(-(-len(barcode) // KMER), random), KMER)[: len(barcode)]
    return "".join(letter if seen else "N" for letter, seen in zip(barcode, shown.tolist(), strict=True)).strip("N")


def _shown(known: Mask, random: np.random.Generator) -> Mask:
    """Which of 132 5-mers a view shows, of a barcode that ends with its last known one, (132,)."""
    num_kmers = int(known.nonzero()[0].max(initial=-1)) + 1
    shown = np.zeros(NUM_TOKENS - 1, dtype=np.bool_)
    shown[:num_kmers] = _shown_kmers(num_kmers, random)
    return shown
