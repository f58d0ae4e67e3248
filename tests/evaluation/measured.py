"""Measurements of embeddings, and the floors of a data set, where nothing is written."""

from collections.abc import Mapping
from typing import NamedTuple

from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.embed import all_splits, parts_of
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.evaluate import Questions, find_answers, measure_predictions
from workloads.evaluation.floors import floor_answers, stored_floors
from workloads.evaluation.trained_on import Beside
from workloads.intervals import with_intervals
from workloads.predictions import MISSING_RANK, MissingRank, Predictions
from workloads.record import Measurement
from workloads.spec import RANKS


def floors_of(dataset: PreparedDataset, missing: MissingRank = "left_out") -> list[Measurement]:
    """The floors of a data set on all its keys, for validation and test, with their intervals.

    Data sets without barcodes have no floors, nor have those without keys or queries.
    """
    table = stored_floors(dataset)
    if not len(table):
        return []
    named = dataset.load(list(all_splits(parts_of(dataset))), ["specimen_id", *RANKS])
    answers = floor_answers(table, named.select(["specimen_id", "split", *RANKS]))
    return with_intervals([row for one in answers for row in accuracies_of(one, missing)], answers, missing)


class Evaluation(NamedTuple):
    measurements: list[Measurement]
    predictions: Predictions


def evaluate_embedded(keys: Embedded, queries: Mapping[str, Embedded], questions: Questions) -> Evaluation:
    predictions = find_answers(keys, queries, questions)
    missing = MISSING_RANK[questions.recipe]
    return Evaluation(measure_predictions(predictions, keys, queries, missing, Beside()), predictions)
