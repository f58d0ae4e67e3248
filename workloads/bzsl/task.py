"""What zero-shot learning starts from: image features, species, side information of each species, and two partitions.

Data sets with splits of their own for validation (BIOSCAN) keep them. Where whole species are kept for validation
(INSECT, and data that are partitioned here), these are the unseen ones of tuning, and a fifth of each other species'
training specimens are its seen queries; the test then trains on the species of both.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from workloads.arrays import Floats, Indices, Labels, Names
from workloads.bzsl.feature_source import FeatureSource
from workloads.data.specimens.partition import FIFTH
from workloads.errors import ZeroShotError
from workloads.spec import RANKS, Recipe


@dataclass(frozen=True, slots=True)
class Partition:
    """What is fitted and what is asked, once for tuning and once for the test."""

    train: Indices
    """Specimens to fit on."""
    seen: Indices
    """Queries of seen species."""
    unseen: Indices
    """Queries of unseen species."""
    unseen_classes: Indices
    """Unseen species among which the model chooses, beside all seen ones; those of the queries and perhaps more."""


@dataclass(frozen=True, slots=True)
class ZeroShotTask:
    """Everything that zero-shot learning needs; what cannot be learned from is refused."""

    ids: Names
    """(specimens,)."""
    images: Floats
    """(specimens, size)."""
    labels: Indices
    """Number of each specimen's species, (specimens,)."""
    classes: tuple[str, ...]
    """Species, in the order that decides ties."""
    side: Floats
    """Side information of each species: its DNA, (classes, side size)."""
    tuning: Partition
    test: Partition
    names: Labels = field(default_factory=dict)
    """Name of each species at each rank, None where it is not known, (classes,) each."""

    def __post_init__(self) -> None:
        if not self.side.shape[1]:
            reason = f"{len(self.classes):,} species, but side information of shape {self.side.shape}"
            raise ZeroShotError(reason, "Give one row of DNA features a species.")
        for what, rows in (("image features", self.images), ("side information", self.side)):
            if not (finite := np.isfinite(rows).all(axis=1)).all():
                which = f"{(~finite).sum():,} row(s) of the {what}"
                reason = f"{which} are not finite, the first of them row {finite.argmin()}"
                raise ZeroShotError(reason, "Leave these out, or embed them again.")
        for name, partition in (("tuning", self.tuning), ("test", self.test)):
            for part in ("train", "seen", "unseen"):
                if not len(getattr(partition, part)):
                    remedy = "Add specimens, or draw another partition."
                    raise ZeroShotError(f"{name}: there is no specimen in '{part}'", remedy)
            if len(known := np.intersect1d(self.labels[partition.train], partition.unseen_classes)):
                reason = f"{name}: {self.classes[known[0]]} is to be unseen, but is among the training specimens"
                raise ZeroShotError(reason, "Take its specimens out of training, or count it as seen.")


def zero_shot_task(
    images: FeatureSource, dna: FeatureSource, recipe: Recipe, seed: int
) -> tuple[ZeroShotTask, list[str]]:
    """Features with both partitions.

    Args:
        images: gives specimens with image features.
        dna: gives the DNA of their species.
        recipe: `authors` fits the final model on INSECT's train without val, others on both; `corrected` chooses among
            all unseen species of BIOSCAN, as retrieval does, others among those of the partition that is asked.
        seed: of the draw of INSECT's seen validation queries.

    Returns:
        The task, and remarks.

    Raises:
        ZeroShotError: a part is missing, a species has no DNA, or the features cannot be learned from.
    """
    side, num_without_keys = species_dna(dna, recipe)
    images = images.take(~images.within("no_split", "single_species", "other_heldout"))
    if images.images is None:
        raise ZeroShotError("the specimens have no image features", "Name a source that has them.")
    present, first = np.unique(images.species.astype(str), return_index=True)
    row = dict(zip(present.tolist(), first.tolist(), strict=True))
    classes = tuple(name for name in images.class_dna or () if name in row)  # in this order; those that it lacks last
    classes += tuple(name for name in row if name not in set(classes))
    if absent := [name for name in classes if name not in side]:
        more = f" and {len(absent) - 1:,} more species" if len(absent) > 1 else ""
        raise ZeroShotError(f"no DNA of {absent[0]}{more}", "Give a source that has DNA of them with --dna.")
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[name] for name in images.species], dtype=np.int64)
    draw = _own_validation if images.within("val_unseen").any() else _validation_species
    tuning, test, notes = draw(images, labels, recipe, seed)
    if len(strangers := np.setdiff1d(labels[test.seen], labels[test.train])):
        queries = int(np.isin(labels[test.seen], strangers).sum())
        who = f"{len(strangers):,} seen species ({queries:,} test queries)"
        notes.append(f"{who} have no training image; they are missed")
    if singles := int((np.bincount(labels[test.train]) == 1).sum()):
        notes.append(f"{singles:,} species have one training image; their scatter is zero and not part of the mean")
    if num_without_keys and recipe != "authors":
        notes.append(f"{num_without_keys:,} species have no key records; their DNA is the mean of all their records")
    of_first = [row[name] for name in classes]
    names: dict[str, Names] = {rank: images.labels[rank][of_first] for rank in RANKS}
    of_classes = np.array([side[name] for name in classes])
    return ZeroShotTask(images.ids, images.images, labels, classes, of_classes, tuning, test, names), notes


def species_dna(source: FeatureSource, recipe: Recipe) -> tuple[Mapping[str, Floats], int]:
    """DNA features of each species: as the source gives them, or the mean of its specimens'.

    Of its key records, of which a user has the barcodes. Where a species has none, as the unseen ones of INSECT, of all
    its records. The authors take training and query records, the queries' own barcodes among them, and no keys.

    Returns:
        Features by species, and how many species have none of the preferred records.

    Raises:
        ZeroShotError: the source has no DNA features.
    """
    if source.class_dna is not None:
        return source.class_dna, 0
    if source.dna is None:
        raise ZeroShotError("the specimens have no DNA features", "Give a source that has with --dna.")
    preferred = np.array([str(name).endswith("keys") for name in source.split], dtype=bool)
    if recipe == "authors":
        preferred = ~preferred
    elif not source.within("seen_keys").any():  # then those to train on are the keys of seen species (INSECT)
        preferred |= source.within("train_seen", "val_classes")
    species, which = np.unique(source.species.astype(str), return_inverse=True)
    has_preferred = np.bincount(which[preferred], minlength=len(species)) > 0
    used = preferred | ~has_preferred[which]
    sums = np.zeros((len(species), source.dna.shape[1]))
    np.add.at(sums, which[used], source.dna[used].astype(np.float64))
    means = (sums / np.bincount(which[used], minlength=len(species))[:, None]).astype(np.float32)
    return dict(zip(species.tolist(), means, strict=True)), int((~has_preferred).sum())


def _own_validation(
    source: FeatureSource, labels: Indices, recipe: Recipe, seed: int
) -> tuple[Partition, Partition, list[str]]:
    training, notes = "train_seen", []
    if not source.within(training).any():
        training = "seen_keys"
        notes.append(
            "there are no embeddings of train_seen, which `clibd evaluate RUN --data DIR --training` makes; "
            "the images of seen_keys are what is trained on"
        )
    train = np.flatnonzero(source.within(training))
    everyone = source.within("val_unseen", "test_unseen", "val_unseen_keys", "test_unseen_keys", "unseen_keys")
    partitions = []
    for part in ("val", "test"):
        seen, unseen = (np.flatnonzero(source.within(f"{part}_{subset}")) for subset in ("seen", "unseen"))
        chosen = np.unique(labels[everyone if recipe == "corrected" else unseen])
        partitions.append(Partition(train, seen, unseen, chosen))
    return partitions[0], partitions[1], notes


def _validation_species(
    source: FeatureSource, labels: Indices, recipe: Recipe, seed: int
) -> tuple[Partition, Partition, list[str]]:
    splits = ("train_seen", "val_classes", "test_seen", "test_unseen")
    train, val, seen, unseen = (np.flatnonzero(source.within(split)) for split in splits)
    in_both = np.isin(labels[val], labels[train])
    remark = "specimens kept for validation are of species in train; tuning leaves them out"
    notes = [f"{in_both.sum():,} {remark}"] if in_both.any() else []
    held = _held_out(train, labels, recipe, seed)
    strangers = val[~in_both]
    tuning = Partition(np.setdiff1d(train, held), held, strangers, np.unique(labels[strangers]))
    final = train if recipe == "authors" else np.sort(np.concatenate([train, val]))
    return tuning, Partition(final, seen, unseen, np.unique(labels[unseen])), notes


def _held_out(train: Indices, labels: Indices, recipe: Recipe, seed: int) -> Indices:
    """A fifth of each species, rounded up; the corrected recipe leaves each at least one specimen to train on.

    The published draw shuffles the list of training specimens and takes the first ones of each species.
    """
    shuffled = train.tolist()
    random.Random(seed).shuffle(shuffled)
    left: dict[int, int] = {}
    for specimen in shuffled:
        left[labels[specimen]] = left.get(labels[specimen], 0) + 1
    for species, count in left.items():
        left[species] = min(math.ceil(FIFTH * count), count - (recipe == "corrected"))
    held = []
    for specimen in shuffled:
        if left[labels[specimen]] > 0:
            left[labels[specimen]] -= 1
            held.append(specimen)
    return np.array(sorted(held), dtype=np.int64)
