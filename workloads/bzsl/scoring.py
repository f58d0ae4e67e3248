"""How right predicted species are: per species and averaged, at every rank, beside chance and nearest means."""

from dataclasses import dataclass

import numpy as np

from workloads.arrays import Doubles, Indices, Names
from workloads.averages import harmonic_mean
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.task import Partition, ZeroShotTask
from workloads.evaluation.accuracy import accuracies_of, coded_answers, label_codes
from workloads.evaluation.floors import baseline_measurements, baseline_scores
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
        """Harmonic mean of seen and unseen; 0 when either is."""
        return harmonic_mean(self.seen, self.unseen)


def macro_accuracy(truth: Indices, predicted: Indices) -> float:
    """Mean over the species present in `truth` of the share of each that is right."""
    _, which = np.unique(truth, return_inverse=True)
    right: Doubles = np.bincount(which, weights=truth == predicted) / np.bincount(which)
    return float(right.mean())


def scores(task: ZeroShotTask, partition: Partition, predicted: Indices) -> list[Score]:
    """Score of each row of predictions for the seen queries followed by the unseen ones, (settings, queries)."""
    seen, unseen = task.labels[partition.seen], task.labels[partition.unseen]
    count = len(seen)
    return [Score(macro_accuracy(seen, row[:count]), macro_accuracy(unseen, row[count:])) for row in predicted]


def zero_shot_accuracies(
    task: ZeroShotTask, candidates: Indices, predicted: Indices, missing: MissingRank, method: str = "bzsl"
) -> list[Measurement]:
    """Top-1 accuracies of the test at every rank where names are known, and of a species chosen at random.

    Ours have 95 % intervals; what is chosen at random is exact.

    Args:
        task: with the names of all species.
        candidates: species that could be chosen.
        predicted: species of each test query, seen ones first, (queries,).
        missing: what a query without a name does at a rank where others have one.
        method: of the measurements.
    """
    truth = task.labels[np.concatenate([task.test.seen, task.test.unseen])]
    subset: Names = np.repeat(np.array(["seen", "unseen"], dtype=object), [len(task.test.seen), len(task.test.unseen)])
    asked: dict[str, Names] = {rank: names[truth] for rank, names in task.names.items()}
    where = Place("test", "image", "classes", method)
    answers = coded_answers(label_codes(asked, task.names), predicted, subset, where)
    rows = with_intervals(accuracies_of(answers, missing, (1,)), [answers], missing, (1,))
    if method == "bzsl":
        keys = {rank: names[candidates] for rank, names in task.names.items()}
        chance = baseline_measurements(answers, baseline_scores(asked, keys, missing), missing)
        rows += [row for row in chance if (row.method, row.metric) == ("random_key", "top1")]
    known = [rank for rank in RANKS if any(name is not None for name in task.names[rank])]
    return [row for row in rows if row.level in known]


def nearest_mean(model: SurrogateModel, num_surrogates: int) -> Indices:
    """Baseline without covariances: the species with the nearest mean among the principal components.

    The mean of an unseen species is that of its surrogates' means.

    Returns:
        Species of each query, seen ones first, (queries,).
    """
    species = model.species
    means = species.directions[:-1] @ species.factor.T + species.centre
    means = np.concatenate([means[model.surrogates(num_surrogates)].mean(axis=1), means])
    queries = model.queries.astype(np.float64) @ species.axes
    # |q - c|^2 without |q|^2, which is the same for all species.
    distances = np.square(means).sum(axis=1) - 2 * queries @ means.T
    chosen: Indices = model.candidates[distances.argmin(axis=1)]
    return chosen
