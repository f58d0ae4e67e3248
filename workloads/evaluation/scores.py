"""How right any names are: at any rank, micro and macro, by kind of species, and class by class.

Of names that somebody gave to specimens whose names are known. No name is an answer too, and no right one:

    accuracy            share of queries whose name is right
    answered            share of queries that have a name
    accuracy_answered   of those that have one, the share whose name is right

Micro is the share among queries, macro the mean of the share within each name (`workloads.averages`). Queries without
a true name at a rank are left out there. Intervals are those of evaluations (`workloads.intervals`): macro draws whole
species, micro draws queries. Class by class they are Wilson's, as queries of one class are drawn one by one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from workloads.arrays import Codes, Indices, Mask, Names
from workloads.averages import Averages, Part
from workloads.data.specimens.schema import stands_for_nothing
from workloads.errors import UsageError
from workloads.intervals import Interval, bootstrap_intervals, species_units
from workloads.predictions import MISSING, NO_KEY

SCORES = pa.schema(
    [
        ("rank", pa.string()),
        ("average", pa.string()),  # micro or macro
        ("species", pa.string()),  # seen, unseen, harmonic_mean or all
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # of the 95 % interval; null where there is none
        ("high", pa.float64()),
        ("num_queries", pa.int64()),  # that count; of the harmonic mean those of both kinds
        ("num_classes", pa.int64()),  # names among them
    ]
)
CLASSES = pa.schema(
    [
        ("rank", pa.string()),
        ("name", pa.string()),
        ("num_queries", pa.int64()),  # that have this name
        ("num_right", pa.int64()),
        ("num_named", pa.int64()),  # that were given it
        ("recall", pa.float64()),  # right of those that have it; null where none has
        ("recall_low", pa.float64()),
        ("recall_high", pa.float64()),
        ("precision", pa.float64()),  # right of those that were given it; null where none was
        ("precision_low", pa.float64()),
        ("precision_high", pa.float64()),
        ("f1", pa.float64()),  # their harmonic mean
    ]
)


def score_table(truth: Mapping[str, Names], predicted: Mapping[str, Names], subset: Names | None = None) -> pa.Table:
    """The scores at every rank that both have; a row a number, with the columns of `SCORES`.

    Args:
        truth: names of the queries by rank, None where not known, (queries,) each.
        predicted: the names that they were given, None where none was.
        subset: `seen` or `unseen` for each query, (queries,); None: queries are not told apart, and all are `all`.

    Raises:
        UsageError: lengths differ, or no query has a name at any of the ranks.
    """
    rows: list[dict[str, Any]] = []
    for rank, (true, given) in _coded(truth, predicted).items():
        known = true != MISSING
        species = _codes_of(truth["species"])[0] if "species" in truth else true
        right = np.stack([true == given, given >= 0], axis=1).astype(np.float64)
        answered = known & (given >= 0)
        for metrics, counted, values in (
            (("accuracy", "answered"), known, right),
            (("accuracy_answered",), answered, right[:, :1]),
        ):
            if counted.any():
                rows += _rows(rank, metrics, true[counted], species[counted], _some(subset, counted), values[counted])
    if not rows:
        raise UsageError(
            "no query has a true name, so nothing can be right; give the names of the specimens as `truth`"
        )
    return pa.Table.from_pylist(rows, schema=SCORES)


def _some(subset: Names | None, counted: Mask) -> Names | None:
    return None if subset is None else subset[counted]


def _rows(
    rank: str, metrics: tuple[str, ...], true: Codes, species: Codes, subset: Names | None, values: Any
) -> Iterator[dict[str, Any]]:
    """The rows of some metrics at one rank, of queries that count.

    Args:
        rank: of the names.
        metrics: what each column of the values is called.
        true: codes of the true names, (queries,).
        species: codes of the species, `MISSING` where not known, (queries,).
        subset: as `score_table` says.
        values: what each query scored, (queries, metrics).
    """
    everyone: Names = np.full(len(true), "seen", dtype=object) if subset is None else subset
    blocks: dict[str, tuple[Indices, Indices | Codes]] = {
        "micro": (np.arange(len(true)), np.zeros(len(true), dtype=np.int64)),
        "macro": (species_units(species), true),
    }
    for average, (units, classes) in blocks.items():
        averages = Averages(everyone, units, [(classes, values)])
        intervals = bootstrap_intervals(averages)
        for part, numbers in averages.point().items():
            if subset is None and part != "all":
                continue
            inside = _inside(part, everyone)
            for column, metric in enumerate(metrics):
                low, high = _ends(intervals.get(part), column)
                yield {
                    **{"rank": rank, "average": average, "species": part, "metric": metric},
                    **{"value": float(numbers[column]), "low": low, "high": high},
                    **{"num_queries": int(inside.sum()), "num_classes": len(np.unique(true[inside]))},
                }


def _inside(part: Part, subset: Names) -> Mask:
    """The queries that a part is about."""
    return np.asarray(subset == part) if part in ("seen", "unseen") else np.ones(len(subset), dtype=bool)


def _ends(interval: Interval | None, column: int) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (float(interval.low[column]), float(interval.high[column]))


def class_table(truth: Mapping[str, Names], predicted: Mapping[str, Names]) -> pa.Table:
    """Every name at every rank that both have, with the columns of `CLASSES`: of the queries whose true name is known.

    Args:
        truth: as `score_table` takes it.
        predicted: likewise.

    Raises:
        UsageError: lengths differ.
    """
    tables = []
    for rank, (true, given) in _coded(truth, predicted).items():
        names = _codes_of(truth[rank], predicted[rank])[1]
        known, num = true != MISSING, len(names)
        having, named = (np.bincount(codes[known & (codes >= 0)], minlength=num) for codes in (true, given))
        right = np.bincount(true[known & (true == given)], minlength=num)
        recall, precision = _shares(right, having), _shares(right, named)
        doubled = having + named
        columns = {"num_queries": having, "num_right": right, "num_named": named}
        columns |= {"recall": recall[0], "recall_low": recall[1], "recall_high": recall[2]}
        columns |= {"precision": precision[0], "precision_low": precision[1], "precision_high": precision[2]}
        columns |= {"f1": np.divide(2 * right, doubled, out=np.full(num, np.nan), where=doubled > 0)}
        told = {"rank": pa.array([rank] * num, pa.string()), "name": pa.array(names, pa.string())}
        told |= {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
        table = pa.table(told, schema=CLASSES)
        tables.append(table.filter(pa.array(doubled > 0)))
    return pa.concat_tables(tables) if tables else CLASSES.empty_table()


def _shares(right: Indices, of: Indices) -> tuple[Any, Any, Any]:
    """Shares with the ends of Wilson's intervals, NaN where there is nothing to have a share of."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(right, np.maximum(of, 1), method="wilson")
    share = np.divide(right, of, out=np.full(len(of), np.nan), where=of > 0)
    return share, np.where(of > 0, low, np.nan), np.where(of > 0, high, np.nan)


def _coded(truth: Mapping[str, Names], predicted: Mapping[str, Names]) -> dict[str, tuple[Codes, Codes]]:
    """By rank the codes of true and of given names; `MISSING` where there is no true, `NO_KEY` where no given one."""
    coded: dict[str, tuple[Codes, Codes]] = {}
    for rank in (rank for rank in truth if rank in predicted):
        if len(truth[rank]) != len(predicted[rank]):
            raise UsageError(
                f"{len(truth[rank]):,} true names and {len(predicted[rank]):,} given ones ({rank}); give one a specimen"
            )
        codes, _ = _codes_of(truth[rank], predicted[rank])
        true, given = codes[: len(truth[rank])], codes[len(truth[rank]) :]
        coded[rank] = true, np.where(given == MISSING, np.int32(NO_KEY), given)
    return coded


def _codes_of(*columns: Names) -> tuple[Codes, list[str]]:
    """Codes of some columns of names, one after another, and the names, from the first of the alphabet on."""
    names = [None if name is None or stands_for_nothing(str(name)) else str(name) for one in columns for name in one]
    distinct = sorted({name for name in names if name is not None})
    place = {name: code for code, name in enumerate(distinct)}
    return np.array([MISSING if name is None else place[name] for name in names], dtype=np.int32), distinct
