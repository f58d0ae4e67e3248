"""Open-set recognition: images of species with images among the keys, and of species with barcodes only (CLIBD, 5.4).

    IS+DU     an image that looks like a seen species is answered from these, by its nearest image key (`nn_is_du`) or
              by a classifier (`linear_is_du`); any other by the nearest DNA key of the unseen species
    nn_dna    the nearest of all DNA keys, whatever the species; Table 15 calls it an oracle of seen and unseen, as it
              has samples of the unseen species to look at
    oracles   the same where somebody tells whether the species is a seen one: no query is answered from the wrong
              kind, which bounds what a better threshold could gain. The paper does not have these rows

The threshold is chosen on validation and applied once to test. As in the authors' code it decides for each of the five
places apart: whether the k-th best answer is that of the seen or that of the unseen species depends on the former's
own score.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Labels, Mask
from workloads.errors import UsageError
from workloads.evaluation.answering import (
    CLASS,
    Answering,
    Offer,
    answering,
    classes_of,
    classified,
    merged,
    routed,
    search,
)
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.open_set_outcomes import STRATEGIES, Strategy, open_set_measurements, outcome_table
from workloads.evaluation.thresholds import Choices, Threshold, best_threshold, even_grid
from workloads.predictions import MISSING_RANK, MissingRank, specimen_table
from workloads.record import Measurement
from workloads.spec import Recipe

CHOOSES = "val"
"""Partition that thresholds are chosen on."""

NUM_POINTS: Mapping[Recipe, Mapping[str, int]] = {
    "corrected": {},
    "paper": {"nn_is_du": 1000, "linear_is_du": 1000},
    "authors": {"nn_is_du": 1000, "linear_is_du": 1001},
}
"""How many thresholds from 0 to 1 are tried: those of section B.2, those of the authors' scripts, or, where there is no
number, all that differ."""


@dataclass(frozen=True, slots=True)
class OpenSet:
    """What open-set recognition leaves."""

    thresholds: Mapping[str, Threshold]
    """By method, of those that need one."""
    outcomes: pa.Table
    """A row for each query, partition and method (`workloads.evaluation.open_set_outcomes`)."""
    specimens: pa.Table
    """Names of queries, keys and classes: with `outcomes` all that `Predictions` needs."""
    measurements: list[Measurement]


@dataclass(frozen=True, slots=True)
class _Offers:
    """Everything that the queries of one partition could be answered."""

    queries: Embedded
    seen: Mapping[str, Offer]
    """From seen species: `image` and `dna` keys and, with a classifier, `class`."""
    unseen: Offer
    """From unseen species, DNA keys."""


def open_set(
    queries: Mapping[str, Embedded],
    keys: Embedded,
    recipe: Recipe = "corrected",
    classifier: pa.Table | None = None,
    lineages: Labels | None = None,
) -> OpenSet:
    """Answer every query in every way.

    Args:
        queries: by partition, `val` among them; with images.
        keys: with images and DNA.
        recipe: which thresholds are tried, and what a query without a name at a rank counts.
        classifier: of the same queries, the `classifier.parquet` of its evaluation; None: without the linear rows.
        lineages: names by rank of the classifier's species; None: as most keys of the species have them.

    Raises:
        UsageError: validation has no queries of seen or of unseen species, there are no keys of either, or images or
            DNA are not among the embeddings.
        MissingPathError: the classifier has not seen some queries.
    """
    if CHOOSES not in queries:
        raise UsageError("there are no validation queries to choose a threshold with")
    classes = [] if classifier is None else classes_of(classifier)
    known = answering(keys, classes, lineages)
    offers = {part: _offers(asking, keys) for part, asking in queries.items()}
    if classifier is not None:
        for part, offer in offers.items():
            named = classified(classifier, part, offer.queries.ids, classes, len(keys))
            offers[part] = replace(offer, seen={**offer.seen, "class": named})
    missing = MISSING_RANK[recipe]
    strategies = [one for one in STRATEGIES.values() if one.seen in offers[CHOOSES].seen]
    thresholds = {
        one.method: best_threshold(_choices(offers[CHOOSES], known, one, missing), _grid(recipe, one.method))
        for one in strategies
        if one.has_threshold
    }
    outcomes = [_outcomes(one, part, offer, known, thresholds) for one in strategies for part, offer in offers.items()]
    table, specimens = pa.concat_tables(outcomes), _specimens(queries, keys, known)
    return OpenSet(thresholds, table, specimens, open_set_measurements(table, specimens, missing))


def _offers(queries: Embedded, keys: Embedded) -> _Offers:
    seen = {"image": search(queries, keys, "image", "seen"), "dna": search(queries, keys, "dna", "seen")}
    return _Offers(queries, seen, search(queries, keys, "dna", "unseen"))


def _grid(recipe: Recipe, method: str) -> Doubles | None:
    num_points = NUM_POINTS[recipe].get(method)
    return None if num_points is None else even_grid(num_points)


def _choices(offers: _Offers, known: Answering, strategy: Strategy, missing: MissingRank) -> Choices:
    """What the threshold of a strategy decides over: the species that come first, of queries that count."""
    truth = offers.queries.labels["species"]
    counted = np.array([missing == "a_class" or name is not None for name in truth])
    seen = offers.seen[strategy.seen]
    return Choices(
        seen.scores[counted, 0],
        _right(seen, known, offers.queries)[counted],
        _right(offers.unseen, known, offers.queries)[counted],
        (offers.queries.subset == "seen")[counted],
    )


def _right(offer: Offer, known: Answering, queries: Embedded) -> Mask:
    """Whether the first answer has the query's species, (queries,)."""
    names = known.labels["species"][offer.answers[:, 0]]
    return np.asarray(names == queries.labels["species"], dtype=bool)


def _outcomes(
    strategy: Strategy, part: str, offers: _Offers, known: Answering, thresholds: Mapping[str, Threshold]
) -> pa.Table:
    seen, unseen = offers.seen[strategy.seen], offers.unseen
    if strategy.keys == "own":
        told = np.asarray(offers.queries.subset == "seen")[:, None]
        return outcome_table(strategy, part, offers.queries, known, routed(seen, unseen, told), None)
    if strategy.has_threshold:
        confidence, called_seen = seen.scores[:, 0], seen.scores > thresholds[strategy.method].value
        found = routed(seen, unseen, called_seen)
    else:
        # How much nearer the nearest key of a seen species is: above 0 it is the answer.
        confidence, found = seen.scores[:, 0] - unseen.scores[:, 0], merged(seen, unseen)
    return outcome_table(strategy, part, offers.queries, known, found, confidence)


def _specimens(queries: Mapping[str, Embedded], keys: Embedded, known: Answering) -> pa.Table:
    """Keys, queries and classes, each once.

    In the order of an evaluation's own table, so that `nn_dna` has the intervals that image to DNA has there.
    """
    specimens = [specimen_table(part.ids, part.split, part.labels) for part in (keys, *queries.values())]
    of_class = slice(len(keys), None)
    classes = {rank: names[of_class] for rank, names in known.labels.items()}
    split = [CLASS] * len(known.ids[of_class])
    return pa.concat_tables([*specimens, specimen_table(known.ids[of_class], split, classes)])
