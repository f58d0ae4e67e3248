"""Specimens, and the batches of tensors that towers take.

Which specimens form a batch is a pure function of (seed, epoch, global batch size), and what is random about a
specimen of (seed, epoch, specimen, view): the number of workers changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from workloads.arrays import Indices, Mask, Names
from workloads.data.inputs.tower_inputs import (
    AS_THEY_ARE,
    Groups,
    InputColumn,
    View,
    dna_input,
    image_input,
    text_input,
)
from workloads.data.prepared.dataset import SPECIES, DatasetFacts, PreparedDataset, labels_of
from workloads.data.prepared.taxon_text import LabelTokenizer
from workloads.errors import SpecError, TooFewSpecimensError, UsageError
from workloads.spec import RANKS, ExperimentSpec, Modality

__all__ = [
    "THERE",
    "Asked",
    "EpochBatches",
    "Specimens",
    "View",
    "check_batch",
    "global_batches",
    "num_trained",
    "training_classes",
]

_OTHER = "/other"
THERE = "/there"
Batch = dict[str, Tensor]
"""Inputs by modality, of a second view as `MODALITY/other`; for a classifier `label` too, (specimens, ...) each. In
`MODALITY/there`, bool (specimens,), it says who has a modality that some specimens that train lack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A batch, or a piece of one, before it is made: everything that decides its content."""

    rows: Indices
    modalities: tuple[Modality, ...]
    view: View = AS_THEY_ARE
    two_views: bool = False
    labels: Indices | None = None
    """Class of each row, for a classifier."""
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
        _check_offered(self.modalities, spec, dataset.facts)
        self._columns = dataset.open(splits)
        self._inputs: dict[str, InputColumn] = {}
        if "image" in self.modalities:
            self._inputs["image"] = image_input(self._columns, spec)
        if "dna" in self.modalities:
            strange = frame if frame != dataset.facts.frame else None  # in its own frame the ids are stored
            self._inputs["dna"] = dna_input(self._columns, spec, dna_tokenizer, strange)
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
        """Each specimen's place in `training_classes`, -1 where its species is none of them, (specimens,)."""
        classes = pa.array(training_classes(self._dataset), pa.string())
        places = pc.index_in(self._about["species"], value_set=classes, skip_nulls=True)
        return np.asarray(places.fill_null(-1).to_numpy(), dtype=np.int64)

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
        trains = _train(self._spec, have)
        return np.flatnonzero(trains & (self.class_of >= 0) if self._spec.objective == "classify" else trains)

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


def _check_offered(modalities: Sequence[Modality], spec: ExperimentSpec, facts: DatasetFacts) -> None:
    """Refuse a data set of which no specimen has what a tower takes.

    Raises:
        SpecError: as it says.
    """
    image, dna = facts.image_feature_size is not None, facts.dna_feature_size is not None
    needs: dict[Modality, tuple[bool, str]] = {
        "image": (image, "image features")
        if spec.image.kind == "features"
        else ("image" in facts.modalities and not image, "images"),
        "dna": (dna, "DNA features") if spec.dna.kind == "features" else (facts.barcodes, "barcodes"),
        "text": (True, ""),
    }
    for offered, what in (needs[name] for name in modalities):
        if not offered:
            raise SpecError(f"{facts.name} has no {what}, which the tower takes")


def global_batches(num_specimens: int, batch_size: int, seed: int, epoch: int) -> Iterator[Indices]:
    """The global batches of an epoch: a fresh permutation each, the last incomplete batch dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(num_specimens)
    for start in range(0, num_specimens - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def training_classes(dataset: PreparedDataset) -> tuple[str, ...]:
    """The species that a classifier tells apart: those of the training splits, in alphabetical order.

    Raises:
        SpecError: no training specimen has one.
    """
    species = dataset.load(dataset.facts.splits.training, ["species"])["species"]
    classes = tuple(sorted(pc.unique(species).drop_null().to_pylist()))
    if not classes:
        raise SpecError(f"{dataset.facts.name}: no training specimen has a species, so there is nothing to classify")
    return classes


def num_trained(spec: ExperimentSpec, facts: DatasetFacts) -> int:
    """Specimens that train: those of the training splits with two modalities that are aligned, or the one of the spec.

    For a classifier only those with a species.
    """
    if facts.having:
        whose = [item for split in facts.splits.training for item in facts.having.get(split, {}).items()]
        of_spec = [set(what.split("+")) for what, _ in whose]
        have: dict[str, Mask] = {
            str(name): np.array([name in own for own in of_spec], dtype=bool) for name in spec.modalities
        }
        trains = _train(spec, have)
        if spec.objective == "classify":
            trains = trains & np.array([SPECIES in own for own in of_spec], dtype=bool)
        return sum(count for (_, count), counts in zip(whose, trains, strict=True) if counts)
    if spec.objective == "classify":
        return sum(facts.num_labelled.get(split, {}).get("species", 0) for split in facts.splits.training)
    return facts.num_training


def _train(spec: ExperimentSpec, have: Mapping[str, Mask]) -> Mask:
    """Which specimens train, by the modalities that they have, (specimens,)."""
    if spec.objective != "align":
        return have[spec.modalities[0]]
    enough: Mask = np.sum([have[name] for name in spec.modalities], axis=0) >= 2
    return enough & have[spec.bind_to] if spec.bind_to else enough


def check_batch(spec: ExperimentSpec, num_specimens: int, num_workers: int) -> None:
    """Refuse what cannot be trained.

    Args:
        spec: the experiment.
        num_specimens: those that train, from `num_trained` or `Specimens.trained`.
        num_workers: among whom each batch is shared.

    Raises:
        TooFewSpecimensError: no whole batch.
        UsageError: more workers than specimens in a batch.
    """
    if num_specimens < spec.batch_size:
        raise TooFewSpecimensError(spec.dataset, num_specimens, spec.batch_size)
    if spec.batch_size < num_workers:
        raise UsageError(
            f"a batch of {spec.batch_size} cannot be shared among {num_workers} workers, a specimen each at least. "
            f"Start {spec.batch_size} or fewer (--workers {spec.batch_size}), or take a larger batch."
        )


class EpochBatches(torch.utils.data.Dataset[Batch]):
    """One worker's share of an epoch's batches, from any step on; item i is that part of global batch first_step + i.

    To train one tower on its own a batch holds a second view of every specimen; for a classifier it holds `label`, the
    place of each species in `training_classes`.
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
        self._label = specimens.class_of if spec.objective == "classify" else None
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
