"""How right any names are, whoever gave them; needs no model."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from clibd.showing import Rows, table_html
from clibd.specimens import names_of, table_of
from workloads.arrays import Names
from workloads.errors import UsageError
from workloads.evaluation.scores import class_table, score_table

_LINEAGE = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Ranks by which columns of a table are known, the last of them the deepest."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How right names are: numbers by rank, and every class by itself."""

    numbers: Rows
    """rank, average (micro, macro), species (seen, unseen, harmonic_mean, all), metric, value, low, high, counts."""
    classes: Rows
    """rank, name, num_queries, num_right, num_named, recall and precision with their intervals, f1."""
    num_without_answer: int
    """Specimens that have no row among the answers; they count as not named."""

    def of(self, rank: str, metric: str = "accuracy", average: str = "macro", species: str = "all") -> float:
        """One of the numbers, in [0, 1].

        Raises:
            UsageError: there is no such number.
        """
        rows = self.numbers.table.to_pylist()
        wanted = {"rank": rank, "metric": metric, "average": average, "species": species}
        for row in rows:
            if all(row[name] == value for name, value in wanted.items()):
                return float(row["value"])
        have = ", ".join(sorted({f"{row['rank']} {row['species']}" for row in rows}))
        raise UsageError(f"there is no {average} {metric} of {rank}, {species}; there are {have}")

    def _repr_html_(self) -> str:
        return table_html(self.numbers.table, self.numbers.title)


def score(
    truth: Any,
    predicted: Any,
    *,
    rank: str = "species",
    seen: "Collection[str] | Sequence[bool] | None" = None,
) -> Scores:
    """How right names are: at any rank, micro and macro with 95 % intervals, and class by class.

    A specimen without a true name at a rank is left out there; one that was given no name has no right one.

    Args:
        truth: names of one rank, a specimen each; or columns by rank: a table, or a mapping. With a column
            `specimen_id` rows of both tables are brought together by it.
        predicted: likewise, such as the table of `identify`; a list of names for a list.
        rank: what names are of, where they are lists.
        seen: the species that were seen in training, or for each specimen whether its species was; None: no number
            tells seen from unseen species.

    Raises:
        UsageError: lengths differ, ids stand twice, no rank is in both, or no specimen has a true name.
    """
    true, given, lost = _beside(_columns(truth, rank), _columns(predicted, rank))
    ranks = [name for name in true if name in given and name != "specimen_id"]
    if not ranks:
        raise UsageError(f"no rank is in both: truth has {', '.join(true)}, and what was predicted {', '.join(given)}")
    true, given = {name: true[name] for name in _ordered(true)}, {name: given[name] for name in ranks}
    numbers = score_table(true, given, _subset(seen, true))
    return Scores(
        Rows(numbers, f"Scores of {len(true[ranks[0]]):,} specimens"),
        Rows(class_table(true, given), "Every class"),
        lost,
    )


def _columns(given: Any, rank: str) -> dict[str, Names]:
    """Names by rank, and `specimen_id` where there is one."""
    if isinstance(given, Mapping) or hasattr(given, "columns") or isinstance(getattr(given, "table", None), pa.Table):
        table = table_of(given)
        names = [name for name in table.column_names if name in ("specimen_id", *_LINEAGE)]
        return {name: names_of(table[name].to_pylist()) for name in names}
    return {rank: names_of(list(given))}


def _ordered(columns: Mapping[str, Names]) -> list[str]:
    return [name for name in columns if name != "specimen_id"]


def _beside(true: dict[str, Names], given: dict[str, Names]) -> tuple[dict[str, Names], dict[str, Names], int]:
    """Both in the order of the truth, and how many of it have no row among the others."""
    if "specimen_id" not in true or "specimen_id" not in given:
        return true, given, 0
    place: dict[str, int] = {}
    for number, identifier in enumerate(given["specimen_id"].tolist()):
        if identifier in place:
            raise UsageError(f"{identifier} has two answers; ask for one row a specimen, without k= and all_ranks=")
        place[identifier] = number
    rows = [place.get(identifier, -1) for identifier in true["specimen_id"].tolist()]
    brought = {
        name: names_of([None if row < 0 else column[row] for row in rows])
        for name, column in given.items()
        if name != "specimen_id"
    }
    return true, brought, sum(row < 0 for row in rows)


def _subset(seen: "Collection[str] | Sequence[bool] | None", true: Mapping[str, Names]) -> Names | None:
    """`seen` or `unseen` for each specimen."""
    if seen is None:
        return None
    count = len(next(iter(true.values())))
    told = list(seen)
    if told and all(isinstance(value, bool | np.bool_) for value in told):
        if len(told) != count:
            raise UsageError(f"seen tells of {len(told):,} specimens, and there are {count:,}; say it of each")
        return names_of(["seen" if value else "unseen" for value in told])
    if "species" not in true:
        raise UsageError(
            "which specimens are of seen species is told by their species; give true species, or say it "
            "of each specimen: seen=[True, False, …]"
        )
    known = set(map(str, told))
    return names_of(["seen" if name in known else "unseen" for name in true["species"]])
