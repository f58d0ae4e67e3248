"""Which pages of a dashboard stand for each kind: in a browser's tests, in pictures, and where speed is measured."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.site.kinds import kinds
from workloads.record import EVALUATION
from workloads.shown import SHOWN

_TABLE = "20"
"""The table that is looked at: the largest of the paper."""
_STATES = {"training": "run-at-work", "failed": "run-failed", "interrupted": "run-interrupted"}


def one_of_each(catalog: Catalog) -> dict[str, Asked]:
    """An address of every kind of pages that there is, by a name for it; of one evaluated run where pages are of runs.

    The run is one that has pictures, if any has: what is shown of it is most of what can be.
    """
    run = _run(catalog)
    found = {"overview": Asked("overview"), "tables": Asked("tables"), "data": Asked("data")}
    found |= {"table": Asked("table", _TABLE)} | dict(_cells(catalog))
    found |= dict(_of_states(catalog))
    begun = Counter(one.sweep for one in catalog.standings if one.folder)
    found["sweep"] = Asked("sweep", begun.most_common(1)[0][0])
    found["run"] = Asked("run", run)
    for name in ("retrieval", "species", "confusion", "embedding", "attention", "class-size"):
        found |= {name: Asked(name, run)} if name in kinds() else {}
    if calibrated := next(iter(kinds()["calibration"].listed(catalog)), None):
        found["calibration"] = calibrated
    found["confusion-species"] = Asked.to("confusion", run, {"rank": "species"})
    found["one-species"] = Asked.to("species", run, {"name": _commonest_species(catalog, run)})
    found |= {"compare": Asked("compare")} | dict(_compared(catalog))
    return found


def _run(catalog: Catalog) -> str:
    there = [run for run in catalog.finished() if catalog.evaluations(run)]
    pictured = [run for run in there if f"{catalog.place(run)}/{SHOWN}" in catalog.now.modified]
    own = [run for run in there if f"{catalog.place(run)}/{EVALUATION}" in catalog.now.modified]
    return [*pictured, *own, *there][0]


def _cells(catalog: Catalog) -> Iterator[tuple[str, Asked]]:
    """A cell that has a number of ours, and one that lacks it."""
    cells = catalog.sheets(int(_TABLE))[0].cells
    for name, filled in (("cell", True), ("cell-empty", False)):
        places = (place for place, cell in enumerate(cells) if (cell.ours is not None) == filled)
        if (place := next(places, None)) is not None:
            yield name, Asked.to("table", _TABLE, {"cell": place})


def _of_states(catalog: Catalog) -> Iterator[tuple[str, Asked]]:
    """A run in each state that there is."""
    for state, name in _STATES.items():
        runs = (one.run for one in catalog.standings if one.state == state and one.folder)
        if run := next(runs, None):
            yield name, Asked("run", run)


def _commonest_species(catalog: Catalog, run: str) -> str:
    """Of those that ask first."""
    predictions = catalog.evaluated(run).predictions
    found = predictions.found(predictions.places[0])
    codes = predictions.codes("species")[found.queries]
    return str(predictions.names("species")[np.bincount(codes[codes >= 0]).argmax()])


def _compared(catalog: Catalog) -> Iterator[tuple[str, Asked]]:
    """Two runs that answered the same queries."""
    if asked := next((one for one in kinds()["compare"].listed(catalog) if one.options), None):
        yield "compare-two", asked
