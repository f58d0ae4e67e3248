"""From embeddings to predictions and measurements: search, compare labels, and say what was asked.

Every query is searched among all keys, those of seen and of unseen species together (paper, section 4.2), unless other
keys are asked for. Embeddings may come from a run or from any other model (`workloads.evaluation.openclip_row`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Floats, Indices, Names
from workloads.command_line import Tell
from workloads.errors import ModalitiesError, UsageError
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.embedded import (
    PAIRS,
    SPECIES_TEXT_PAIRS,
    Embedded,
    has_feature,
    key_features,
    key_specimens,
    query_features,
    query_specimens,
    specimens_of,
    with_feature,
)
from workloads.evaluation.floors import BASELINES, baseline_measurements, baseline_scores, baselines_of
from workloads.evaluation.fusion import Fusing, fused_features
from workloads.evaluation.hubness import corrected_rows
from workloads.evaluation.retrieval import largest_products, nearest_keys
from workloads.evaluation.trained_on import Beside
from workloads.intervals import with_intervals, with_intervals_of
from workloads.predictions import (
    CORRECTED,
    FUSED,
    FUSED_PAIRS,
    NUM_NEIGHBOURS,
    Answers,
    KeyChoice,
    MissingRank,
    Place,
    Predictions,
    prediction_table,
)
from workloads.record import Measurement
from workloads.spec import RANKS, Rank, Recipe

ALL_PAIRS: tuple[tuple[str, str], ...] = (*PAIRS, *SPECIES_TEXT_PAIRS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What an evaluation asks."""

    recipe: Recipe = "corrected"
    """Decides what a missing label does (`workloads.predictions.MISSING_RANK`)."""
    pairs: Sequence[tuple[str, str]] = ALL_PAIRS
    """Query and key features; those that the embeddings do not have are left out."""
    keys: tuple[KeyChoice, ...] = ("all",)
    """Which keys each query is searched among, one evaluation for each."""
    fusing: Fusing | None = None
    """How `image+dna` is made, which is then among the features; None: it is not."""


def find_answers(
    keys: Embedded, queries: Mapping[str, Embedded], questions: Questions, tell: Tell = lambda done, total: None
) -> Predictions:
    """Search everything that is asked.

    Args:
        keys: everything that answers.
        queries: by partition.
        questions: what is asked of them.
        tell: told of the searches.

    Raises:
        EmbeddingsError: queries and keys share no space, or one id stands for two specimens.
        ModalitiesError: not one of the pairs can be asked.
        UsageError: there are no queries, or no keys of the kind that is asked for.

    A calibrated search is made of those among keys of either kind (`workloads.calibration`), which are made here.
    """
    if not queries:
        raise UsageError("there are no queries in these embeddings; prepare more specimens of each species")
    if "calibrated" in questions.keys and (absent := {"seen", "unseen"} - {*keys.subset}):
        kind = sorted(absent)[0]
        raise UsageError(f"there are no keys of {kind} species, so `--keys calibrated` has nothing to choose between")
    places = [
        Place(part, query, key, keys=choice)
        for part, asking in queries.items()
        for choice in _searched(questions.keys)
        for query, key in (*questions.pairs, *(FUSED_PAIRS if questions.fusing else ()))
        if has_feature(asking, query) and has_feature(keys, key) and _answered(asking, keys, key, choice)
    ]
    tables = []
    for place in places:
        asking = with_feature(queries[place.partition], place.query)
        nearest = _search(place, asking, keys, questions.fusing)
        tables.append(prediction_table(place, asking.ids, asking.subset, *nearest))
        tell(len(tables), len(places))
    if not tables:
        modalities = set(keys.rows).union(*(asking.rows for asking in queries.values()))
        raise ModalitiesError("the embeddings", sorted(modalities))
    return Predictions(pa.concat_tables(tables), specimens_of([keys, *queries.values()]))


def measure_predictions(
    predictions: Predictions,
    keys: Embedded,
    queries: Mapping[str, Embedded],
    missing: MissingRank,
    beside: Beside,
) -> list[Measurement]:
    """Every number that follows from predictions, with its 95 % interval, and the baselines and floors of each.

    Where queries were trained on, once more without them, in rows whose `queries` say so.
    """
    answers = [predictions.answers(place) for place in predictions.places]
    answers += beside.floor_answers(answers, predictions.specimens)
    rows = _measured(answers, keys, queries, missing)
    trained = list(beside.trained)
    fresh = {part: ~np.isin(asking.ids, trained) for part, asking in queries.items()}
    fresh = {part: mask for part, mask in fresh.items() if mask.any() and not mask.all()}
    kept = [one.take(~np.isin(one.ids, trained)) for one in answers if one.place.partition in fresh]
    kept = [one for one in kept if len(one)]
    untrained = {part: queries[part].take(mask) for part, mask in fresh.items()}
    return [*rows, *(replace(row, queries="untrained") for row in _measured(kept, keys, untrained, missing))]


def _measured(
    answers: Sequence[Answers], keys: Embedded, queries: Mapping[str, Embedded], missing: MissingRank
) -> list[Measurement]:
    rows = [row for one in answers for row in accuracies_of(one, missing)]
    own = [one for one in answers if one.place.method == "clibd"]
    return [*with_intervals(rows, answers, missing), *_baselines(own, keys, queries, missing)]


def _search(place: Place, queries: Embedded, keys: Embedded, fusing: Fusing | None) -> tuple[Names, Floats]:
    """Ids and cosines of the nearest keys, (queries, neighbours); None and NaN where there are fewer.

    Args:
        place: which retrieval.
        queries: those that have its feature.
        keys: all of them.
        fusing: how `image+dna` is made.
    """
    if fusing and FUSED in (place.query, place.key):
        asked, offered, specimen = fused_features(queries, keys, (place.query, place.key), fusing)
    else:
        asked, (offered, specimen) = query_features(queries, place.query), key_features(keys, place.key)
    ids = np.full((len(asked), NUM_NEIGHBOURS), None, dtype=object)
    cosines = np.full((len(asked), NUM_NEIGHBOURS), np.nan, dtype=np.float32)
    search = nearest_keys
    if place.keys == "csls" or place.keys == "inverted_softmax":
        search, (asked, offered) = largest_products, corrected_rows(place.keys, asked, offered)
    for rows, members in _groups(queries.subset, keys.subset[specimen], place.keys):
        indices, near = search(asked[rows], offered[members], NUM_NEIGHBOURS)
        places = np.ix_(rows, np.arange(indices.shape[1]))
        ids[places], cosines[places] = keys.ids[specimen[members[indices]]], near
    return ids, cosines


def _searched(choices: Sequence[KeyChoice]) -> list[KeyChoice]:
    """Which keys are searched so that every choice can be answered."""
    wanted: list[KeyChoice] = []
    for choice in choices:
        wanted += ["seen", "unseen"] if choice == "calibrated" else [choice]
    return list(dict.fromkeys(wanted))


def _answered(queries: Embedded, keys: Embedded, key: str, choice: KeyChoice) -> bool:
    """Whether the keys of each kind that is searched have a feature, as far as there are keys of it."""
    if choice == "all" or choice in CORRECTED or not keys.lacking:
        return True
    asked = {*queries.subset} if choice == "own" else {choice}
    return asked & {*keys.subset} <= {*keys.subset[key_specimens(keys, key)]}


def _groups(asking: Names, answering: Names, choice: KeyChoice) -> Iterator[tuple[Indices, Indices]]:
    """Rows of queries, and the keys that they are searched among."""
    choice = "all" if choice in CORRECTED else choice
    everyone, every_key = np.arange(len(asking)), np.arange(len(answering))
    for kind in ("seen", "unseen") if choice == "own" else (choice,):
        members = every_key if kind == "all" else np.flatnonzero(answering == kind)
        rows = np.flatnonzero(asking == kind) if choice == "own" else everyone
        if len(rows) and not len(members):
            raise UsageError(f"there are no keys of {kind} species, so `--keys {choice}` has nothing to search among")
        if len(rows):
            yield rows, members


def _baselines(
    answers: Sequence[Answers], keys: Embedded, queries: Mapping[str, Embedded], missing: MissingRank
) -> list[Measurement]:
    """Chance and majority of every retrieval; the same where the same specimens ask, and the same are keys."""
    known: dict[tuple[str, KeyChoice, bytes, bytes], list[Measurement]] = {}
    rows: list[Measurement] = []
    for one in answers:
        place, offered = one.place, key_specimens(keys, one.place.key)
        asked = query_specimens(queries[place.partition], place.query)
        same = (place.partition, place.keys, offered.tobytes(), asked.tobytes())
        if same not in known:
            asking = with_feature(queries[place.partition], place.query)
            scores = _baseline_scores(asking, keys, offered, place.keys, missing)
            measured = baseline_measurements(one, scores, missing)
            known[same] = with_intervals_of(measured, one, baselines_of(place), scores, missing)
        rows += [replace(row, query=place.query, key=place.key) for row in known[same]]
    return rows


def _baseline_scores(
    queries: Embedded, keys: Embedded, specimen: Indices, choice: KeyChoice, missing: MissingRank
) -> dict[Rank, Doubles]:
    """By rank what each query scores, (queries, baselines)."""
    scores = {rank: np.zeros((len(queries), len(BASELINES))) for rank in RANKS}
    for asking, members in _groups(queries.subset, keys.subset[specimen], choice):
        offered = {str(rank): keys.labels[rank][specimen[members]] for rank in RANKS}
        asked = {str(rank): queries.labels[rank][asking] for rank in RANKS}
        for rank, own in baseline_scores(asked, offered, missing).items():
            scores[rank][asking] = own
    return scores
