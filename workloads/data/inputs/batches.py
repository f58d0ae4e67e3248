"""Specimens, and the batches of tensors that towers take.

Which specimens form a batch is a pure function of (seed, epoch, global batch size), and what is random about a
specimen of (seed, epoch, specimen, view): the number of workers changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.arrays import Indices, Mask, Names
from workloads.data.inputs.barcode_inputs import dna_input
from workloads.data.inputs.positive_codes import positive_codes
from workloads.data.inputs.tower_inputs import AS_THEY_ARE, Groups, InputColumn, View, image_input, text_input
from workloads.data.inputs.who_trains import check_offered, class_rank, training_classes, trains
from workloads.data.prepared.dataset import PreparedDataset, labels_of
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.data.specimens.barcode import FIRST_KMER_ID, KMER
from workloads.errors import SpecError
from workloads.spec import RANKS, ExperimentSpec, Modality

__all__ = [
    "AS_THEY_ARE",
    "THERE",
    "Asked",
    "EpochBatches",
    "Specimens",
    "View",
    "global_batches",
]

_LOOKED_AT = 4096
"""Barcodes in which a 5-mer is looked for at a time; most often the first of them has one."""
_OTHER = "/other"
THERE = "/there"
Batch = dict[str, Tensor]
"""Inputs by modality, of a second view as `MODALITY/other`, (specimens, ...) each; for a classifier `label` too, int64
(specimens,), and where specimens have further positives, int64 (specimens, ranks) of `positive_codes`. In
`MODALITY/there`, bool (specimens,), it says who has a modality that some specimens that train lack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A batch, or a piece of one, before it is made: everything that decides its content."""

    rows: Indices
    modalities: tuple[Modality, ...]
    view: View = AS_THEY_ARE
    two_views: bool = False
    labels: Indices | None = None
    """Class of each row, for a classifier or a masked model that tells genera; or the names that decide positives."""
    lacked: tuple[Modality, ...] = ()
    """Modalities of which it is said who has them."""

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, at_most: int) -> list["Asked"]:
        """The same in pieces of at most so many rows, as equal as can be."""
        stops = np.cumsum([len(part) for part in np.array_split(self.rows, -(-len(self) // at_most))])
        parts = [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]
        labels = self.labels
        return [replace(self, rows=self.rows[p], labels=None if labels is None else labels[p]) for p in parts]


class Specimens:
    """The specimens of some splits, ready to be asked for any batch; their inputs stay on the disk until then.

    They pickle as what they were opened with, the data set by its address, and are opened again where they arrive.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        splits: Sequence[str],
        spec: ExperimentSpec,
        tokenizer: LabelTokenizer | None,
        modalities: Sequence[Modality] | None = None,
        dna_tokenizer: LabelTokenizer | None = None,
        frame: str | None = None,
    ) -> None:
        """Open specimens, in all modalities of the spec or only in some.

        Args:
            dataset: prepared.
            splits: which of its specimens.
            spec: what the towers take, and how.
            tokenizer: of the text tower.
            modalities: which inputs will be asked for; None for all of the spec.
            dna_tokenizer: of DNABERT-2's byte pairs; the other DNA towers need none.
            frame: what barcodes are laid into; None: the data set's own.

        Raises:
            MissingPathError: the data set has none in these splits.
            SpecError: it does not have what the towers take, or a tokeniser is missing.
        """
        self._opened_with = dataset, tuple(splits), spec, tokenizer, modalities, dna_tokenizer, frame
        self.modalities = tuple(modalities or spec.modalities)
        self._dataset, self._splits, self._spec = dataset, tuple(splits), spec
        check_offered(self.modalities, spec, dataset.facts)
        self._columns = dataset.open(splits)
        self._inputs: dict[str, InputColumn] = {}
        if "image" in self.modalities:
            self._inputs["image"] = image_input(self._columns, spec, self._called)
        if "dna" in self.modalities:
            laid = frame or dataset.facts.frame
            # In the data set's own frame the ids of whole barcodes are stored.
            laid_into = laid if spec.dna.views.vary or laid != dataset.facts.frame else None
            self._inputs["dna"] = dna_input(self._columns, spec, dna_tokenizer, laid_into)
        if "text" in self.modalities:
            ranks = dataset.load(splits, RANKS) if spec.text.missing_rank == "not_classified" else None
            self._inputs["text"] = text_input(self._columns, ranks, tokenizer, spec.text)

    def __reduce__(self) -> tuple[object, ...]:
        return Specimens, self._opened_with

    def __len__(self) -> int:
        return len(self._columns)

    @cached_property
    def _about(self) -> pa.Table:
        return self._dataset.load(self._splits, ["specimen_id", *RANKS])

    def _called(self, row: int) -> tuple[str, str]:
        split, left = self.split[row], row - int(np.flatnonzero(self.split == self.split[row])[0])
        inside = self._dataset.folder / f"split={split}"
        for name in (name for name in inside.files() if name.endswith(".parquet")):
            with inside.open_parquet(name) as shard:
                if left < shard.metadata.num_rows:
                    return str(self.ids[row]), f"{inside}/{name}"
                left -= shard.metadata.num_rows
        return str(self.ids[row]), str(inside)

    @cached_property
    def ids(self) -> Names:
        """Specimen ids, (specimens,)."""
        return np.array(self._about["specimen_id"].to_pylist(), dtype=object)

    @cached_property
    def split(self) -> Names:
        """Split of each specimen, (specimens,)."""
        return np.array(self._about["split"].to_pylist(), dtype=object)

    @cached_property
    def labels(self) -> dict[str, Names]:
        """Names at every rank, None where missing."""
        return labels_of(self._about)

    @cached_property
    def class_of(self) -> Indices:
        """Each specimen's place in `training_classes`, -1 where its name is none of them, (specimens,)."""
        classes = pa.array(training_classes(self._spec, self._dataset), pa.string())
        names = self._about[class_rank(self._spec) or "species"]
        places = pc.index_in(names, value_set=classes, skip_nulls=True)
        return np.asarray(places.fill_null(-1).to_numpy(), dtype=np.int64)

    @cached_property
    def label(self) -> Indices | None:
        """What the loss knows of each specimen beside its embeddings, `label` of a batch; None where it is nothing."""
        if class_rank(self._spec):
            return self.class_of
        return positive_codes(self._spec, self._dataset, self._splits)

    def there(self, modality: str) -> Mask | None:
        """Which specimens have a modality, (specimens,); None where all have it."""
        return self._inputs[modality].there

    @cached_property
    def trained(self) -> Indices:
        """Rows that train: those with two of the modalities that are aligned, or with the one that is trained alone.

        For a classifier also those with a species alone.
        """
        everyone = np.ones(len(self), dtype=bool)
        have: dict[str, Mask] = {
            name: everyone if (own := self.there(name)) is None else own for name in self.modalities
        }
        who = trains(self._spec, have)
        return np.flatnonzero(who & (self.class_of >= 0) if self._spec.objective == "classify" else who)

    def check_kmers(self) -> None:
        """Refuse barcodes none of which has a 5-mer that could be hidden.

        Raises:
            SpecError: all that train are shorter than 5 bases, or have uncertain ones in every 5-mer.
        """
        for start in range(0, len(self.trained), _LOOKED_AT):
            if (self.inputs("dna", self.trained[start : start + _LOOKED_AT], AS_THEY_ARE) >= FIRST_KMER_ID).any():
                return
        raise SpecError(
            f"{self._dataset.facts.name}: no training barcode has {KMER} certain bases in a row where a 5-mer is read, "
            "so nothing can be hidden. Import longer barcodes, or such with fewer N."
        )

    @cached_property
    def lacked(self) -> tuple[Modality, ...]:
        """Modalities that some of those lack that train.

        Raises:
            SpecError: all of them lack one.
        """
        found: list[Modality] = []
        for name in self.modalities:
            if (there := self.there(name)) is None or there[self.trained].all():
                continue
            if not there[self.trained].any():
                raise SpecError(f"no specimen that trains has {name}; choose an experiment without it")
            found.append(name)
        return tuple(found)

    def groups(self, modality: str) -> Groups:
        """First row of each distinct input of a modality, and for each row which of these it equals, -1 without it.

        Identical barcodes and labels are thereby embedded once, and to identical numbers.
        """
        there = self.there(modality)
        if there is None:
            return self._inputs[modality].groups()
        if not there.any():
            return np.empty(0, dtype=np.int64), np.full(len(self), -1, dtype=np.int64)
        _, which = self._inputs[modality].groups()
        own, rows = np.full(len(which), -1, dtype=np.int64), np.flatnonzero(there)
        _, kept, own[rows] = np.unique(which[rows], return_index=True, return_inverse=True)
        return rows[kept], own

    def inputs(self, modality: str, rows: Indices, view: View) -> Tensor:
        """The input of one tower for some rows."""
        return self._inputs[modality].take(rows, view)

    def padding(self, name: str) -> int | None:
        """What an input of a batch is filled up with where batches are not equally wide; None where they are."""
        column = self._inputs.get(name.removesuffix(_OTHER))
        return column.padding if column else None

    def made(self, asked: Asked) -> Batch:
        """A batch."""
        batch: Batch = {}
        for name in asked.modalities:
            batch[name] = self.inputs(name, asked.rows, asked.view)
            if asked.two_views:
                batch[name + _OTHER] = self.inputs(name, asked.rows, replace(asked.view, number=1))
        for name in asked.lacked:
            there = self.there(name)
            assert there is not None, "it is said to be lacked"
            batch[name + THERE] = torch.from_numpy(there[asked.rows])
        if asked.labels is not None:
            batch["label"] = torch.from_numpy(asked.labels)
        return batch


def global_batches(num_specimens: int, batch_size: int, seed: int, epoch: int) -> Iterator[Indices]:
    """The global batches of an epoch: a fresh permutation each, the last incomplete batch dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(num_specimens)
    for start in range(0, num_specimens - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


class EpochBatches(torch.utils.data.Dataset[Batch]):
    """One worker's share of an epoch's batches, from any step on; item i is that part of global batch first_step + i.

    To train one tower on its own a batch holds a second view of every specimen; for a classifier it holds `label`, the
    place of each species in `training_classes`, for a masked model that tells genera that of the genus, and likewise
    the names that decide positives.
    """

    def __init__(
        self,
        specimens: Specimens,
        spec: ExperimentSpec,
        epoch: int,
        share: slice = slice(None),
        first_step: int = 0,
    ) -> None:
        self._specimens = specimens
        self._view = View(spec.seed, epoch)
        self._two_views = spec.objective == "simclr"
        self._label = specimens.label
        order = 0 if spec.epoch_order == "same" else epoch  # "same" is the authors' code; augmentation varies there too
        batches = global_batches(len(specimens.trained), spec.batch_size, spec.seed, order)
        self._rows = [specimens.trained[batch[share]] for batch in batches][first_step:]

    def __len__(self) -> int:
        return len(self._rows)

    def asked(self) -> Iterator[Asked]:
        """The batches before they are made, in order."""
        return map(self._asked, self._rows)

    def __getitem__(self, step: int) -> Batch:
        return self._specimens.made(self._asked(self._rows[step]))

    def _asked(self, rows: Indices) -> Asked:
        labels = None if self._label is None else self._label[rows]
        names = self._specimens.modalities
        view, lacked = self._view, self._specimens.lacked
        return Asked(rows=rows, modalities=names, view=view, two_views=self._two_views, labels=labels, lacked=lacked)
