"""Confusion: which taxa are taken for which, from orders down to species."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.confusions import confusion_table, most_confused
from results.dashboard.catalog import Catalog
from results.dashboard.choosing import rank_of, within
from results.dashboard.names import feature_name
from results.dashboard.numbers import DEPTHS, UNSEEN, Answered, Retrieval, answered
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.dashboard.pages.retrieval import are_few, evaluations, exported
from results.dashboard.taxa import Share, shares
from workloads.arrays import Mask
from workloads.spec import RANKS, Rank

_NUM_TAXA, _MORE_ANSWERS, _NUM_TOP = 20, 8, 25
"""Rows of the matrix and further columns, which fit beside one another at 1440 pixels; pairs that are listed."""


@dataclass(frozen=True, slots=True)
class Confused:
    """Queries of one taxon that were taken for another."""

    truth: str
    found: str
    share: Share
    """Of all queries of the truth that count here."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix."""

    num: int
    share: float
    found: str | None
    """None for all others together."""

    @property
    def shade(self) -> int:
        """How dark it is, 0 to 4."""
        return 0 if not self.num else min(4, 1 + int(4 * self.share))


@dataclass(frozen=True, slots=True)
class Row:
    """What the queries of a taxon were taken for."""

    truth: str
    num: int
    cells: tuple[Cell, ...]


def _confusion(catalog: Catalog, asked: Asked) -> Page:
    evaluation = answered(catalog, asked.of)
    one = evaluation.retrieval(asked.option("partition"), asked.option("pair"))
    rank, taxon, subset = rank_of(asked, default="order"), asked.option("within"), asked.option("subset")
    mask = _queries_within(evaluation, one, rank, taxon, subset)
    place = catalog.place(evaluation.name.partition("/")[0])
    key = ("confusion", evaluation.name, catalog.now.version(place), one.place, rank, taxon, subset)
    table, num_nameless = catalog.kept(key, lambda: _table(evaluation, one, rank, mask))
    wrong = table[~table["right"]]
    top = wrong.head(_NUM_TOP)
    columns, rows = _matrix(table)
    depths = np.bincount(one.depth[mask], minlength=len(DEPTHS))
    total = int(table["num_queries"].sum())
    run = asked.of.partition("/")[0]
    return Page(
        title=f"Confusions, {feature_name(one.words)}: {asked.of}",
        template="confusion.html.j2",
        told={
            "evaluation": evaluation,
            "one": one,
            "rank": rank,
            "ranks": RANKS,
            "lower": _below(rank),
            "within": taxon,
            "subset": subset,
            "subsets": ("", *UNSEEN),
            "num": int(mask.sum()),
            "num_nameless": num_nameless,
            "wrong": shares([int(wrong["num_queries"].sum())], [total])[0],
            "num_pairs": len(wrong),
            "top": _confused(top),
            "columns": columns,
            "rows": rows,
            "depths": list(zip(DEPTHS, shares(depths, np.full(len(DEPTHS), depths.sum())), strict=True)),
            "beside": _beside(catalog, evaluation, one, rank),
        },
        trail=((run, Asked("run", run)),),
        synthetic=evaluation.synthetic,
    )


def _queries_within(evaluation: Answered, one: Retrieval, rank: Rank, taxon: str, subset: str) -> Mask:
    """The queries that are looked at, (queries,).

    Raises:
        NotThereError: none is of such a taxon, or there is no such subset.
    """
    if subset and subset not in UNSEEN:
        raise NotThereError(f"'{subset}' is no subset; there are {', '.join(UNSEEN)}.")
    mask = np.ones(len(one), dtype=bool) if not subset else one.unseen == UNSEEN[subset]
    if taxon:
        inside = within(evaluation, one, rank, taxon)
        if not inside.any():
            raise NotThereError(f"No {one.place.partition} query of {evaluation.name} is of '{taxon}' above {rank}.")
        mask &= inside
    return mask


def _table(evaluation: Answered, one: Retrieval, rank: Rank, mask: Mask) -> tuple[pd.DataFrame, int]:
    """The confusions of these queries, and how many were left out, as they or their nearest key have no name."""
    truth, found = evaluation.truth(one, rank)[mask], evaluation.found(one, rank)[mask]
    named = (truth >= 0) & (found >= 0)
    return confusion_table(truth[named], found[named], evaluation.names[rank]), int((~named).sum())


def _confused(top: pd.DataFrame) -> list[Confused]:
    counts = shares(top["num_queries"].to_numpy(), top["num_queries_of_truth"].to_numpy())
    return [Confused(*row) for row in zip(top["truth"], top["found"], counts, strict=True)]


def _matrix(table: pd.DataFrame) -> tuple[list[str], list[Row]]:
    """The most confused taxa against what they are taken for, and all others."""
    taxa, columns = most_confused(table, _NUM_TAXA, _MORE_ANSWERS)
    own = table[table["truth"].isin(taxa)]
    counts = {(row.truth, row.found): int(row.num_queries) for row in own.itertuples()}
    totals = {row.truth: int(row.num_queries_of_truth) for row in own.itertuples()}
    rows = []
    for truth in taxa:
        cells = [(counts.get((truth, found), 0), found) for found in columns]
        others = totals[truth] - sum(num for num, _ in cells)
        every = [*cells, (others, None)]
        rows.append(Row(truth, totals[truth], tuple(Cell(num, num / totals[truth], found) for num, found in every)))
    return columns, rows


def _below(rank: Rank) -> Rank | None:
    number = RANKS.index(rank) + 1
    return RANKS[number] if number < len(RANKS) else None


def _beside(catalog: Catalog, evaluation: Answered, one: Retrieval, rank: Rank) -> dict[str, float]:
    """What a random key and the commonest name reach, top-1 micro over all queries, where it was measured."""
    run = catalog.run(evaluation.name) if "/" not in evaluation.name else None
    found = {}
    for method, words in (("random_key", "a random key"), ("majority", "the commonest name")):
        where = {"method": method, "partition": one.place.partition, "average": "micro", "level": rank}
        where |= {"query": one.place.query, "key": one.place.key, "species": "all", "metric": "top1"}
        if run is not None and (number := run.find(where)):
            found[words] = number.value
    return found


def _listed(catalog: Catalog) -> Iterable[Asked]:
    """Every retrieval at every rank; where evaluations are many, the first one of each, by order and by species."""
    few = are_few(catalog)
    for evaluation in evaluations(catalog):
        for one in [one for one in evaluation.retrievals if exported(one)][: None if few else 1]:
            place = {"partition": one.place.partition, "pair": one.words}
            for rank in RANKS if few else ("order", "species"):
                yield Asked.to("confusion", evaluation.name, {**place, "rank": rank})


KINDS = (
    Kind(
        name="confusion",
        make=_confusion,
        options={"partition": "val", "pair": "image-dna", "rank": "order", "within": "", "subset": ""},
        listed=_listed,
    ),
)
