"""How right predicted species are: per species and averaged, at every rank, beside chance and nearest means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Doubles, Floats, Indices, Names
from workloads.averages import harmonic_mean
from workloads.bzsl.features import Features, Partition
from workloads.bzsl.model import Model
from workloads.evaluation.accuracy import accuracies_of, coded_answers, label_codes
from workloads.evaluation.baselines import random_key_accuracies
from workloads.intervals import with_intervals
from workloads.predictions import MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS


@dataclass(frozen=True, slots=True)
class Score:
    """Macro accuracies at the rank of species, in [0, 1]."""

    seen: float
    unseen: float

    @property
    def harmonic_mean(self) -> float:
        """Of seen and unseen; 0 when either is."""
        return harmonic_mean(self.seen, self.unseen)


def macro_accuracy(truth: Indices, predicted: Indices) -> float:
    """Mean over the species present in `truth` of the share of each that is right."""
    _, which = np.unique(truth, return_inverse=True)
    right: Doubles = np.bincount(which, weights=truth == predicted) / np.bincount(which)
    return float(right.mean())


def scores(features: Features, partition: Partition, predicted: Indices) -> list[Score]:
    """Score of each row of predictions for the seen queries followed by the unseen ones, (settings, queries)."""
    seen, unseen = features.labels[partition.seen], features.labels[partition.unseen]
    count = len(seen)
    return [Score(macro_accuracy(seen, row[:count]), macro_accuracy(unseen, row[count:])) for row in predicted]


def query_images(features: Features, partition: Partition) -> Floats:
    """Image features of the seen queries followed by the unseen ones."""
    images: Floats = features.images[np.concatenate([partition.seen, partition.unseen])]
    return images


def measurements(
    features: Features,
    partition: Partition,
    candidates: Indices,
    predicted: Indices,
    missing: MissingRank,
    method: str = "bzsl",
) -> list[Measurement]:
    """Top-1 accuracies of the test at every rank where names are known, and of a species chosen at random.

    Ours have 95 % intervals; what is chosen at random is exact.

    Args:
        features: with the names of all species.
        partition: that was asked.
        candidates: species that could be chosen.
        predicted: species of each query, seen ones first, (queries,).
        missing: what a query without a name does at a rank where others have one.
        method: of the measurements.
    """
    truth = features.labels[np.concatenate([partition.seen, partition.unseen])]
    subset: Names = np.array(["seen"] * len(partition.seen) + ["unseen"] * len(partition.unseen), dtype=object)
    names: dict[str, Names] = {rank: features.names(rank) for rank in RANKS}
    asked: dict[str, Names] = {rank: column[truth] for rank, column in names.items()}
    where = Place("test", "image", "classes", method)
    answers = coded_answers(label_codes(asked, names), predicted, subset, where)
    found = with_intervals(accuracies_of(answers, missing, (1,)), [answers], missing, (1,))
    if method == "bzsl":
        found += random_key_accuracies(
            asked, {rank: column[candidates] for rank, column in names.items()}, subset, where, missing
        )
    known = {rank for rank, column in names.items() if any(name is not None for name in column)}
    return [row for row in found if row.level in known]


def nearest_mean(features: Features, partition: Partition, model: Model, num_surrogates: int) -> Indices:
    """Baseline without covariances: the species with the nearest mean among the principal components.

    The mean of an unseen species is that of its surrogates' means.

    Returns:
        Species of each query, seen ones first, (queries,).
    """
    train = features.images[partition.train].astype(np.float64) @ model.species.axes
    _, which, sizes = np.unique(features.labels[partition.train], return_inverse=True, return_counts=True)
    means = np.zeros((len(sizes), train.shape[1]))
    np.add.at(means, which, train)
    means /= sizes[:, None]
    means = np.concatenate([means[model.surrogates(num_surrogates)].mean(axis=1), means])
    queries = query_images(features, partition).astype(np.float64) @ model.species.axes
    # |q - c|^2 without |q|^2, which is the same for all species.
    distances = np.square(means).sum(axis=1) - 2 * queries @ means.T
    chosen: Indices = model.candidates[distances.argmin(axis=1)]
    return chosen


def best_of(found: Sequence[Score]) -> int:
    """The first score with the highest harmonic mean."""
    return int(np.argmax([score.harmonic_mean for score in found]))
