"""Retrieval: a query and its nearest keys, with picture and barcode, out of all that fit what was chosen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from results.dashboard.barcodes import Differences, Strip, differences, strip
from results.dashboard.catalog import Catalog
from results.dashboard.choosing import OUTCOMES, choice_of, chosen
from results.dashboard.names import feature_name
from results.dashboard.numbers import DEPTHS, UNSEEN, Answered, Retrieval, answered
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.dashboard.pages.retrieval_columns import PORTRAITS, ROWS, SPECIMENS, name_of
from results.dashboard.portraits import Portraits, portraits
from workloads.arrays import Indices
from workloads.predictions import PAPERS_PAIRS
from workloads.spec import RANKS, Rank

_A_PAGE = 24
"""Examples of a list."""
_FEW = 10
"""Evaluations of which an export holds everything."""
OPTIONS = {
    "partition": "val",
    "pair": "image-dna",
    "rank": "species",
    **dict.fromkeys(("outcome", "taxon", "at", "within", "found", "subset", "least", "most", "page", "specimen"), ""),
}


@dataclass(frozen=True, slots=True)
class Specimen:
    """A specimen as the page shows it."""

    id: str
    names: tuple[tuple[Rank, str | None, bool], ...]
    """By rank, and whether the query has the same one."""
    lowest: str
    """The most precise name that it has."""
    pictured: bool
    strip: Strip | None
    bases: int


@dataclass(frozen=True, slots=True)
class Nearest:
    """A key near a query."""

    place: int
    """From 1, the nearest."""
    specimen: Specimen
    shared: str
    """The lowest rank whose name both have, or `none`."""
    cosine: float
    differs: Differences | None
    """None where a barcode is not at hand."""


@dataclass(frozen=True, slots=True)
class Example:
    """A query of the list."""

    specimen: Specimen
    subset: str
    nearest: Nearest | None
    right: bool | None
    """None where it does not count at the rank."""


def _retrieval(catalog: Catalog, asked: Asked) -> Page:
    evaluation = answered(catalog, asked.of)
    one, choice = evaluation.retrieval(asked.option("partition"), asked.option("pair")), choice_of(asked)
    shown = portraits(catalog, evaluation)
    rows = _pictured_first(evaluation, one, shown, chosen(evaluation, one, choice))
    at, row = _place_of(evaluation, one, rows, asked)
    page = min(asked.number("page", 0) or (at or 0) // _A_PAGE + 1, max(1, -(-len(rows) // _A_PAGE)))
    begins = (page - 1) * _A_PAGE
    listed = rows[begins : begins + _A_PAGE]
    if row is None and len(listed):
        at, row = begins, int(listed[0])
    told: dict[str, Any] = {
        "evaluation": evaluation,
        "one": one,
        "choice": choice,
        "num": len(rows),
        "examples": [_example(evaluation, one, int(each), choice.rank, shown) for each in listed],
        "query": None if row is None else _example(evaluation, one, row, choice.rank, shown, drawn=True),
        "keys": [] if row is None else _nearest_keys(evaluation, one, row, shown),
        "at": at,
        "before": _id_at(evaluation, one, rows, None if at is None else at - 1),
        "after": _id_at(evaluation, one, rows, None if at is None else at + 1),
        "begins": begins,
        "page": page,
        "pages": max(1, -(-len(rows) // _A_PAGE)),
        "lacking": shown.lacking,
        "full": shown.shelves is not None and shown.shelves.has_pictures,
        "outcomes": OUTCOMES,
        "subsets": tuple(UNSEEN),
        "ranks": RANKS,
        "columns": {
            kind: (Asked.to(kind, asked.of, place), name_of(kind, evaluation, of))
            for kind, place, of in ((ROWS, _place(one), one), (SPECIMENS, {}, None))
        },
        "portraits": (Asked.to(PORTRAITS, asked.of), name_of(PORTRAITS, evaluation)) if _has_any(shown) else None,
    }
    run = asked.of.partition("/")[0]
    words = feature_name(one.words)
    return Page(
        title=f"Retrieval, {words}: {asked.of}",
        template="retrieval.html.j2",
        told=told,
        scripts=("example.js", "barcodes.js", "rows.js"),
        trail=((run, Asked("run", run)),),
        synthetic=evaluation.synthetic,
    )


def _place(one: Retrieval) -> dict[str, str]:
    return {"partition": one.place.partition, "pair": one.words}


def _has_any(shown: Portraits) -> bool:
    return shown.shown is not None or shown.shelves is not None


# --- Which queries are listed ---------------------------------------------------------------------------------------


def _pictured_first(evaluation: Answered, one: Retrieval, shown: Portraits, rows: Indices) -> Indices:
    """Rows of the retrieval, those whose queries were kept with a picture first, where not all have one."""
    if shown.shelves is not None or shown.shown is None:
        return rows
    kept = np.zeros(len(evaluation.ids), dtype=bool)
    kept[evaluation.rows(shown.shown.ids)] = True
    pictured = kept[one.queries[rows]]
    return np.concatenate([rows[pictured], rows[~pictured]])


def _place_of(evaluation: Answered, one: Retrieval, rows: Indices, asked: Asked) -> tuple[int | None, int | None]:
    """Where the specimen of an address stands among the listed ones, and its row; None where it is not listed.

    Raises:
        NotThereError: it was not asked.
    """
    specimen = asked.option("specimen")
    if not specimen:
        return None, None
    code = evaluation.row(specimen)
    found = np.flatnonzero(one.queries == code) if code is not None else np.empty(0)
    if not len(found):
        raise NotThereError(f"'{specimen}' is no {one.place.partition} query by {one.place.query} of {asked.of}.")
    at = np.flatnonzero(rows == found[0])
    return (int(at[0]) if len(at) else None), int(found[0])


def _id_at(evaluation: Answered, one: Retrieval, rows: Indices, at: int | None) -> str | None:
    return None if at is None or not 0 <= at < len(rows) else evaluation.id(one.queries[rows[at]])


# --- What is shown of them ------------------------------------------------------------------------------------------


def _example(
    evaluation: Answered, one: Retrieval, row: int, rank: Rank, shown: Portraits, drawn: bool = False
) -> Example:
    """A query with its nearest key; `drawn` where its barcode is wanted."""
    query = int(one.queries[row])
    truth = evaluation.codes[rank][query]
    counts = evaluation.missing == "a_class" or truth >= 0
    key = int(one.nearest[row])
    hit = bool(key >= 0 and truth == evaluation.codes[rank][key])
    nearest = None if key < 0 else _near(evaluation, one, row, 0, shown, barcode=None, drawn=False)
    subset = "unseen" if one.unseen[row] else "seen"
    return Example(_specimen(evaluation, query, query, shown, drawn), subset, nearest, hit if counts else None)


def _nearest_keys(evaluation: Answered, one: Retrieval, row: int, shown: Portraits) -> list[Nearest]:
    query = int(one.queries[row])
    barcode = shown.barcode(evaluation.id(query), evaluation.split(query))
    there = np.flatnonzero(one.keys[row] >= 0).tolist()
    return [_near(evaluation, one, row, place, shown, barcode, drawn=True) for place in there]


def _near(
    evaluation: Answered, one: Retrieval, row: int, place: int, shown: Portraits, barcode: str | None, drawn: bool
) -> Nearest:
    """One of the nearest keys; `barcode` is the query's, to which its own is compared."""
    query, key = int(one.queries[row]), int(one.keys[row, place])
    own = shown.barcode(evaluation.id(key), evaluation.split(key)) if barcode else None
    return Nearest(
        place + 1,
        _specimen(evaluation, key, query, shown, drawn),
        _shared(evaluation, query, key),
        float(one.cosines[row, place]),
        differences(barcode, own) if barcode and own else None,
    )


def _shared(evaluation: Answered, query: int, key: int) -> str:
    same = (codes[query] >= 0 and codes[query] == codes[key] for codes in evaluation.codes.values())
    return DEPTHS[max((number for number, is_same in enumerate(same, start=1) if is_same), default=0)]


def _specimen(evaluation: Answered, row: int, query: int, shown: Portraits, drawn: bool) -> Specimen:
    specimen = evaluation.id(row)
    names = [(rank, evaluation.name_of(row, rank)) for rank in RANKS]
    barcode = shown.barcode(specimen, evaluation.split(row)) if drawn else None
    return Specimen(
        specimen,
        tuple((rank, name, name is not None and name == evaluation.name_of(query, rank)) for rank, name in names),
        next((name for _, name in reversed(names) if name is not None), "no name"),
        shown.may_show(specimen),
        strip(barcode) if barcode else None,
        len(barcode.strip("N")) if barcode else 0,
    )


# --- The export -----------------------------------------------------------------------------------------------------


def exported(one: Retrieval) -> bool:
    """Whether an export holds a retrieval: those of the paper's pairs."""
    return (one.place.query, one.place.key) in PAPERS_PAIRS


def evaluations(catalog: Catalog) -> Iterable[Answered]:
    """All evaluations of finished runs whose answers can be read."""
    for run in catalog.finished():
        for name in catalog.evaluations(run):
            try:
                yield answered(catalog, name)
            except NotThereError:  # its own page says why
                continue


def are_few(catalog: Catalog) -> bool:
    """Whether an export has room for every page of every evaluation, or for the chief ones of each only."""
    return sum(len(catalog.evaluations(run)) for run in catalog.finished()) <= _FEW


def retrievals(catalog: Catalog) -> Iterable[Asked]:
    """Addresses of the exported retrievals."""
    for evaluation in evaluations(catalog):
        for one in filter(exported, evaluation.retrievals):
            yield Asked.to("retrieval", evaluation.name, _place(one))


KINDS = (
    Kind(
        name="retrieval",
        make=_retrieval,
        options=OPTIONS,
        listed=retrievals,
    ),
)
