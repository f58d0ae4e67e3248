"""How well a trained classifier tells the species apart that it was trained on (CLIBD, section B.2).

The supervised rows of Tables 3, 15 and 16 begin with these predictions. Queries of unseen species are predicted too, as
the probabilities of their best classes decide how they are routed; only those of seen species can be right.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Indices, Labels, Names
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset, labels_of
from workloads.errors import MissingPathError, SpecError
from workloads.evaluation.accuracy import accuracies_of, coded_answers, label_codes
from workloads.evaluation.answering import lineages_of
from workloads.evaluation.embed import embed
from workloads.intervals import with_intervals
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.predictions import MISSING_RANK, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS

NUM_PREDICTED = 5


def evaluate_classifier(
    experiment: LoadedModel, dataset: PreparedDataset, placement: Placement
) -> tuple[list[Measurement], pa.Table]:
    """Measure a classifier on the query splits that the data set has; called on every worker of a group alike.

    Args:
        experiment: with the trained classifier, on `placement.device`, and its classes.
        dataset: with query splits, and the training splits that the ranks above the species are learned from.
        placement: this worker's.

    Returns:
        Accuracies over queries of seen species: `classifier_top1` at every rank, `classifier_top5` at the species. And
        a table with a row for every query: `specimen_id`, `partition`, `subset` (seen or unseen), and the five most
        probable species, `predicted`, with their softmax `probability`.

    Raises:
        MissingPathError: the data set has no queries of seen species.
    """
    measurements: list[Measurement] = []
    tables = []
    lineages, missing = class_lineages(dataset, experiment.classes), MISSING_RANK[experiment.spec.recipe]
    for part, splits in dataset.facts.splits.queries.items():
        for subset, split in splits.items():
            try:
                queries = experiment.specimens(dataset, [split])
            except MissingPathError:
                continue  # a small data set may lack some
            best, probability = _predict(experiment, queries, placement)
            tables.append(_table(queries, part, subset, np.array(experiment.classes, dtype=object)[best], probability))
            if subset == "seen":
                where = Place(part, queries.modalities[0], "classes")
                measurements += class_accuracies(queries.labels, lineages, best, where, missing)
    if not measurements:
        raise MissingPathError(str(dataset.folder), "queries of seen species", "Prepare more specimens of each.")
    return measurements, pa.concat_tables(tables)


def class_lineages(dataset: PreparedDataset, classes: Sequence[str]) -> Labels:
    """The names of each class at every rank, as most of its training specimens have it; None where all lack it."""
    return lineages_of(labels_of(dataset.load(dataset.facts.splits.training, RANKS)), classes)


def class_accuracies(
    query_labels: Labels, lineages: Labels, best: Indices, where: Place, missing: MissingRank = "left_out"
) -> list[Measurement]:
    """Accuracies of predicted classes, as if these were the nearest keys, with their 95 % intervals.

    Args:
        query_labels: by rank, (queries,), None where missing.
        lineages: by rank, (classes,), None where missing.
        best: the most probable classes of each query, the first the most, (queries, predicted).
        where: partition, query and key of the measurements.
        missing: what a query without a name at a rank does there.
    """
    codes, seen = label_codes(query_labels, lineages), np.full(len(best), "seen", dtype=object)

    def measured(nearest: Indices) -> list[Measurement]:
        answers = coded_answers(codes, nearest, seen, where)
        return with_intervals(accuracies_of(answers, missing, (1,)), [answers], missing, (1,))

    first = measured(best[:, 0])
    right = lineages["species"][best] == query_labels["species"][:, None]
    # The right one where it is among the best, and a wrong one where it is not.
    any_of_them = best[np.arange(len(best)), right.argmax(axis=1)]
    among = measured(any_of_them)
    found = [replace(row, metric="classifier_top1") for row in first]
    found += [replace(row, metric=f"classifier_top{NUM_PREDICTED}") for row in among if row.level == "species"]
    return [row for row in found if row.species == "seen"]


def _predict(experiment: LoadedModel, queries: Specimens, placement: Placement) -> tuple[Indices, Doubles]:
    """The most probable classes of each query and their probabilities, both (queries, predicted)."""
    logits = embed(experiment.model, queries, queries.modalities[0], placement, of="logits").astype(np.float64)
    if logits.shape[1] != len(experiment.classes):
        raise SpecError(f"the classifier has {logits.shape[1]} outputs for {len(experiment.classes)} species")
    best = np.argsort(-logits, axis=1, kind="stable")[:, :NUM_PREDICTED]  # ties to the lowest class
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return best, np.take_along_axis(shares, best, axis=1)


def _table(queries: Specimens, part: str, subset: str, predicted: Names, probability: Doubles) -> pa.Table:
    return pa.table(
        {
            "specimen_id": pa.array(queries.ids.tolist(), pa.string()),
            "partition": pa.array([part] * len(queries), pa.string()),
            "subset": pa.array([subset] * len(queries), pa.string()),
            "predicted": pa.array(predicted.tolist(), pa.list_(pa.string())),
            "probability": pa.array(probability.tolist(), pa.list_(pa.float64())),
        }
    )
