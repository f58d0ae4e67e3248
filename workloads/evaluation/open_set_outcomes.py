"""What became of every query in open-set recognition, and all numbers that follow from it.

    open_set.parquet            the columns of `predictions.parquet`, where `key` and `keys` together name the method;
                                and `called_seen` and `confidence`
    open_set_specimens.parquet  names of queries, keys and the classifier's species, like `specimens.parquet`

`Predictions` reads the two tables, so that intervals and comparisons are made of them as of any retrieval.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.answering import NOTHING, Answering, Offer
from workloads.evaluation.detection import detection_measurements
from workloads.evaluation.embedded import Embedded
from workloads.predictions import Answers, KeyChoice, MissingRank, Place, Predictions, prediction_table, rows_of
from workloads.record import Measurement

QUERY = "image"


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to answer a query, and how its rows are told apart in files."""

    method: str
    seen: str
    """What answers for the seen species: `image` or `dna` keys, or the `class` that a classifier names. The unseen
    ones always have DNA keys."""
    key: str
    """Of its measurements."""
    keys: KeyChoice = "all"
    """`own` where it is known whether a query's species is seen."""

    @property
    def has_threshold(self) -> bool:
        """Whether it decides by a threshold what is seen."""
        return self.keys == "all" and self.seen != "dna"


STRATEGIES = {
    strategy.method: strategy
    for strategy in (
        Strategy("nn_dna", "dna", "dna"),
        Strategy("nn_is_du", "image", "image+dna"),
        Strategy("linear_is_du", "class", "class+dna"),
        Strategy("nn_dna_oracle", "dna", "dna", "own"),
        Strategy("nn_is_du_oracle", "image", "image+dna", "own"),
        Strategy("linear_is_du_oracle", "class", "class+dna", "own"),
    )
}
_METHODS = {(strategy.key, strategy.keys): strategy.method for strategy in STRATEGIES.values()}


def outcome_table(
    strategy: Strategy, part: str, queries: Embedded, known: Answering, found: Offer, confidence: Doubles | None
) -> pa.Table:
    """The rows of one strategy and partition.

    Args:
        strategy: which.
        part: partition of the queries.
        queries: who asked.
        known: what the answers' numbers mean.
        found: the answers. Places are empty only behind the last answer; the first one never is.
        confidence: that the species is a seen one, (queries,); None where it was told.

    Returns:
        The columns of `predictions.parquet`, with probabilities among the `cosines` where a class is the answer;
        `called_seen`, whether the first answer is of a seen species; and `confidence`, null where it was told.
    """
    place = Place(part, QUERY, strategy.key, strategy.method, strategy.keys)
    key_ids = np.where(found.answers != NOTHING, known.ids[found.answers], np.array(None, dtype=object))
    table = prediction_table(place, queries.ids, queries.subset, key_ids, found.scores.astype(np.float32))
    unknown = pa.nulls(len(queries), pa.float64())
    table = table.append_column("called_seen", pa.array(known.is_seen[found.answers[:, 0]]))
    return table.append_column("confidence", unknown if confidence is None else pa.array(confidence))


def open_set_answers(outcomes: pa.Table, specimens: pa.Table) -> list[Answers]:
    """Each method on each partition as a retrieval, from the two tables; places have the name of the method."""
    predictions = Predictions(outcomes, specimens, "open_set.parquet")
    return [
        replace(predictions.answers(place), place=replace(place, method=_METHODS[place.key, place.keys]))
        for place in predictions.places
    ]


def open_set_measurements(outcomes: pa.Table, specimens: pa.Table, missing: MissingRank) -> list[Measurement]:
    """Every number of open-set recognition, from its two tables alone.

    Args:
        outcomes: of all strategies and partitions.
        specimens: the names behind their ids.
        missing: what a query without a name at a rank counts there.

    Returns:
        For each method top-1, top-3 and top-5 accuracies as of any retrieval; and, where the method itself decided
        what is seen, how well it did (`workloads.evaluation.detection`).
    """
    rows: list[Measurement] = []
    for answers in open_set_answers(outcomes, specimens):
        rows += accuracies_of(answers, missing)
        if answers.place.keys == "all":
            rows += _detection(outcomes, answers.place)
    return rows


def _detection(outcomes: pa.Table, place: Place) -> list[Measurement]:
    mine = rows_of(outcomes, place)
    is_seen = np.array(mine["subset"].to_pylist(), dtype=object) == "seen"
    return detection_measurements(place, mine["called_seen"].to_numpy(), mine["confidence"].to_numpy(), is_seen)
