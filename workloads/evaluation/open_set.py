"""Open-set recognition: images of species with images among the keys, and of species with barcodes only (CLIBD, 5.4).

    IS+DU     an image that looks like a seen species is answered from these, by its nearest image key (`nn_is_du`) or
              by a classifier (`linear_is_du`); any other by the nearest DNA key of the unseen species
    nn_dna    the nearest of all DNA keys, whatever the species; Table 15 calls it an oracle of seen and unseen, as it
              has samples of the unseen species to look at
    calibrated  nn_dna with a constant off the similarity of keys of seen species (`workloads.calibration`)
    oracles   the same where somebody tells whether the species is a seen one: no query is answered from the wrong
              kind, which bounds what a better threshold could gain. The paper does not have these rows

The threshold is chosen on validation and applied once to test. As in the authors' code it decides for each of the five
places apart: whether the k-th best answer is that of the seen or that of the unseen species depends on the former's
own score.

    open_set.parquet            what became of every query: the columns of `predictions.parquet`, where `key` and `keys`
                                together name the method; and `called_seen` and `confidence`
    open_set_specimens.parquet  names of queries, keys and the classifier's species, like `specimens.parquet`

`Predictions` reads the two tables, so that intervals and comparisons are made of them as of any retrieval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Doubles, Indices, Names
from workloads.calibration import CHOOSES, area_of, best_constant, nearest_first, taken_off
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.evaluation.accuracy import accuracies_of, lineages_of
from workloads.evaluation.detection import detection_measurements
from workloads.evaluation.embedded import (
    Embedded,
    has_feature,
    key_features,
    query_features,
    specimens_of,
    with_feature,
)
from workloads.evaluation.retrieval import nearest_keys, nearest_of
from workloads.intervals import with_intervals
from workloads.predictions import (
    MISSING,
    MISSING_RANK,
    NUM_NEIGHBOURS,
    KeyChoice,
    MissingRank,
    Place,
    Predictions,
    prediction_table,
    rows_of,
)
from workloads.record import Measurement
from workloads.spec import RANKS, Modality, Recipe
from workloads.threshold import Choices, Threshold, best_threshold

_NOTHING = -1
"""Number of an answer that there is not, as there are fewer keys."""
_CLASS = "class"

NUM_POINTS: Mapping[Recipe, Mapping[str, int]] = {
    "corrected": {},
    "paper": {"nn_is_du": 1000, "linear_is_du": 1000},
    "authors": {"nn_is_du": 1000, "linear_is_du": 1001},
}
"""How many thresholds from 0 to 1 are tried: those of section B.2, those of the authors' scripts, or, where there is no
number, all that differ."""


@dataclass(frozen=True, slots=True)
class _Strategy:
    """One way to answer a query, and how its rows are told apart in files."""

    method: str
    seen: str
    """What answers for the seen species: `image` or `dna` keys, or the `class` that a classifier names. The unseen
    ones always have DNA keys."""
    key: str
    """The key that its measurements name."""
    keys: KeyChoice = "all"
    """`own` where it is known whether a query's species is seen; `calibrated` with a constant off seen species."""


_STRATEGIES = (
    _Strategy("nn_dna", "dna", "dna"),
    _Strategy("nn_dna_calibrated", "dna", "dna", "calibrated"),
    _Strategy("nn_is_du", "image", "image+dna"),
    _Strategy("linear_is_du", "class", "class+dna"),
    _Strategy("nn_dna_oracle", "dna", "dna", "own"),
    _Strategy("nn_is_du_oracle", "image", "image+dna", "own"),
    _Strategy("linear_is_du_oracle", "class", "class+dna", "own"),
)
_METHODS = {(strategy.key, strategy.keys): strategy.method for strategy in _STRATEGIES}


class _Offer(NamedTuple):
    """The best answers to each query that one source has, the best first; keys and classes are in one numbering."""

    answers: Indices
    """Numbers of keys and, behind these, of classes, `_NOTHING` beyond the last one, (queries, 5)."""
    scores: Doubles
    """Cosines or probabilities, NaN beyond the last one, (queries, 5)."""


@dataclass(frozen=True, slots=True)
class OpenSet:
    """What open-set recognition leaves."""

    thresholds: Mapping[str, Threshold]
    """By method, of those that need one; of a calibrated search the constant."""
    outcomes: pa.Table
    """A row for each query, partition and method."""
    specimens: pa.Table
    """Names of queries, keys and classes: with `outcomes` all that `Predictions` needs."""


def open_set(
    queries: Mapping[str, Embedded],
    keys: Embedded,
    recipe: Recipe = "corrected",
    classifier: pa.Table | None = None,
) -> OpenSet:
    """Answer every query in every way.

    Args:
        queries: by partition, `val` among them; with images.
        keys: with images and DNA.
        recipe: which thresholds are tried, and what a query without a name at a rank counts.
        classifier: of the same queries, the `classifier.parquet` of its evaluation; None: without the linear rows.

    Raises:
        UsageError: validation has no queries of seen or of unseen species, there are no keys of either, or images or
            DNA are not among the embeddings.
        MissingPathError: the classifier has not seen some queries.
        DamagedError: the classifier's table is not what was written.
    """
    queries = {part: with_feature(asking, "image") for part, asking in queries.items() if has_feature(asking, "image")}
    if CHOOSES not in queries:
        raise UsageError("there are no validation queries with images to choose a threshold with")
    offers = {
        part: {
            "image": _search(asking, keys, "image", "seen"),
            "dna": _search(asking, keys, "dna", "seen"),
            "unseen": _search(asking, keys, "dna", "unseen"),
        }
        for part, asking in queries.items()
    }
    classes: list[str] = []
    if classifier is not None:
        classes = sorted(pc.unique(classifier["predicted"].combine_chunks().flatten()).to_pylist())
        for part, asking in queries.items():
            offers[part]["class"] = _classified(classifier, part, asking.ids, classes, len(keys))
    known = _with_classes(keys, classes)
    strategies = [one for one in _STRATEGIES if one.seen in offers[CHOOSES]]
    thresholds = {
        one.method: _threshold(one, queries[CHOOSES], offers[CHOOSES], known, recipe)
        for one in strategies
        if one.keys == "calibrated" or (one.keys == "all" and one.seen != "dna")
    }
    outcomes = pa.concat_tables(
        _outcomes(one, part, asking, offers[part], known, thresholds.get(one.method))
        for one in strategies
        for part, asking in queries.items()
    )
    # In the order of an evaluation's own table, so that `nn_dna` has the intervals that image to DNA has there.
    named = [keys, *queries.values(), *([known.take(np.arange(len(keys), len(known)))] if classes else [])]
    return OpenSet(thresholds, outcomes, specimens_of(named))


def _with_classes(keys: Embedded, classes: Sequence[str]) -> Embedded:
    """Keys and the species that a classifier tells apart, in one numbering and without embeddings.

    A class is called `class NAME`, its split is `class`, and its species is a seen one. It has the names that most keys
    of the species have; without a key it has no name above its own.
    """
    lineages = lineages_of(keys.labels, classes)
    return Embedded(
        np.array([*keys.ids, *(f"{_CLASS} {name}" for name in classes)], dtype=object),
        np.array([*keys.split, *[_CLASS] * len(classes)], dtype=object),
        {rank: np.array([*keys.labels[rank], *lineages[rank]], dtype=object) for rank in RANKS},
        {},
    )


def _search(queries: Embedded, keys: Embedded, modality: Modality, kind: Literal["seen", "unseen"]) -> _Offer:
    """The nearest keys of each image.

    Args:
        queries: which ask by image.
        keys: all of them.
        modality: of the keys.
        kind: of the species whose keys are searched.

    Raises:
        UsageError: the keys' modality is not among the embeddings, or there is not one such key.
    """
    if not has_feature(keys, modality):
        raise UsageError(
            "open-set recognition needs images of queries, and images and barcodes of keys; embedded are "
            f"{', '.join(queries.rows) or 'none'} of queries and {', '.join(keys.rows) or 'none'} of keys"
        )
    offered, specimen = key_features(keys, modality)
    members = np.flatnonzero(keys.subset[specimen] == kind)
    if not len(members):
        raise UsageError(f"there are no keys of {kind} species, so a query that is called {kind} has no answer")
    indices, cosines = nearest_keys(query_features(queries, "image"), offered[members])
    short = ((0, 0), (0, NUM_NEIGHBOURS - indices.shape[1]))
    return _Offer(
        np.pad(specimen[members[indices]], short, constant_values=_NOTHING),
        np.pad(cosines.astype(np.float64), short, constant_values=np.nan),
    )


def _classified(table: pa.Table, part: str, ids: Names, classes: Sequence[str], first: int) -> _Offer:
    """The most probable species of each query.

    Args:
        table: of a classifier's evaluation (`workloads.evaluation.measure`).
        part: partition of the queries.
        ids: of the queries, (queries,).
        classes: species, in the order in which `answering` has them.
        first: number of the first of them.

    Raises:
        MissingPathError: a query was not classified.
        DamagedError: a species is none of the classes.
    """
    rows = table.filter(pc.equal(table["partition"], part)).combine_chunks()
    at = pc.index_in(pa.array(ids, pa.string()), value_set=rows["specimen_id"].combine_chunks())
    if at.null_count:
        absent = ids[np.asarray(pc.is_null(at))]
        raise MissingPathError(
            "classifier.parquet",
            f"predictions for {len(absent):,} of {len(ids):,} {part} queries ({absent[0]} is the first)",
            "Evaluate the classifier on the same data set: `clibd evaluate CLASSIFIER --data DIR`.",
        )
    rows = rows.take(at).combine_chunks()
    predicted, probability = rows["predicted"].combine_chunks(), rows["probability"].combine_chunks()
    num = pc.list_value_length(predicted).to_numpy(zero_copy_only=False)
    numbers = pc.index_in(predicted.flatten(), value_set=pa.array(classes, pa.string()))
    paired = pc.list_value_length(probability).equals(pc.list_value_length(predicted))
    if numbers.null_count or not num.all() or not paired:
        raise DamagedError("classifier.parquet", "its species and probabilities do not belong together")
    there = np.arange(NUM_NEIGHBOURS)[None, :] < num[:, None]
    answers, scores = np.full(there.shape, _NOTHING, dtype=np.int64), np.full(there.shape, np.nan)
    answers[there] = first + numbers.to_numpy()
    scores[there] = probability.flatten().to_numpy()
    return _Offer(answers, scores)


def _threshold(
    strategy: _Strategy, queries: Embedded, offers: Mapping[str, _Offer], known: Embedded, recipe: Recipe
) -> Threshold:
    """The best one of a strategy, over the species that come first, of queries that count; or the best constant."""
    truth, num_points = queries.labels["species"], NUM_POINTS[recipe].get(strategy.method)
    counted = np.array([MISSING_RANK[recipe] == "a_class" or name is not None for name in truth])
    seen, unseen = offers[strategy.seen], offers["unseen"]
    first = (known.labels["species"][offer.answers[counted, 0]] for offer in (seen, unseen))
    right_if_seen, right_if_unseen = (np.asarray(names == truth[counted], dtype=bool) for names in first)
    is_seen = (queries.subset == "seen")[counted]
    if strategy.keys == "calibrated":
        nearer = seen.scores[counted, 0] - unseen.scores[counted, 0]
        species = pa.array(truth[counted], pa.string()).dictionary_encode().indices.fill_null(MISSING)
        return best_constant(Choices(nearer, right_if_seen, right_if_unseen, is_seen), np.asarray(species))
    grid = None if num_points is None else np.linspace(0, 1, num_points)
    return best_threshold(Choices(seen.scores[counted, 0], right_if_seen, right_if_unseen, is_seen), grid)


def _outcomes(
    strategy: _Strategy,
    part: str,
    queries: Embedded,
    offers: Mapping[str, _Offer],
    known: Embedded,
    threshold: Threshold | None,
) -> pa.Table:
    """The rows of one strategy and partition.

    Returns:
        The columns of `predictions.parquet`, with probabilities among the `cosines` where a class is the answer;
        `called_seen`, whether the first answer is of a seen species; and `confidence` that the species is a seen one,
        null where it was told. Places are empty only behind the last answer; the first one never is.
    """
    seen, unseen = offers[strategy.seen], offers["unseen"]
    if strategy.keys == "calibrated" or (strategy.keys == "all" and threshold is None):
        answers, scores = _among_all(seen, unseen, threshold)
        # How much nearer the nearest key of a seen species is: above 0, or the constant, it is the answer.
        confidence = pa.array(seen.scores[:, 0] - unseen.scores[:, 0])
    else:  # each place from one of two offers; where that is too short it stays empty
        told = np.asarray(queries.subset == "seen")[:, None]
        from_seen = told if threshold is None else seen.scores > threshold.value
        answers, scores = (np.where(from_seen, *both) for both in zip(seen, unseen, strict=True))
        confidence = pa.nulls(len(queries), pa.float64()) if threshold is None else pa.array(seen.scores[:, 0])
    place = Place(part, "image", strategy.key, strategy.method, strategy.keys)
    key_ids = np.where(answers != _NOTHING, known.ids[answers], np.array(None, dtype=object))
    table = prediction_table(place, queries.ids, queries.subset, key_ids, scores.astype(np.float32))
    table = table.append_column("called_seen", pa.array(known.subset[answers[:, 0]] == "seen"))
    return table.append_column("confidence", confidence)


def _among_all(seen: _Offer, unseen: _Offer, constant: Threshold | None) -> _Offer:
    """The best of both, as if all keys had been searched together; with a constant off those of seen species."""
    answers = np.concatenate([seen.answers, unseen.answers], axis=1)
    if constant is None:
        scores: Doubles = np.concatenate([seen.scores, unseen.scores], axis=1)
        return _Offer(*nearest_of(answers, scores))
    first = nearest_first(seen.scores, unseen.scores, constant.value)
    less = np.concatenate([taken_off(seen.scores, constant.value), unseen.scores], axis=1)
    return _Offer(np.take_along_axis(answers, first, axis=1), np.take_along_axis(less, first, axis=1))


def open_set_measurements(outcomes: pa.Table, specimens: pa.Table, missing: MissingRank) -> list[Measurement]:
    """Every number of open-set recognition with its 95 % interval, from its two tables alone.

    Args:
        outcomes: of all strategies and partitions.
        specimens: the names behind their ids.
        missing: what a query without a name at a rank counts there.

    Returns:
        For each method top-1, top-3 and top-5 accuracies as of any retrieval; and, where the method itself decided
        what is seen, how well it did (`workloads.evaluation.detection`).
    """
    predictions, rows, retrievals = Predictions(outcomes, specimens, "open_set.parquet"), list[Measurement](), []
    right = {
        place.partition: predictions.answers(place).hits("species")
        for place in predictions.places
        if place.key == "dna" and place.keys == "own"
    }
    for place in predictions.places:
        answers = predictions.answers(place)
        answers = replace(answers, place=replace(place, method=_METHODS[place.key, place.keys]))
        retrievals.append(answers)
        rows += accuracies_of(answers, missing)
        if place.keys != "own":
            mine = rows_of(outcomes, place)
            called_seen, confidence = mine["called_seen"].to_numpy(), mine["confidence"].to_numpy()
            rows += detection_measurements(answers.place, called_seen, confidence, answers.subset == "seen")
            if place.keys == "calibrated":
                rows += area_of(answers, confidence, right[place.partition], missing)
    return with_intervals(rows, retrievals, missing)
