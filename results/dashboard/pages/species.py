"""Taxa: all of an evaluation with their accuracies, and each by itself: what it is taken for, and its specimens."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.choosing import rank_of
from results.dashboard.numbers import Answered, Retrieval, answered
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.dashboard.pages.retrieval import are_few, evaluations
from results.dashboard.taxa import Counted, Share, counted, papers_first, shares, training_counts
from workloads.arrays import Indices
from workloads.spec import RANKS, Rank

_A_PAGE, _NUM_TAKEN, _NUM_SPECIMENS = 50, 10, 60
_MOST_EXPORTED, _MOST_PAGES = 40, 10
"""Species of an evaluation that have a page of their own in an export: those with most queries; and pages of a list."""
_OPTIONS = {"name": "", "rank": "species", "partition": "val", "begins": "", "sort": "queries", "page": ""}


@dataclass(frozen=True, slots=True)
class Taxon:
    """A taxon in the list."""

    name: str
    kind: str
    """`seen`, `unseen`, or `both`, as a higher taxon may be."""
    num_keys: int
    num_queries: int
    chance: float
    """What a random key reaches: the share of the keys that have the name."""
    shares: tuple[Share | None, ...]
    """By pair; None where it has not been asked."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What queries of one pair were taken for, or what was taken for the taxon."""

    one: Retrieval
    share: Share
    chance: float
    taken_for: tuple[tuple[str | None, int], ...]
    mistaken: tuple[tuple[str | None, int], ...]


def _species(catalog: Catalog, asked: Asked) -> Page:
    evaluation = answered(catalog, asked.of)
    first = evaluation.retrieval(asked.option("partition"))
    rank, partition = rank_of(asked), first.place.partition
    taxa = counted(catalog, evaluation, partition, rank)
    return (_one_taxon if asked.option("name") else _every_taxon)(catalog, asked, evaluation, partition, taxa)


# --- All of them ----------------------------------------------------------------------------------------------------


def _every_taxon(catalog: Catalog, asked: Asked, evaluation: Answered, partition: str, taxa: Counted) -> Page:
    pairs = papers_first(list(taxa.asked))
    codes = _sorted(evaluation, taxa, asked, pairs)
    pages = max(1, -(-len(codes) // _A_PAGE))
    page = min(max(1, asked.number("page", 1)), pages)
    shown = codes[(page - 1) * _A_PAGE : page * _A_PAGE]
    run = asked.of.partition("/")[0]
    truth = evaluation.truth(evaluation.pairs(partition)[0], taxa.rank)
    return Page(
        title=f"Taxa by {taxa.rank}: {asked.of}",
        template="taxa.html.j2",
        told={
            "evaluation": evaluation,
            "rank": taxa.rank,
            "ranks": RANKS,
            "partition": partition,
            "pairs": pairs,
            "taxa": _listed_taxa(evaluation, taxa, shown, pairs),
            "num": len(codes),
            "num_nameless": int((truth < 0).sum()),
            "begins": asked.option("begins"),
            "sort": asked.option("sort", "queries"),
            "page": page,
            "pages": pages,
            "first": (page - 1) * _A_PAGE,
        },
        trail=((run, Asked("run", run)),),
        synthetic=evaluation.synthetic,
    )


def _sorted(evaluation: Answered, taxa: Counted, asked: Asked, pairs: list[str]) -> Indices:
    """Codes of the taxa with queries, in the order that the address wants."""
    codes = np.flatnonzero(taxa.num_queries)
    names = evaluation.names[taxa.rank]
    if begins := asked.option("begins").casefold():
        codes = codes[[names[code].casefold().startswith(begins) for code in codes.tolist()]]
    sort = asked.option("sort", "queries")
    by_name = np.argsort(np.array([names[code] for code in codes.tolist()], dtype=object), kind="stable")
    codes = codes[by_name]
    if sort == "name":
        return codes
    if sort in ("queries", "keys"):
        return codes[np.argsort(-(taxa.num_queries if sort == "queries" else taxa.num_keys)[codes], kind="stable")]
    if sort in pairs:  # the worst first: these are what one looks for
        asked_of = taxa.asked[sort][codes]
        return codes[
            np.argsort(np.where(asked_of, taxa.right[sort][codes] / np.maximum(asked_of, 1), 2), kind="stable")
        ]
    raise NotThereError(f"Taxa are sorted by name, queries, keys, or {', '.join(pairs)}.")


def _listed_taxa(evaluation: Answered, taxa: Counted, codes: Indices, pairs: list[str]) -> list[Taxon]:
    columns = [shares(taxa.right[pair][codes], taxa.asked[pair][codes]) for pair in pairs]
    return [
        Taxon(
            str(evaluation.names[taxa.rank][code]),
            _kind(taxa, code),
            int(taxa.num_keys[code]),
            int(taxa.num_queries[code]),
            int(taxa.num_keys[code]) / max(1, taxa.num_searched),
            tuple(column[place] if column[place].of else None for column in columns),
        )
        for place, code in enumerate(codes.tolist())
    ]


def _kind(taxa: Counted, code: int) -> str:
    unseen, of = int(taxa.num_unseen[code]), int(taxa.num_queries[code])
    return "unseen" if unseen == of else "seen" if not unseen else "both"


# --- One of them ----------------------------------------------------------------------------------------------------


def _one_taxon(catalog: Catalog, asked: Asked, evaluation: Answered, partition: str, taxa: Counted) -> Page:
    name, rank = asked.option("name"), taxa.rank
    found = np.flatnonzero(evaluation.names[rank] == name)
    if not len(found):
        raise NotThereError(f"No specimen of {asked.of} has '{name}' as its {rank}; the page without a name lists all.")
    code = int(found[0])
    pairs = evaluation.pairs(partition)
    first = papers_first([one.words for one in pairs])
    few = [one for one in pairs if one.words in first]
    training = training_counts(catalog, evaluation, rank)
    run = asked.of.partition("/")[0]
    return Page(
        title=f"{name}, {rank}",
        template="species.html.j2",
        told={
            "evaluation": evaluation,
            "name": name,
            "rank": rank,
            "partition": partition,
            "above": _above(evaluation, rank, code),
            "below": RANKS[RANKS.index(rank) + 1] if rank != RANKS[-1] else None,
            "kind": _kind(taxa, code) if taxa.num_queries[code] else None,
            "num_keys": int(taxa.num_keys[code]),
            "num_queries": int(taxa.num_queries[code]),
            "num_training": None if training is None else training.get(name, 0),
            "taken": [_taken(evaluation, one, taxa, code) for one in pairs if taxa.asked[one.words][code]],
            "specimens": _specimens(evaluation, few, rank, code),
            "most": _NUM_SPECIMENS,
            "pairs": few,
        },
        trail=((run, Asked("run", run)), ("Taxa", Asked.to("species", asked.of, {"rank": rank}))),
        synthetic=evaluation.synthetic,
    )


def _above(evaluation: Answered, rank: Rank, code: int) -> list[tuple[Rank, str]]:
    """The higher taxa that most of its specimens have."""
    own, lineage = evaluation.codes[rank] == code, list[tuple[Rank, str]]()
    for above in RANKS[: RANKS.index(rank)]:
        codes = evaluation.codes[above][own]
        if len(named := codes[codes >= 0]):
            lineage.append((above, str(evaluation.names[above][int(np.bincount(named).argmax())])))
    return lineage


def _taken(evaluation: Answered, one: Retrieval, taxa: Counted, code: int) -> Taken:
    truth, found = evaluation.truth(one, taxa.rank), evaluation.found(one, taxa.rank)
    share = shares([taxa.right[one.words][code]], [taxa.asked[one.words][code]])[0]
    wrong = _commonest(evaluation, taxa.rank, found[(truth == code) & (found != code)])
    mistaken = _commonest(evaluation, taxa.rank, truth[(found == code) & (truth != code)])
    return Taken(one, share, int(taxa.num_keys[code]) / max(1, taxa.num_searched), wrong, mistaken)


def _commonest(evaluation: Answered, rank: Rank, codes: Indices) -> tuple[tuple[str | None, int], ...]:
    values, counts = np.unique(codes, return_counts=True)
    order = np.lexsort((values, -counts))[:_NUM_TAKEN]
    return tuple((evaluation.called(rank, int(values[each])), int(counts[each])) for each in order)


def _specimens(
    evaluation: Answered, pairs: list[Retrieval], rank: Rank, code: int
) -> list[tuple[str, str, list[bool | None]]]:
    """Its queries: ids, subset, and by pair whether they were answered rightly; None where that was not asked."""
    rows: dict[int, tuple[str, list[bool | None]]] = {}
    for place, one in enumerate(pairs):
        own = np.flatnonzero(evaluation.truth(one, rank) == code)
        right = evaluation.hits(one, rank)[own].tolist()
        for query, unseen, hit in zip(one.queries[own].tolist(), one.unseen[own].tolist(), right, strict=True):
            if query in rows or len(rows) < _NUM_SPECIMENS:
                _, hits = rows.setdefault(query, ("unseen" if unseen else "seen", [None] * len(pairs)))
                hits[place] = hit
    return [(evaluation.id(query), subset, hits) for query, (subset, hits) in rows.items()]


# --- The export -----------------------------------------------------------------------------------------------------


def _listed(catalog: Catalog) -> Iterable[Asked]:
    """The list at each rank, and the pages of species with most queries; where evaluations are many, one list each."""
    few = are_few(catalog)
    for evaluation in evaluations(catalog):
        for partition in evaluation.partitions if few else evaluation.partitions[:1]:
            for rank in RANKS if few else RANKS[-1:]:
                taxa = counted(catalog, evaluation, partition, rank)
                place = {"partition": partition, "rank": rank}
                pages = min(_MOST_PAGES, -(-int((taxa.num_queries > 0).sum()) // _A_PAGE)) if few else 1
                for page in range(1, pages + 1):
                    yield Asked.to("species", evaluation.name, {**place, "page": page if page > 1 else None})
                most = np.argsort(-taxa.num_queries, kind="stable")[
                    : _MOST_EXPORTED if few and rank == "species" else 0
                ]
                for code in most[taxa.num_queries[most] > 0].tolist():
                    yield Asked.to("species", evaluation.name, {**place, "name": str(evaluation.names[rank][code])})


KINDS = (Kind(name="species", make=_species, options=_OPTIONS, listed=_listed),)
