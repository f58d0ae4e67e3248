"""Made-up insects, and what made-up models answer of them: predictions, and the accuracies that follow from these.

No embedding is ever made. A neighbour is drawn by the deepest rank that it shares with its query, and is mostly of the
one species that the query's is taken for, so that confusions have a pattern.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from benchmarks.made_up_names import Words, genera
from workloads.arrays import Doubles, Indices, Mask, Names
from workloads.evaluation.accuracy import accuracies_of
from workloads.experiments import Data
from workloads.intervals import with_intervals
from workloads.predictions import MISSING_RANK, PAPERS_PAIRS, Place, Predictions, prediction_table, specimen_table
from workloads.record import Measurement
from workloads.spec import RANKS, Rank

PARTITIONS = ("val", "test")
_GROUPS: Mapping[Rank, int] = {"order": 60, "family": 12, "genus": 3, "species": 1}
"""Species in a taxon of each rank."""
_KEYS_EACH = 3.0
"""Keys of a species, on average."""
_RIGHT = {("dna", "dna"): 0.95, ("image", "image"): 0.65, ("image", "dna"): 0.5, ("image", "text"): 0.45}
"""About which share of seen species a good model names; of unseen ones it is two thirds of that."""
_SHARED = np.array([0.5, 0.25, 0.15, 0.1])
"""Of wrong neighbours: which share has the genus, the family, the order, and nothing in common."""


@dataclass(frozen=True, kw_only=True)
class MadeUpInsects:
    """The specimens of one made-up data set."""

    data: Data
    ids: Names
    """(specimens,)"""
    species: Indices
    """Number of each specimen's species; a genus is three in a row, (specimens,)."""
    unseen: Mask
    """Whether it is of an unseen species, (specimens,)."""
    split: Names
    """(specimens,)"""
    labels: Mapping[Rank, Names]
    """Names by rank, None where missing, (specimens,)."""
    num_species: int
    keys: Indices
    """Which specimens answer, sorted by species, (keys,)."""
    first_key: Indices
    """Where the keys of each species begin, and behind the last one, (species + 1,)."""
    queries: Mapping[str, Indices]
    """Which ask, by partition."""

    def table(self, asked: Mapping[str, int] | None = None) -> pa.Table:
        """The rows of specimens.parquet: all keys, and the queries; of these only the first ones where it is said."""
        asking = [rows[: asked.get(part) if asked else None] for part, rows in self.queries.items()]
        rows = np.concatenate([self.keys, *asking])
        return specimen_table(
            self.ids[rows], self.split[rows], {rank: names[rows] for rank, names in self.labels.items()}
        )


def draw_insects(
    data: Data, num_species: int, num_queries: int, words: Words, chance: np.random.Generator
) -> MadeUpInsects:
    """Draw the specimens of a data set: a third of the species unseen, few species common and many rare.

    Args:
        data: what the data set is called.
        num_species: of them.
        num_queries: of each partition.
        words: hostile ones become taxa and specimens.
        chance: of all that is drawn.
    """
    kind = np.arange(num_species) % 6  # 2: unseen, asked in validation; 5: in the test
    common = 1 / (1 + chance.permutation(num_species))
    keys = np.repeat(np.arange(num_species), 1 + chance.poisson((_KEYS_EACH - 1) * common * num_species / common.sum()))
    first_key = np.searchsorted(keys, np.arange(num_species + 1))
    asked = {part: _draw_queries(kind, other, common, num_queries, chance) for part, other in (("val", 5), ("test", 2))}
    species = np.concatenate([keys, *asked.values()])
    ends = np.cumsum([len(keys), *map(len, asked.values())])
    places = {part: np.arange(*span) for part, span in zip(asked, pairwise(ends), strict=True)}
    unseen = np.isin(kind, (2, 5))[species]
    split = np.where(unseen, np.where(kind[species] == 2, "val_unseen_keys", "test_unseen_keys"), "seen_keys")
    split = split.astype(object)
    for part, rows in places.items():
        split[rows] = np.where(unseen[rows], f"{part}_unseen", f"{part}_seen")
    ids = np.array([f"MADEUP{number:07}" for number in range(len(species))], dtype=object)
    ids[: ends[0]] = [f"{name} (key)" for name in words.rename(ids[: ends[0]])] if words.hostile else ids[: ends[0]]
    return MadeUpInsects(
        data=data,
        ids=words.rename(ids, int(ends[0])),
        species=species,
        unseen=unseen,
        split=split,
        labels=_labels(species, first_key, words, chance),
        num_species=num_species,
        keys=np.arange(ends[0]),
        first_key=first_key,
        queries=places,
    )


def _draw_queries(kind: Indices, other: int, common: Doubles, count: int, chance: np.random.Generator) -> Indices:
    """Species of the queries of a partition, in which unseen species of the other one do not ask, (count,)."""
    weights = np.where(kind == other, 0, common)
    return chance.choice(len(kind), count, p=weights / weights.sum())


def _labels(species: Indices, first_key: Indices, words: Words, chance: np.random.Generator) -> dict[Rank, Names]:
    """Names of specimens by rank; a few lack that of their species, and some of these that of their genus too.

    The first key of a species has all of its names.
    """
    num_species = len(first_key) - 1
    count = {rank: -(-num_species // size) for rank, size in _GROUPS.items()}
    plain = genera(count["genus"], chance)
    names: dict[Rank, Names] = {
        "order": np.array([f"{name}ptera" for name in plain[: count["order"]]], dtype=object),
        "family": np.array([f"{name[:-1]}idae" for name in plain[: count["family"]]], dtype=object),
        "genus": plain,
        "species": np.array([f"{plain[s // 3]} {'abc'[s % 3]}ensis" for s in range(num_species)], dtype=object),
    }
    labels = {rank: words.rename(names[rank])[species // size] for rank, size in _GROUPS.items()}
    lacking = chance.random(len(species))
    lacking[first_key[:-1]] = 1
    labels["species"][lacking < 0.04] = None
    labels["genus"][lacking < 0.02] = None
    return labels


# --- Answers ------------------------------------------------------------------------------------------------------


def pairs_of(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """The retrievals of the paper's tables that a model of some modalities can be asked."""
    return [pair for pair in PAPERS_PAIRS if set(pair) <= set(modalities)]


def answered(
    insects: MadeUpInsects, asked: Mapping[Place, int], num_keys: int, skill: float, chance: np.random.Generator
) -> Predictions:
    """What a made-up model answers.

    Args:
        insects: that ask and answer.
        asked: how many queries of each retrieval ask, the first ones.
        num_keys: nearest keys of each query.
        skill: in [0, 1]: what share it is right of as often as a good model.
        chance: of all that is drawn.
    """
    tables = [_answers(insects, place, count, num_keys, skill, chance) for place, count in asked.items()]
    most = {part: max(n for place, n in asked.items() if place.partition == part) for part in insects.queries}
    return Predictions(pa.concat_tables(tables), insects.table(most))


def _answers(
    insects: MadeUpInsects, place: Place, count: int, num_keys: int, skill: float, chance: np.random.Generator
) -> pa.Table:
    rows = insects.queries[place.partition][:count]
    unseen = insects.unseen[rows]
    right = skill * _RIGHT[place.query, place.key] * np.where(unseen, 2 / 3, 1)[:, None] * 0.95 ** np.arange(num_keys)
    keys, shared = _nearest(insects, insects.species[rows], right, chance)
    first = chance.beta(np.where(shared[:, :1] == 0, 9, 6), 2)
    cosines = first - np.cumsum(chance.exponential(0.02, keys.shape), axis=1)
    subset = np.where(unseen, "unseen", "seen").astype(object)
    return prediction_table(
        place, insects.ids[rows], subset, insects.ids[insects.keys[keys]], cosines.astype(np.float32)
    )


def _nearest(
    insects: MadeUpInsects, species: Indices, right: Doubles, chance: np.random.Generator
) -> tuple[Indices, Indices]:
    """Keys that answer, none twice, and the rank that each was drawn to share: 0 is the species; (queries, keys) both.

    Args:
        insects: of which.
        species: of the queries, (queries,).
        right: the share of neighbours that are of the query's species, (queries, keys).
        chance: of all that is drawn.
    """
    wrong = (chance.random(right.shape) - right) / (1 - right)  # below 0 where the species is the same
    shared = np.searchsorted(np.cumsum(_SHARED)[:-1], wrong) + (wrong >= 0)
    size = np.array([1, 3, 12, 60, insects.num_species])[shared]
    own = species[:, None]
    first = own // size * size
    usual = chance.random(right.shape) < 0.6
    other = np.where(usual, own - first + 1, chance.integers(0, size)) % size
    found = np.minimum(first + other, insects.num_species - 1)
    begin, end = insects.first_key[found], insects.first_key[found + 1]
    keys = begin + (chance.random(right.shape) * (end - begin)).astype(np.int64)
    for column in range(1, keys.shape[1]):
        while (twice := (keys[:, :column] == keys[:, column : column + 1]).any(axis=1)).any():
            keys[twice, column] = (keys[twice, column] + 1) % len(insects.keys)
    return keys, shared


# --- Accuracies ---------------------------------------------------------------------------------------------------


def accuracies(predictions: Predictions, insects: MadeUpInsects) -> list[Measurement]:
    """Every accuracy of the answers, as an evaluation measures them, and floors that are made up.

    Args:
        predictions: the answers.
        insects: for how many taxa there are.
    """
    missing = MISSING_RANK["corrected"]
    answers = [predictions.answers(place) for place in predictions.places]
    rows = [row for one in answers for row in accuracies_of(one, missing)]
    floors = [row for row in rows if row.metric == "top1"]
    chance = {rank: 1 / -(-insects.num_species // size) for rank, size in _GROUPS.items()}
    rows = with_intervals(rows, answers, missing)
    rows += [replace(row, method="random_key", value=chance[_rank(row)]) for row in floors]
    return rows + [replace(row, method="majority", value=min(1.0, 3 * chance[_rank(row)])) for row in floors]


def _rank(row: Measurement) -> Rank:
    return next(rank for rank in RANKS if rank == row.level)
