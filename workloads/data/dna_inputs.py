"""What DNA towers take of barcodes: 5-mer ids, bases, or byte pairs.

Trained on its own (`simclr`), a tower sees views of barcodes that are masked at random; otherwise barcodes as they are.
"""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workloads.data.barcode import base_codes
from workloads.data.barcode_view import view_of_base_codes, view_of_text, view_of_token_ids
from workloads.data.taxon_text import LabelTokenizer
from workloads.data.tower_inputs import (
    Features,
    Groups,
    Indices,
    Rows,
    TowerInput,
    View,
    filled,
    groups_of,
    groups_of_texts,
)
from workloads.errors import SpecError
from workloads.spec import ExperimentSpec

MAX_BYTE_PAIRS = 512
"""Of a barcode; longer ones are cut, as the published tokeniser of DNABERT-2 says."""

_IDS = {"own": "dna_ids", "authors": "authors_dna_ids"}


def dna_input(inputs: pa.Table, spec: ExperimentSpec, tokenizer: LabelTokenizer | None) -> TowerInput:
    """What the spec's DNA tower takes.

    Raises:
        SpecError: the data set has none of it, or there is no tokeniser for byte pairs.
    """
    tower, masked = spec.dna, spec.objective == "simclr"
    if tower.kind == "features":
        return Features(filled(inputs, "dna_features", "DNA features"))
    if tower.kind == "barcodebert":
        return TokenIds(filled(inputs, _IDS[tower.tokens], "barcodes"), masked)
    barcodes = filled(inputs, "barcode", "barcodes")
    if tower.kind == "cnn":
        return BaseCodes(barcodes, masked)
    if tokenizer is None:
        raise SpecError("DNABERT-2 needs the tokeniser of its byte pairs")
    return BytePairs(barcodes, tokenizer, masked)


class TokenIds:
    """5-mer ids of barcodes."""

    def __init__(self, column: pa.ChunkedArray, masked: bool) -> None:
        self._rows, self._masked = Rows(column), masked

    def take(self, rows: Indices, view: View) -> Tensor:
        """Ids, int64 (rows, 133)."""
        ids = self._rows.take(rows)
        if self._masked and view.epoch is not None:
            for place, row in enumerate(rows.tolist()):
                ids[place] = view_of_token_ids(ids[place], view.random(row))
        return torch.from_numpy(ids.astype(np.int64))

    def groups(self) -> Groups:
        """Barcodes of the same ids."""
        return groups_of(self._rows.take(np.arange(len(self._rows))))


class BaseCodes:
    """The bases of barcodes."""

    def __init__(self, column: pa.ChunkedArray, masked: bool) -> None:
        self._column, self._masked = column, masked

    def take(self, rows: Indices, view: View) -> Tensor:
        """Codes of `base_codes`, int64 (rows, 660)."""
        codes = base_codes([self._column[row].as_py() for row in rows.tolist()])
        if self._masked and view.epoch is not None:
            for place, row in enumerate(rows.tolist()):
                codes[place] = view_of_base_codes(codes[place], view.random(row))
        return torch.from_numpy(codes.astype(np.int64))

    def groups(self) -> Groups:
        """Barcodes of the same codes."""
        return groups_of(base_codes(self._column.to_pylist()))


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
