"""What is behind one number of a table: its runs and their values, what it has to beat, what differs, what makes it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from statistics import fmean
from typing import Any

from results.dashboard.catalog import Catalog
from results.dashboard.names import PARTITIONS, feature_name
from results.dashboard.page import NotThereError
from results.differing import differing_fields
from results.layout import field_name, number_text, ours_text, published_text, value_text
from results.measured import FLOORS
from results.paper.data_statistics import COUNTED
from results.paper.row_spec import from_the_paper
from results.paper.verdicts import verdict
from results.run import Run
from results.sheet import PERCENT, Cell, Sheet
from workloads.record import Measurement

_STATISTICS = {"hours": "hours_per_epoch", "GB": "cuda_memory_gb"}
_SUBSETS = {"harmonic_mean": "harmonic mean of seen and unseen", "all": "seen and unseen together"}
_COUNTED_OF = {"micro": "queries", "macro": "classes"}
_FIELDS = ("method", "partition", "average", "query", "key")
"""Of a measurement, which cells call the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Behind:
    """A run behind a number."""

    name: str
    id: str
    """Of its page; of an evaluation in it, its run."""
    value: str | None
    """Its own number; None where it cannot be said which of its measurements is meant."""
    seed: int | None = None
    state: str | None = None
    problem: str | None = None
    started: str | None = None
    commit: str | None = None
    device: str | None = None
    command: str | None = None
    """That began it."""


def cell_facts(catalog: Catalog, sheet: Sheet, cell: Cell) -> dict[str, Any]:
    """Values of the page of a cell, by their names."""
    runs = {name: _run(catalog, name) for name in cell.runs}
    there = {name: run for name, run in runs.items() if run is not None}
    behind = _behind(cell, sheet.decimals, runs)
    return {
        "cell": cell,
        "row": {field_name(sheet, name): value_text(value) for name, value in cell.row.items() if value is not None},
        "verdict": verdict(cell),
        "published": published_text(cell, sheet.decimals) if cell.published is not None else None,
        "ours": ours_text(cell, sheet.decimals) if cell.ours is not None else None,
        "difference": number_text(cell, cell.difference, sheet.decimals, "+") if cell.difference is not None else None,
        "unit": PERCENT.get(cell.unit, cell.unit),
        "place": _place(cell),
        "floors": _floors(sheet, cell),
        "runs": behind,
        "among_runs": _among(there),
        "to_the_paper": _to_the_paper(cell, there),
        "commands": list(dict.fromkeys(one.command for one in behind if one.command)) or _counting(catalog, cell),
    }


def _place(cell: Cell) -> dict[str, str]:
    """What the number is of, in words, by what that is called."""
    n = f"{cell.n:,} {_COUNTED_OF.get(cell.average or '', '')}".strip() if cell.n is not None else None
    asked = feature_name(f"{cell.query}-{cell.key}") if cell.query and cell.key else None
    found = {
        "Partition": PARTITIONS.get(cell.partition or "", cell.partition),
        "Rank": cell.rank,
        "Average": cell.average,
        "Queries": _SUBSETS.get(cell.subset or "", cell.subset),
        "Retrieval": asked,
        "Right by": _nearest(cell.k) if cell.k else None,
        "n": n,
        "Method": cell.method,
        "Run": cell.label,
        "Data set": f"{cell.dataset}{' (SYNTHETIC)' if cell.synthetic else ''}" if cell.dataset else None,
        "Scale": cell.scale,
        "Recipe": cell.recipe,
    }
    return {name: str(value) for name, value in found.items() if value}


def _nearest(k: int) -> str:
    return f"the nearest key{'' if k == 1 else f', or one of the {k} nearest'} (top-{k})"


def _floors(sheet: Sheet, cell: Cell) -> list[tuple[str, str]]:
    """Chance and floors at the same place, with what they reach."""
    return [
        (str(other.label), ours_text(other, sheet.decimals))
        for other in sheet.cells
        if other.method in FLOORS
        and other is not cell
        and other.ours is not None
        and (other.block, other.column, other.rank) == (cell.block, cell.column, cell.rank)
    ]


# --- Runs ---------------------------------------------------------------------------------------------------------


def _run(catalog: Catalog, name: str) -> Run | None:
    try:
        return catalog.run(name.partition("/")[0])
    except NotThereError:
        return None


def _behind(cell: Cell, decimals: int | None, runs: Mapping[str, Run | None]) -> list[Behind]:
    values = _values(cell, runs)
    return [
        Behind(
            name=name,
            id=name.partition("/")[0],
            value=number_text(cell, values[name], decimals) if name in values else None,
            **(_about(run) if run else {"problem": "it is not under this folder of runs"}),
        )
        for name, run in runs.items()
    ]


def _about(run: Run) -> dict[str, Any]:
    argv = run.source.get("argv")
    return {
        "seed": run.spec.seed if run.spec else None,
        "state": run.state,
        "problem": run.problem,
        "started": run.source.get("started"),
        "commit": run.source.get("commit"),
        "device": run.status.get("device"),
        "command": shlex.join(map(str, argv)) if isinstance(argv, list) and argv else None,
    }


def _values(cell: Cell, runs: Mapping[str, Run | None]) -> dict[str, float]:
    """The number of each run; none unless their mean is the cell's, as else other measurements are behind it."""
    found = {name: _value(cell, run) for name, run in runs.items() if run}
    values = {name: value for name, value in found.items() if value is not None}
    if len(values) < len(runs) or not values or cell.ours is None:
        return {}
    return values if isclose(fmean(values.values()), cell.ours, rel_tol=1e-9, abs_tol=1e-12) else {}


def _value(cell: Cell, run: Run) -> float | None:
    if cell.unit in _STATISTICS:
        return run.statistic(_STATISTICS[cell.unit])
    names = {**{name: getattr(cell, name) for name in _FIELDS}, "level": cell.rank, "species": cell.subset}
    where = {name: value for name, value in names.items() if value is not None}
    measured: Measurement | None = run.find({**where, "metric": "top1"} if cell.k == 1 else where)
    return measured.value if measured else None


# --- What differs -------------------------------------------------------------------------------------------------


def _among(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Fields of the specs in which the runs differ, with the value of each run."""
    specs = {name: run.spec for name, run in runs.items() if run.spec}
    return {"names": list(specs), "fields": differing_fields(list(specs.values()))}


def _to_the_paper(cell: Cell, runs: Mapping[str, Run]) -> dict[str, tuple[str, str]]:
    """Fields in which the first run is not as the paper says of this row."""
    spec = next((run.spec for run in runs.values() if run.spec), None)
    if spec is None or cell.published is None:
        return {}
    return from_the_paper(int(cell.table) if cell.table.isdigit() else cell.table, cell.row, spec)


def _counting(catalog: Catalog, cell: Cell) -> Sequence[str]:
    """What counts a data set's own numbers, which no run is behind."""
    counted = cell.ours is not None and cell.table in map(str, COUNTED)
    return [f"clibd data stats DIR --out {shlex.quote(f'{catalog.address}/statistics')}"] if counted else []
