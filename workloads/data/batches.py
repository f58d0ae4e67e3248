"""Specimens in memory, and the batches of tensors that towers take.

Which specimens form a batch is a pure function of (seed, epoch, global batch size), and what is random about a
specimen of (seed, epoch, specimen): the number of workers changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from workloads.data.images import evaluation_view, training_view
from workloads.data.prepared import PreparedDataset, labels_of
from workloads.data.taxon_text import TextTokenizer
from workloads.errors import SpecError, TooFewSpecimensError
from workloads.spec import ExperimentSpec, Modality

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """How specimens are shown to the towers: as they are, or augmented for one epoch."""

    seed: int = 0
    epoch: int | None = None
    """None: as they are."""


class Specimens:
    """The specimens of some splits, ready to be asked for any batch."""

    def __init__(
        self,
        dataset: PreparedDataset,
        splits: Sequence[str],
        spec: ExperimentSpec,
        tokenizer: TextTokenizer | None,
        modalities: Sequence[Modality] | None = None,
    ) -> None:
        """Load specimens, in all modalities of the spec or only in some."""
        self.modalities = tuple(modalities or spec.modalities)
        table = dataset.load(splits)
        self.ids = np.array(table["specimen_id"].to_pylist(), dtype=object)
        self.split = np.array(table["split"].to_pylist(), dtype=object)
        self.labels = labels_of(table)
        self._spec = spec
        self._table = table
        self._features: npt.NDArray[np.float32] | None = None
        if "image" in self.modalities and spec.image.kind == "features":
            self._features = _matrix(table["image_features"])
        if "dna" in self.modalities:
            self._dna_ids: npt.NDArray[np.int16] = _matrix(table["dna_ids"])
        if "text" in self.modalities:
            if tokenizer is None:
                raise SpecError("aligning text needs a tokeniser")
            texts, self._text_of = np.unique(np.array(table["text"].to_pylist(), dtype=object), return_inverse=True)
            self._text_ids = tokenizer.ids(texts.tolist())

    def __len__(self) -> int:
        return len(self.ids)

    def groups(self, modality: str) -> tuple[Indices, Indices]:
        """First row of each distinct input of a modality, and for each row which of these it equals.

        Identical barcodes and labels are thereby embedded once, and to identical numbers.
        """
        if modality == "dna":
            _, first, inverse = np.unique(self._dna_ids, axis=0, return_index=True, return_inverse=True)
            return first, inverse.ravel()
        if modality == "text":
            _, first = np.unique(self._text_of, return_index=True)
            return first, self._text_of
        return np.arange(len(self)), np.arange(len(self))

    def inputs(self, modality: str, rows: Indices, view: View) -> Tensor:
        """The input of one tower for some rows."""
        if modality == "dna":
            return torch.from_numpy(self._dna_ids[rows].astype(np.int64))
        if modality == "text":
            return torch.from_numpy(self._text_ids[self._text_of[rows]])
        if self._features is not None:
            return torch.from_numpy(self._features[rows])
        size = self._spec.image.image_size
        pictures = [self._picture(int(row), size, view) for row in rows]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    def _picture(self, row: int, size: int, view: View) -> npt.NDArray[np.uint8]:
        content: bytes = self._table["image"][row].as_py()
        if view.epoch is None:
            return evaluation_view(content, size)
        return training_view(content, size, np.random.default_rng([view.seed, view.epoch, row]))


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column of equally long lists as a matrix of the column's own type."""
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.reshape(len(column), -1)


def global_batches(num_specimens: int, batch_size: int, seed: int, epoch: int) -> Iterator[Indices]:
    """The global batches of an epoch: a fresh permutation each, the last incomplete batch dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(num_specimens)
    for start in range(0, num_specimens - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def check_batch(spec: ExperimentSpec, num_specimens: int, num_workers: int) -> None:
    """Refuse what cannot be trained.

    Raises:
        TooFewSpecimensError: no whole batch.
        SpecError: the batch does not divide among the workers.
    """
    if num_specimens < spec.batch_size:
        raise TooFewSpecimensError(spec.dataset, num_specimens, spec.batch_size)
    if spec.batch_size % num_workers:
        raise SpecError(f"a batch of {spec.batch_size} does not divide among {num_workers} workers")


class EpochBatches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """One worker's share of an epoch's batches; item i is its part of global batch i."""

    def __init__(self, specimens: Specimens, spec: ExperimentSpec, epoch: int, rank: int, num_workers: int) -> None:
        self._specimens, self._spec = specimens, spec
        self._view = View(spec.seed, epoch)
        share = spec.batch_size // num_workers
        batches = global_batches(len(specimens), spec.batch_size, spec.seed, epoch)
        self._rows = [rows[rank * share : (rank + 1) * share] for rows in batches]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = self._rows[step]
        return {name: self._specimens.inputs(name, rows, self._view) for name in self._specimens.modalities}
