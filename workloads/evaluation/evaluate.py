"""From embeddings to predictions and measurements: search, compare labels, and say what was asked.

Every query is searched among all keys, those of seen and of unseen species together (paper, section 4.2), unless other
keys are asked for. Embeddings may come from a run or from any other model (`workloads.evaluation.openclip_row`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Floats, Indices, Names
from workloads.errors import EmbeddingsError, ModalitiesError, UsageError
from workloads.evaluation.accuracy import KS, accuracies_of
from workloads.evaluation.baselines import BASELINES, baseline_measurements, baseline_scores
from workloads.evaluation.beside import NOTHING, Beside
from workloads.evaluation.embedded import (
    PAIRS,
    SPECIES_TEXT_PAIRS,
    Embedded,
    has_feature,
    key_features,
    key_specimens,
    query_features,
)
from workloads.evaluation.retrieval import nearest_keys
from workloads.intervals import interval_ends, with_ends, with_intervals
from workloads.predictions import (
    MISSING_RANK,
    Answers,
    KeyChoice,
    MissingRank,
    Place,
    Predictions,
    prediction_table,
    specimen_table,
)
from workloads.record import Measurement
from workloads.spec import RANKS, Rank, Recipe

NUM_NEIGHBOURS = max(KS)

Pair = tuple[str, str]
Tell = Callable[[int, int], None]
"""Is told how many searches of how many are done."""
ALL_PAIRS: tuple[Pair, ...] = (*PAIRS, *SPECIES_TEXT_PAIRS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What an evaluation asks."""

    recipe: Recipe = "corrected"
    """Decides what a missing label does (`workloads.predictions.MISSING_RANK`)."""
    pairs: Sequence[Pair] = ALL_PAIRS
    """Query and key features; those that the embeddings do not have are left out."""
    keys: tuple[KeyChoice, ...] = ("all",)
    """Which keys each query is searched among, one evaluation for each."""

    @property
    def missing(self) -> MissingRank:
        """What a query without a label at a rank does there."""
        return MISSING_RANK[self.recipe]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation leaves."""

    measurements: list[Measurement]
    predictions: Predictions


def evaluate_embedded(
    keys: Embedded,
    queries: Mapping[str, Embedded],
    questions: Questions,
    tell: Tell | None = None,
    beside: Beside = NOTHING,
) -> Evaluation:
    """Measure embeddings.

    Args:
        keys: everything that answers.
        queries: by partition.
        questions: what is asked of them.
        tell: told of the searches.
        beside: floors of the data set, and queries that were trained on.

    Raises:
        EmbeddingsError: queries and keys share no space, or one id stands for two specimens.
        ModalitiesError: not one of the pairs can be asked.
        UsageError: there are no queries, or no keys of the kind that is asked for.
    """
    predictions = find_answers(keys, queries, questions, tell)
    return Evaluation(measure_predictions(predictions, keys, queries, questions, beside), predictions)


def find_answers(
    keys: Embedded, queries: Mapping[str, Embedded], questions: Questions, tell: Tell | None = None
) -> Predictions:
    """Search everything that is asked; arguments and errors as for `evaluate_embedded`."""
    if not queries:
        raise UsageError("there are no queries in these embeddings; prepare more specimens of each species")
    places = [place for part, asking in queries.items() for place in _places(part, asking, keys, questions)]
    tables = []
    for place in places:
        asking = queries[place.partition]
        tables.append(prediction_table(place, asking.ids, asking.subset, *_search(place, asking, keys)))
        if tell:
            tell(len(tables), len(places))
    if not tables:
        modalities = set(keys.rows).union(*(asking.rows for asking in queries.values()))
        raise ModalitiesError("the embeddings", sorted(modalities))
    return Predictions(pa.concat_tables(tables), _specimens(keys, queries))


def measure_predictions(
    predictions: Predictions,
    keys: Embedded,
    queries: Mapping[str, Embedded],
    questions: Questions,
    beside: Beside = NOTHING,
) -> list[Measurement]:
    """Every number that follows from predictions, with its 95 % interval, and the baselines and floors of each.

    Where queries were trained on, once more without them, in rows whose `queries` say so.
    """
    answers = [predictions.answers(place) for place in predictions.places]
    answers += beside.floor_answers(answers, predictions.specimens)
    rows = _measured(answers, keys, queries, questions.missing)
    fresh = {part: ~np.isin(asking.ids, list(beside.trained)) for part, asking in queries.items()}
    fresh = {part: mask for part, mask in fresh.items() if mask.any() and not mask.all()}
    kept = [one.take(fresh[one.place.partition]) for one in answers if one.place.partition in fresh]
    untrained = {part: queries[part].take(mask) for part, mask in fresh.items()}
    return [*rows, *(replace(row, queries="untrained") for row in _measured(kept, keys, untrained, questions.missing))]


def _measured(
    answers: Sequence[Answers], keys: Embedded, queries: Mapping[str, Embedded], missing: MissingRank
) -> list[Measurement]:
    rows = [row for one in answers for row in accuracies_of(one, missing)]
    own = [one for one in answers if one.place.method == "clibd"]
    return [*with_intervals(rows, answers, missing), *_baselines(own, keys, queries, missing)]


def _places(part: str, queries: Embedded, keys: Embedded, questions: Questions) -> list[Place]:
    """What is asked of one partition and can be answered."""
    return [
        Place(part, query, key, keys=choice)
        for choice in questions.keys
        for query, key in questions.pairs
        if has_feature(queries, query) and has_feature(keys, key)
    ]


def _search(place: Place, queries: Embedded, keys: Embedded) -> tuple[Names, Floats]:
    """Ids and cosines of the nearest keys, (queries, neighbours); None and NaN where there are fewer."""
    asked, offered = query_features(queries, place.query), key_features(keys, place.key)
    ids = np.full((len(asked), NUM_NEIGHBOURS), None, dtype=object)
    cosines = np.full((len(asked), NUM_NEIGHBOURS), np.nan, dtype=np.float32)
    for rows, members in _groups(queries.subset, keys.subset[offered.specimen], place.keys):
        indices, found = nearest_keys(asked[rows], offered.rows[members], NUM_NEIGHBOURS)
        width = indices.shape[1]
        ids[rows[:, None], np.arange(width)] = keys.ids[offered.specimen[members[indices]]]
        cosines[rows[:, None], np.arange(width)] = found
    return ids, cosines


def _groups(asking: Names, answering: Names, choice: KeyChoice) -> Iterator[tuple[Indices, Indices]]:
    """Rows of queries, and the keys that they are searched among."""
    everyone = np.arange(len(asking))
    kinds = {"all": (None,), "seen": ("seen",), "unseen": ("unseen",), "own": ("seen", "unseen")}[choice]
    for kind in kinds:
        members = np.arange(len(answering)) if kind is None else np.flatnonzero(answering == kind)
        rows = everyone if choice != "own" else np.flatnonzero(asking == kind)
        if len(rows) and not len(members):
            raise UsageError(f"there are no keys of {kind} species, so `--keys {choice}` has nothing to search among")
        if len(rows):
            yield rows, members


def _baselines(
    answers: Sequence[Answers], keys: Embedded, queries: Mapping[str, Embedded], missing: MissingRank
) -> list[Measurement]:
    """Chance and majority of every retrieval; those that offer the same specimens as keys have the same."""
    known: dict[tuple[str, KeyChoice, bytes], list[Measurement]] = {}
    rows: list[Measurement] = []
    for one in answers:
        place, asking = one.place, queries[one.place.partition]
        offered = key_specimens(keys, place.key)
        same = (place.partition, place.keys, offered.tobytes())
        if same not in known:
            scores = _baseline_scores(asking, keys, offered, place.keys, missing)
            measured = baseline_measurements(asking.labels, scores, asking.subset, place, missing)
            numbers = [(replace(place, method=method), metric) for method, metric in BASELINES]
            known[same] = with_ends(measured, interval_ends(one, numbers, scores, missing))
        rows += [replace(row, query=place.query, key=place.key) for row in known[same]]
    return rows


def _baseline_scores(
    queries: Embedded, keys: Embedded, specimen: Indices, choice: KeyChoice, missing: MissingRank
) -> dict[Rank, Doubles]:
    """By rank what each query scores, (queries, baselines)."""
    found = {rank: np.zeros((len(queries), len(BASELINES))) for rank in RANKS}
    for asking, members in _groups(queries.subset, keys.subset[specimen], choice):
        offered = {str(rank): keys.labels[rank][specimen[members]] for rank in RANKS}
        asked = {str(rank): queries.labels[rank][asking] for rank in RANKS}
        for rank, scores in baseline_scores(asked, offered, missing).items():
            found[rank][asking] = scores
    return found


def _specimens(keys: Embedded, queries: Mapping[str, Embedded]) -> pa.Table:
    """Every specimen once.

    Raises:
        EmbeddingsError: one id stands for two.
    """
    parts = [keys, *queries.values()]
    ids = np.concatenate([part.ids for part in parts])
    names, count = np.unique(ids.astype(str), return_counts=True)
    if (count > 1).any():
        raise EmbeddingsError(f"the id {names[count.argmax()]} stands for {count.max()} specimens")
    labels = {str(rank): np.concatenate([part.labels[rank] for part in parts]) for rank in RANKS}
    return specimen_table(ids, np.concatenate([part.split for part in parts]), labels)
