"""What is trained on and what is asked, for tuning and for the test.

Data sets with splits of their own for validation (BIOSCAN) keep them. Where whole species are kept for validation
(INSECT, and data that are partitioned here), these are the unseen ones of tuning, and a fifth of each other species'
training specimens are its seen queries; the test then trains on the species of both.
"""

import math
import random
from collections.abc import Sequence

import numpy as np

from workloads.arrays import Indices
from workloads.bzsl.features import Features, Partition
from workloads.bzsl.pool import Pool, Side, lineages_of
from workloads.data.specimens.partition import FIFTH
from workloads.errors import ZeroShotError
from workloads.spec import Recipe


def features_of(
    pool: Pool, side: Side, recipe: Recipe, seed: int, order: Sequence[str] | None = None
) -> tuple[Features, list[str]]:
    """Features with both partitions.

    Args:
        pool: specimens with image features.
        side: DNA of their species.
        recipe: `authors` fits the final model on INSECT's train without val, others on both; `corrected` chooses among
            all unseen species of BIOSCAN, as retrieval does, others among those of the partition that is asked.
        seed: of the draw of INSECT's seen validation queries.
        order: of the classes; those that it lacks come last, by name.

    Returns:
        The features, and remarks.

    Raises:
        ZeroShotError: a part is missing, a species has no DNA, or the features do not fit together.
    """
    pool = pool.take(~pool.within("no_split", "single_species", "other_heldout"))
    images = pool.images
    if images is None:
        raise ZeroShotError("the specimens have no image features", "Name a source that has them.")
    present = set(pool.species)
    ordered = [name for name in order or () if name in present]
    classes = (*ordered, *sorted(present - set(ordered)))
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[name] for name in pool.species], dtype=np.int64)
    notes: list[str] = []
    draw = _own_validation if pool.within("val_unseen").any() else _validation_species
    tuning, test = draw(pool, labels, recipe, seed, notes)
    seen = np.unique(labels[test.train])
    if len(strangers := np.setdiff1d(labels[test.seen], seen)):
        queries = int(np.isin(labels[test.seen], strangers).sum())
        who = f"{len(strangers):,} seen species ({queries:,} test queries)"
        notes.append(f"{who} have no training image; they are missed")
    if singles := int((np.bincount(labels[test.train]) == 1).sum()):
        notes.append(f"{singles:,} species have one training image; their scatter is zero and not part of the mean")
    if side.num_without_keys and recipe != "authors":
        remark = "species have no key records; their DNA is the mean of all their records"
        notes.append(f"{side.num_without_keys:,} {remark}")
    lineages = lineages_of(pool, classes)
    return Features(pool.ids, images, labels, classes, side.of(classes), tuning, test, lineages), notes


def _own_validation(
    pool: Pool, labels: Indices, recipe: Recipe, seed: int, notes: list[str]
) -> tuple[Partition, Partition]:
    training = "train_seen"
    if not pool.within(training).any():
        training = "seen_keys"
        notes.append(
            "there are no embeddings of train_seen, which `clibd evaluate RUN --data DIR --training` makes; "
            "the images of seen_keys are what is trained on"
        )
    train = np.flatnonzero(pool.within(training))
    unseen_splits = ("val_unseen", "test_unseen", "val_unseen_keys", "test_unseen_keys", "unseen_keys")
    everyone = np.unique(labels[pool.within(*unseen_splits)])

    def asked(part: str) -> Partition:
        unseen = np.flatnonzero(pool.within(f"{part}_unseen"))
        chosen = everyone if recipe == "corrected" else np.unique(labels[unseen])
        return Partition(train, np.flatnonzero(pool.within(f"{part}_seen")), unseen, chosen)

    return asked("val"), asked("test")


def _validation_species(
    pool: Pool, labels: Indices, recipe: Recipe, seed: int, notes: list[str]
) -> tuple[Partition, Partition]:
    train, val = np.flatnonzero(pool.within("train_seen")), np.flatnonzero(pool.within("val_classes"))
    seen, unseen = np.flatnonzero(pool.within("test_seen")), np.flatnonzero(pool.within("test_unseen"))
    in_both = np.isin(labels[val], labels[train])
    if in_both.any():
        notes.append(f"{in_both.sum():,} specimens kept for validation are of species in train; tuning leaves them out")
    held = _held_out(train, labels, recipe, seed)
    strangers = val[~in_both]
    tuning = Partition(np.setdiff1d(train, held), held, strangers, np.unique(labels[strangers]))
    final = train if recipe == "authors" else np.sort(np.concatenate([train, val]))
    return tuning, Partition(final, seen, unseen, np.unique(labels[unseen]))


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
