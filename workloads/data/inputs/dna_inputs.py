"""What DNA towers take of barcodes: 5-mer ids, bases, or byte pairs.

Trained on its own (`simclr`), a tower sees views of barcodes that are masked at random; otherwise barcodes as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from workloads.arrays import Indices
from workloads.data.inputs.barcode_view import view_of_base_codes, view_of_text, view_of_token_ids
from workloads.data.inputs.tower_inputs import (
    Features,
    Groups,
    Rows,
    TowerInput,
    View,
    filled,
    groups_of,
    groups_of_texts,
)
from workloads.data.prepared.frame import placed
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.data.specimens.barcode import base_codes, token_ids
from workloads.errors import SpecError
from workloads.spec import ExperimentSpec

MAX_BYTE_PAIRS = 512
"""Of a barcode; longer ones are cut, as the published tokeniser of DNABERT-2 says."""

_IDS = {"own": "dna_ids", "authors": "authors_dna_ids"}


def dna_input(
    inputs: pa.Table, spec: ExperimentSpec, tokenizer: LabelTokenizer | None, frame: str | None = None
) -> TowerInput:
    """What the spec's DNA tower takes.

    Args:
        inputs: the specimens.
        spec: which tower.
        tokenizer: of byte pairs.
        frame: what our own 5-mers are laid into where it is not the frame of the stored ones; None: as they are stored.

    Raises:
        SpecError: the data set has none of it, or there is no tokeniser for byte pairs.
    """
    tower, masked = spec.dna, spec.objective == "simclr"
    if tower.kind == "features":
        return Features(filled(inputs, "dna_features", "DNA features"))
    if tower.kind == "barcodebert" and tower.tokens == "own" and frame is not None:
        return Codes(LaidRows(filled(inputs, "barcode", "barcodes"), frame), view_of_token_ids if masked else None)
    if tower.kind == "barcodebert":
        return Codes(Rows(filled(inputs, _IDS[tower.tokens], "barcodes")), view_of_token_ids if masked else None)
    barcodes = filled(inputs, "barcode", "barcodes")
    if tower.kind == "cnn":
        return Codes(Bases(barcodes), view_of_base_codes if masked else None)
    if tokenizer is None:
        raise SpecError("DNABERT-2 needs the tokeniser of its byte pairs")
    return BytePairs(barcodes, tokenizer, masked)


class LaidRows:
    """5-mer ids of barcodes in a frame that is not the data set's; each distinct barcode is laid once.

    As they are wanted: 20,000 barcodes take about a second, and a million distinct ones 270 MB.
    """

    def __init__(self, barcodes: pa.ChunkedArray, frame: str) -> None:
        first, self._which = groups_of_texts(barcodes)
        self._ids = token_ids(placed(barcodes.take(pa.array(first)).to_pylist(), frame))

    def __len__(self) -> int:
        return len(self._which)

    def take(self, rows: Indices) -> npt.NDArray[np.int16]:
        """Ids of some rows, (rows, 133)."""
        found: npt.NDArray[np.int16] = self._ids[self._which[rows]]
        return found


class Bases:
    """The bases of barcodes."""

    def __init__(self, barcodes: pa.ChunkedArray) -> None:
        self._barcodes = barcodes

    def __len__(self) -> int:
        return len(self._barcodes)

    def take(self, rows: Indices) -> npt.NDArray[np.uint8]:
        """Codes of `base_codes`, (rows, 660)."""
        return base_codes([self._barcodes[row].as_py() for row in rows.tolist()])


class Codes:
    """5-mer ids of barcodes, or codes of their bases."""

    def __init__(self, rows: Rows | LaidRows | Bases, masked: Callable[..., npt.NDArray[Any]] | None) -> None:
        """Keep what is asked for later.

        Args:
            rows: the codes.
            masked: gives a view of some codes that are masked at random; None: they are shown as they are.
        """
        self._rows, self._masked = rows, masked

    def take(self, rows: Indices, view: View) -> Tensor:
        """Codes, int64 (rows, 133) of 5-mers, (rows, 660) of bases."""
        codes = self._rows.take(rows)
        if self._masked is not None and view.epoch is not None:
            for place, row in enumerate(rows.tolist()):
                codes[place] = self._masked(codes[place], view.random(row))
        return torch.from_numpy(codes.astype(np.int64))

    def groups(self) -> Groups:
        """Barcodes of the same codes."""
        return groups_of(self._rows.take(np.arange(len(self._rows))))


class BytePairs:
    """Byte-pair ids of barcodes."""

    def __init__(self, column: pa.ChunkedArray, tokenizer: LabelTokenizer, masked: bool) -> None:
        self._column, self._tokenizer, self._masked = column, tokenizer, masked

    def take(self, rows: Indices, view: View) -> Tensor:
        """Ids, int64 (rows, the longest of them)."""
        texts: list[str] = [self._column[row].as_py() for row in rows.tolist()]
        if self._masked and view.epoch is not None:
            texts = [view_of_text(text, view.random(row)) for text, row in zip(texts, rows.tolist(), strict=True)]
        return torch.from_numpy(self._tokenizer.ids(texts, MAX_BYTE_PAIRS, whole_length=False))

    def groups(self) -> Groups:
        """Barcodes of the same letters."""
        return groups_of_texts(self._column)
