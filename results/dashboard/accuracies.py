"""The accuracies of one evaluation by rank, with what they have to beat, as text and as a chart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import pyarrow as pa

from results.dashboard.catalog import Catalog
from results.dashboard.charts import Axis, Chart, Series, bars
from results.dashboard.names import PARTITIONS, feature_name
from results.layout import ours_text, percent
from results.measured import FLOORS, measured_cell
from results.run import UNREADABLE, Measured, Run
from workloads.predictions import PAPERS_PAIRS
from workloads.record import Measurement, RunFolder
from workloads.spec import RANKS
from workloads.storage import Folder

SUBSETS = {"seen": "Seen", "unseen": "Unseen", "harmonic_mean": "H.M.", "all": "All"}
_AVERAGES = ("macro", "micro")
_TOP1 = ("top1", "classifier_top1")
"""Metrics that are shown: of retrieval, and of classifiers, which have their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Accuracies of one rank."""

    partition: str
    average: str
    rank: str
    values: tuple[str, ...]
    """With intervals, by subset."""
    n: str
    """Queries or species behind them."""
    beside: tuple[str, ...]
    """Chance, majority and floors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """One query and key feature."""

    name: str
    subsets: tuple[str, ...]
    beside: tuple[str, ...]
    rows: tuple[Row, ...]
    chart: Chart | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracies:
    """All of one evaluation."""

    evaluation: str
    about: Mapping[str, Any]
    retrievals: tuple[Retrieval, ...]
    """That of images by DNA first, where it is there."""
    problem: str | None = None


def accuracies(catalog: Catalog, evaluation: str) -> Accuracies:
    """The accuracies of an evaluation; one that cannot be read says why.

    Raises:
        NotThereError: there is none of this id.
    """
    run, _, name = evaluation.partition("/")
    place = catalog.place(run)
    folder = catalog.folder / place / name if name else catalog.folder / place
    version = catalog.now.version(place)
    return catalog.kept(("accuracies", evaluation, version), lambda: _read(catalog, evaluation, folder))


def _read(catalog: Catalog, evaluation: str, folder: Folder) -> Accuracies:
    try:
        about, table = catalog.evaluated(evaluation).facts, RunFolder(folder).measurement_table()
    except UNREADABLE as error:
        return Accuracies(evaluation=evaluation, about={}, retrievals=(), problem=str(error))
    return _told(evaluation, about, table)


def classified(run: Run) -> list[Accuracies]:
    """Those of a finished classifier, which says of each query a species, and no nearest keys; empty of other runs."""
    if run.problem or run.table is None or run.spec is None:
        return []
    spec = run.spec
    about = {"run": run.name, "dataset": spec.dataset, "synthetic": spec.synthetic, "recipe": spec.recipe}
    return [_told(run.name, about, run.table)]


def _told(evaluation: str, about: Mapping[str, Any], table: pa.Table) -> Accuracies:
    measured = Measured(table)
    asked = [one for one in _asked(table) if any(_own(measured, one))]
    asked.sort(key=lambda one: (one.method != "clibd", one.pair != ("image", "dna"), one.pair not in PAPERS_PAIRS))
    retrievals = tuple(_retrieval(about, measured, one) for one in asked)
    return Accuracies(evaluation=evaluation, about=about, retrievals=retrievals)


class _Way(NamedTuple):
    """One way of answering, by one query and key feature."""

    method: str
    pair: tuple[str, str]
    metric: str = "top1"

    @property
    def name(self) -> str:
        """In words; what is no plain retrieval says how it answers."""
        words = feature_name("-".join(self.pair))
        return words if self.method == "clibd" else f"{words}, {self.method.replace('_', ' ')}"


def _asked(table: pa.Table) -> list[_Way]:
    names = ["method", "query", "key", "metric"]
    there = table.select(names).group_by(names, use_threads=False).aggregate([]).to_pylist()
    rows = (row for row in there if row["method"] not in FLOORS and row["metric"] in _TOP1)
    return [_Way(row["method"], (row["query"], row["key"]), row["metric"]) for row in rows]


def _own(measured: Measured, way: _Way) -> Iterator[Measurement]:
    for partition, average, rank, subset in product(PARTITIONS, _AVERAGES, RANKS, SUBSETS):
        if found := _found(measured, way, partition, average, rank, subset):
            yield found


def _found(measured: Measured, way: _Way, partition: str, average: str, rank: str, subset: str) -> Measurement | None:
    place = {"partition": partition, "average": average, "level": rank, "query": way.pair[0], "key": way.pair[1]}
    return measured.find({"method": way.method, **place, "species": subset, "metric": way.metric})


def _retrieval(about: Mapping[str, Any], measured: Measured, way: _Way) -> Retrieval:
    own = list(_own(measured, way))
    subsets = tuple(subset for subset in SUBSETS if any(one.species == subset for one in own))
    compared = "harmonic_mean" if "harmonic_mean" in subsets else subsets[-1]
    rows, methods = [], dict[str, None]()
    for partition, average, rank in product(PARTITIONS, _AVERAGES, RANKS):
        found = {subset: _found(measured, way, partition, average, rank, subset) for subset in subsets}
        if any(found.values()):
            ways = {method: _Way(method, way.pair, way.metric) for method in FLOORS}
            beaten = {m: _found(measured, one, partition, average, rank, compared) for m, one in ways.items()}
            floors = {method: one for method, one in beaten.items() if one}
            methods |= dict.fromkeys(floors)
            rows.append((partition, average, rank, found, floors))
    told = tuple(
        Row(
            partition=PARTITIONS[partition],
            average=average,
            rank=rank,
            values=tuple(_text(about, one) for one in found.values()),
            n=" / ".join(
                f"{one.count:,}" if one else "–" for subset, one in found.items() if subset != "harmonic_mean"
            ),
            beside=tuple(percent(floors[method].value) if method in floors else "–" for method in methods),
        )
        for partition, average, rank, found, floors in rows
    )
    return Retrieval(
        name=way.name,
        subsets=tuple(SUBSETS[subset] for subset in subsets),
        beside=tuple(FLOORS[method].removeprefix("floor: ") for method in methods),
        rows=told,
        chart=_chart(way, subsets, compared, rows),
    )


def _text(about: Mapping[str, Any], one: Measurement | None) -> str:
    return "–" if one is None else ours_text(measured_cell(about, one, table="run", row={}, column=""))


def _chart(way: _Way, subsets: tuple[str, ...], compared: str, rows: list[tuple[Any, ...]]) -> Chart | None:
    """Bars by rank: macro accuracies on validation, or else what there is first."""
    shown = [row for row in rows if row[:2] == (rows[0][0], rows[0][1])]
    series = []
    for subset in subsets if len(subsets) == 1 else [one for one in subsets if one != "all"]:
        there = [(row[2], row[3][subset]) for row in shown if row[3][subset]]
        ends = all(one.low is not None and one.high is not None for _, one in there)
        series.append(
            Series(
                name=SUBSETS[subset],
                x=[rank for rank, _ in there],
                y=[one.value for _, one in there],
                low=[one.low for _, one in there] if ends else (),
                high=[one.high for _, one in there] if ends else (),
            )
        )
    for method in FLOORS:
        floors = [(row[2], row[4][method].value) for row in shown if method in row[4]]
        if floors:
            name = f"{FLOORS[method]}, {SUBSETS[compared]}"
            series.append(Series(name=name, x=[rank for rank, _ in floors], y=[value for _, value in floors]))
    note = f"{shown[0][1].capitalize()} top-1 on {PARTITIONS[shown[0][0]]}, with 95 % intervals."
    axis = Axis(title="Top-1 accuracy (%)", share=True)
    return bars(f"Accuracy by rank, {way.name}", Axis(title="Rank"), axis, series, note)
