"""Figure 3 as data: some queries, their nearest keys, and the lowest rank that each key shares with its query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.figures.evaluated import Evaluated
from results.figures.picture import Record
from workloads.arrays import Mask
from workloads.errors import UsageError
from workloads.predictions import MISSING, Answers
from workloads.spec import RANKS, Rank

NUM_QUERIES, NUM_KEYS = 5, 3
Lineage = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A key near a query."""

    specimen_id: str
    cosine: float
    lineage: Lineage
    shared: Rank | None
    """The lowest rank at which it has the query's name; None where it shares none."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query and what it found."""

    specimen_id: str
    subset: str
    lineage: Lineage
    found: Mapping[str, tuple[Neighbour, ...]]
    """Nearest keys by key feature, the nearest first."""


def lowest_name(lineage: Lineage) -> str | None:
    """The most precise name there is."""
    return next((name for rank in reversed(RANKS) if (name := lineage[rank]) is not None), None)


def retrieval_examples(
    evaluated: Evaluated,
    partition: str,
    query: str,
    keys: Sequence[str],
    rank: Rank,
    seed: int,
    subset: str | None = None,
    only_errors: bool = False,
) -> list[Example]:
    """Draw five queries: a taxon, each as likely as any other and none twice while there are others; then one of its
    queries.

    Args:
        evaluated: the evaluation.
        partition: `val` or `test`.
        query: feature that asks.
        keys: features that answer.
        rank: of the taxa that are drawn.
        seed: of the drawing.
        subset: only `seen` or `unseen` queries; None for both.
        only_errors: only queries of which a nearest key, among any of the key features, is of another species.

    Raises:
        UsageError: there are no such queries.
    """
    pairs = evaluated.pairs(partition, [(query, key) for key in keys])
    answers = {key: evaluated.answers(partition, query, key) for _, key in pairs}
    first = next(iter(answers.values()))
    eligible: Mask = first.truth[rank] != MISSING
    if subset is not None:
        eligible &= first.subset == subset
    if only_errors:
        eligible &= np.any([_wrong(found) for found in answers.values()], axis=0)
    rows = _draw(first.truth[rank], eligible, seed)
    if not rows:
        raise UsageError(
            f"no {partition} query of {evaluated.folder} has a name at the rank of {rank} and fits what was asked for; "
            "choose another rank, or drop --subset and --only-errors"
        )
    lineages = _lineages(evaluated)
    return [_example(row, first, answers, lineages) for row in rows]


def _wrong(answers: Answers) -> Mask:
    """Whether the nearest key is of another species, where the query's is known."""
    return np.asarray((answers.truth["species"] != MISSING) & ~answers.hits("species"))


def _draw(codes: "np.typing.NDArray[np.int32]", eligible: Mask, seed: int) -> list[int]:
    """Rows of up to five queries, taxa in random turns."""
    chance = np.random.default_rng(seed)
    waiting = {int(code): list(np.flatnonzero(eligible & (codes == code))) for code in np.unique(codes[eligible])}
    rows: list[int] = []
    while waiting and len(rows) < NUM_QUERIES:
        for code in chance.permutation(sorted(waiting))[: NUM_QUERIES - len(rows)].tolist():
            rows.append(int(waiting[code].pop(chance.integers(len(waiting[code])))))
            if not waiting[code]:
                del waiting[code]
    return rows


def _lineages(evaluated: Evaluated) -> dict[str, Lineage]:
    specimens = evaluated.predictions.specimens
    rows = specimens.select(["specimen_id", *RANKS]).to_pylist()
    return {row["specimen_id"]: row for row in rows}


def _example(row: int, first: Answers, answers: Mapping[str, Answers], lineages: Mapping[str, Lineage]) -> Example:
    identifier = first.ids[row]
    found = {}
    for key, answer in answers.items():
        own = row if answer.ids[row] == identifier else int(np.flatnonzero(answer.ids == identifier)[0])
        found[key] = tuple(
            Neighbour(name, float(answer.cosines[own, place]), lineages[name], _shared(answer, own, place))
            for place, name in enumerate(answer.key_ids[own, :NUM_KEYS])
            if name is not None
        )
    return Example(identifier, first.subset[row], lineages[identifier], found)


def _shared(answers: Answers, row: int, place: int) -> Rank | None:
    """The lowest rank at which query and key have the same name."""
    for rank in reversed(RANKS):
        code = answers.truth[rank][row]
        if code != MISSING and code == answers.found[rank][row, place]:
            return rank
    return None


def example_records(examples: Sequence[Example], partition: str, query: str) -> list[Record]:
    """A record a key."""
    return [
        {
            "partition": partition,
            "query": query,
            "key": key,
            "query_id": example.specimen_id,
            "subset": example.subset,
            **{f"query_{rank}": example.lineage[rank] for rank in RANKS},
            "place": place,
            "key_id": neighbour.specimen_id,
            "cosine": round(neighbour.cosine, 6),
            "shared": neighbour.shared or "none",
            **{f"key_{rank}": neighbour.lineage[rank] for rank in RANKS},
        }
        for example in examples
        for key, neighbours in example.found.items()
        for place, neighbour in enumerate(neighbours, start=1)
    ]
