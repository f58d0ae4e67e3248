"""Specimens, and the batches of tensors that towers take.

Which specimens form a batch is a pure function of (seed, epoch, global batch size), and what is random about a
specimen of (seed, epoch, specimen): the number of workers changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.data.augment import evaluation_view, training_view
from workloads.data.prepared import PreparedDataset, labels_of
from workloads.data.taxon_text import TextTokenizer
from workloads.errors import SpecError, TooFewSpecimensError
from workloads.spec import RANKS, ExperimentSpec, Modality

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class View:
    """How specimens are shown to the towers: as they are, or augmented for one epoch."""

    seed: int = 0
    epoch: int | None = None
    """None: as they are."""


class Specimens:
    """The specimens of some splits, ready to be asked for any batch; their inputs stay on the disk until then."""

    def __init__(
        self,
        dataset: PreparedDataset,
        splits: Sequence[str],
        spec: ExperimentSpec,
        tokenizer: TextTokenizer | None,
        modalities: Sequence[Modality] | None = None,
    ) -> None:
        """Open specimens, in all modalities of the spec or only in some.

        Raises:
            MissingPathError: the data set has none in these splits.
            SpecError: text is asked for and there is no tokeniser.
        """
        self.modalities = tuple(modalities or spec.modalities)
        self._dataset, self._splits, self._spec = dataset, tuple(splits), spec
        self._inputs = dataset.open(splits)
        if "image" in self.modalities and spec.image.kind == "features":
            self._features = Rows(self._inputs["image_features"])
        if "dna" in self.modalities:
            self._dna_ids = Rows(self._inputs["dna_ids"])
        if "text" in self.modalities:
            if tokenizer is None:
                raise SpecError("aligning text needs a tokeniser")
            texts = pc.unique(self._inputs["text"]).sort()
            self._text_of = pc.index_in(self._inputs["text"], value_set=texts).to_numpy().astype(np.int64)
            self._text_ids = tokenizer.ids(texts.to_pylist())

    def __len__(self) -> int:
        return len(self._inputs)

    @cached_property
    def _about(self) -> pa.Table:
        return self._dataset.load(self._splits, ["specimen_id", *RANKS])

    @cached_property
    def ids(self) -> npt.NDArray[np.object_]:
        """Specimen ids, (specimens,)."""
        return np.array(self._about["specimen_id"].to_pylist(), dtype=object)

    @cached_property
    def split(self) -> npt.NDArray[np.object_]:
        """Split of each specimen, (specimens,)."""
        return np.array(self._about["split"].to_pylist(), dtype=object)

    @cached_property
    def labels(self) -> dict[str, npt.NDArray[np.object_]]:
        """Names at every rank, None where missing."""
        return labels_of(self._about)

    def groups(self, modality: str) -> tuple[Indices, Indices]:
        """First row of each distinct input of a modality, and for each row which of these it equals.

        Identical barcodes and labels are thereby embedded once, and to identical numbers.
        """
        everything = np.arange(len(self))
        if modality == "dna":
            ids = self._dna_ids.take(everything)
            _, first, inverse = np.unique(ids, axis=0, return_index=True, return_inverse=True)
            return first, inverse.ravel()
        if modality == "text":
            _, first = np.unique(self._text_of, return_index=True)
            return first, self._text_of
        return everything, everything

    def inputs(self, modality: str, rows: Indices, view: View) -> Tensor:
        """The input of one tower for some rows."""
        if modality == "dna":
            return torch.from_numpy(self._dna_ids.take(rows).astype(np.int64))
        if modality == "text":
            return torch.from_numpy(self._text_ids[self._text_of[rows]])
        if self._spec.image.kind == "features":
            return torch.from_numpy(self._features.take(rows))
        size = self._spec.image.image_size
        pictures = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        for place, row in enumerate(rows):
            pictures[place] = self._picture(int(row), size, view)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _picture(self, row: int, size: int, view: View) -> npt.NDArray[np.uint8]:
        content: bytes = self._inputs["image"][row].as_py()
        if view.epoch is None:
            return evaluation_view(content, size)
        return training_view(content, size, np.random.default_rng([view.seed, view.epoch, row]))


class Rows:
    """A column of lists of one length, of which any rows can be had without reading the others."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._parts = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in chunks]
        self._stops = np.cumsum([len(part) for part in self._parts])

    def take(self, rows: Indices) -> npt.NDArray[Any]:
        """Some rows as a matrix of the column's own type, (rows, length)."""
        which = np.searchsorted(self._stops, rows, side="right")
        offsets = rows - np.concatenate([[0], self._stops])[which]
        taken = np.empty((len(rows), self._parts[0].shape[1]), dtype=self._parts[0].dtype)
        for part in np.unique(which):
            mine = which == part
            taken[mine] = self._parts[part][offsets[mine]]
        return taken


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
    """One worker's share of an epoch's batches, from any step on; item i is its part of global batch first_step + i."""

    def __init__(
        self, specimens: Specimens, spec: ExperimentSpec, epoch: int, rank: int, num_workers: int, first_step: int = 0
    ) -> None:
        self._specimens, self._spec = specimens, spec
        self._view = View(spec.seed, epoch)
        share = spec.batch_size // num_workers
        batches = global_batches(len(specimens), spec.batch_size, spec.seed, epoch)
        self._rows = [rows[rank * share : (rank + 1) * share] for rows in batches][first_step:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = self._rows[step]
        return {name: self._specimens.inputs(name, rows, self._view) for name in self._specimens.modalities}
