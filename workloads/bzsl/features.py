"""What zero-shot learning starts from: image features, species, side information of each species, and two partitions.

A species without a training image is not a seen one. A species with a single training image is seen, but says nothing
of how images of a species scatter: its scatter is zero, and it has no part in the mean of the species' covariances.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from workloads.arrays import Floats, Indices, Names
from workloads.errors import ZeroShotError
from workloads.spec import RANKS


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
class Features:
    """Everything that zero-shot learning needs, checked."""

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
    lineages: Mapping[str, Names] = field(default_factory=dict)
    """Name of each species at each rank, None where it is not known, (classes,) each; may be empty."""

    def __post_init__(self) -> None:
        _check_arrays(self)
        for name, partition in (("tuning", self.tuning), ("test", self.test)):
            _check_partition(self, name, partition)

    def names(self, rank: str) -> Names:
        """Name of each species at a rank; at that of species its own."""
        if rank == "species" or rank not in self.lineages:
            known = self.classes if rank == "species" else (None,) * len(self.classes)
            return np.array(known, dtype=object)
        return self.lineages[rank]


def _check_arrays(found: Features) -> None:
    num_specimens, num_classes = len(found.labels), len(found.classes)
    if found.images.ndim != 2 or len(found.images) != num_specimens:
        raise ZeroShotError(f"{num_specimens:,} labels, but image features of shape {found.images.shape}", _TOGETHER)
    if len(found.ids) != num_specimens:
        raise ZeroShotError(f"{num_specimens:,} labels, but {len(found.ids):,} specimens", _TOGETHER)
    if found.side.ndim != 2 or len(found.side) != num_classes or not found.side.shape[1]:
        reason = f"{num_classes:,} species, but side information of shape {found.side.shape}"
        raise ZeroShotError(reason, "Give one row of DNA features a species.")
    if len(set(found.classes)) != num_classes:
        raise ZeroShotError("a species stands among the classes twice", "Merge its rows.")
    if num_specimens and not (found.labels.min() >= 0 and found.labels.max() < num_classes):
        wrong = found.labels[(found.labels < 0) | (found.labels >= num_classes)][0]
        raise ZeroShotError(f"label {wrong} is none of {num_classes:,} species", _TOGETHER)
    for what, rows in (("image features", found.images), ("side information", found.side)):
        if not (finite := np.isfinite(rows).all(axis=1)).all():
            reason = f"{(~finite).sum():,} row(s) of the {what} are not finite, the first of them row {finite.argmin()}"
            raise ZeroShotError(reason, "Leave these out, or embed them again.")
    if odd := [rank for rank, names in found.lineages.items() if rank not in RANKS or len(names) != num_classes]:
        raise ZeroShotError(f"the names of rank '{odd[0]}' are not one a species", _TOGETHER)


def _check_partition(found: Features, name: str, partition: Partition) -> None:
    parts = {"train": partition.train, "seen": partition.seen, "unseen": partition.unseen}
    for part, indices in parts.items():
        if not len(indices):
            remedy = "Add specimens, or draw another partition."
            raise ZeroShotError(f"{name}: there is no specimen in '{part}'", remedy)
        if indices.min() < 0 or indices.max() >= len(found.labels):
            raise ZeroShotError(f"{name}: '{part}' names specimens that are not there", _TOGETHER)
    everyone = np.concatenate(list(parts.values()))
    if len(np.unique(everyone)) < len(everyone):
        raise ZeroShotError(f"{name}: a specimen is in it twice", "Keep training and queries apart.")
    if not np.isin(partition.unseen_classes, np.arange(len(found.classes))).all():
        raise ZeroShotError(f"{name}: an unseen species is none of {len(found.classes):,}", _TOGETHER)
    trained = np.unique(found.labels[partition.train])
    if len(known := np.intersect1d(trained, partition.unseen_classes)):
        reason = f"{name}: {found.classes[known[0]]} is to be unseen, but is among the training specimens"
        raise ZeroShotError(reason, "Take its specimens out of training, or count it as seen.")
    if len(absent := np.setdiff1d(found.labels[partition.unseen], partition.unseen_classes)):
        reason = f"{name}: {found.classes[absent[0]]} is asked for as unseen, but cannot be chosen"
        raise ZeroShotError(reason, "Name it among the unseen species.")


_TOGETHER = "Features, labels and partition have to come from the same specimens."
