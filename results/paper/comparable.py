"""Whether a number of ours may be compared with the published one beside it: the one rule, for every table.

Both must be of the same data set under its official split, at the same scale, after the same epochs, and measured by
the same protocol. Else the published number stands alone, and the reasons below once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from results.run import Run
from results.sheet import Cell
from sweeps.table import Table, Value, is_statistic
from workloads.spec import ExperimentSpec

_SPLITS = {"bioscan_1m": "BIOSCAN-1M", "insect": "INSECT"}
_THRESHOLDS = ("nn_is_du", "linear_is_du")
"""Ways of answering that the recipe `corrected` chooses another threshold for."""
UNMEASURED_NOISE = "ours has neither an interval nor several seeds"
_AGAIN = "`clibd evaluate RUN --data DIR` measures it again"


def why_not(
    table: Table, row: Mapping[str, Value], where: Mapping[str, Any], scale: str, runs: Sequence[Run]
) -> str | None:
    """Why a difference between ours and the published number of a cell would mean nothing; None where it does.

    Args:
        table: that the cell is of.
        row: fields that name its row.
        where: fields of its measurement, or of its statistic.
        scale: of the runs.
        runs: behind our number.
    """
    if is_statistic(where):
        return "hours and memory are those of the machine, and the paper's is another one"
    if any(run.facts.get("synthetic", run.spec.synthetic if run.spec else False) for run in runs):
        return "ours are of SYNTHETIC specimens"
    reasons = [
        *(_data(table, run.facts, run.spec) for run in runs),
        "the scale is small: small towers from scratch and a tenth of the batch" if scale != "paper" else None,
        *(_epochs(table, row, run) for run in runs),
        *(_protocol(where, run.facts) for run in runs),
    ]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or None


def _data(table: Table, facts: Mapping[str, Any], spec: ExperimentSpec | None) -> str | None:
    name = _SPLITS.get(table.dataset, table.dataset)
    if "official_split" not in facts:
        return f"ours do not say whether their split is the official one of {name}; {_AGAIN}"
    if facts["official_split"] != table.dataset:
        return f"ours are not of the official split of {name}"
    evaluated = facts.get("dataset"), facts.get("data_fingerprint", spec.data_fingerprint if spec else None)
    if spec is None or evaluated == (spec.dataset, spec.data_fingerprint):
        return None
    return f"ours was trained on another data set, {spec.dataset}"


def _epochs(table: Table, row: Mapping[str, Value], run: Run) -> str | None:
    published, spec = row.get("epochs", table.epochs), run.spec
    if spec is None or run.facts.get("untrained") or spec.objective != "align" or published in (None, spec.epochs):
        return None
    return f"ours was trained for {spec.epochs} epoch(s), the paper's for {published}"


def _protocol(where: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """The authors count a query without a name as one of a class; where each has one, it makes no difference."""
    if where.get("method") in _THRESHOLDS and facts.get("recipe") == "corrected":
        return "ours chose its threshold among all that differ, the paper's among 1,000 (recipe corrected)"
    if facts.get("missing_rank") != "left_out":
        return None
    unnamed = facts.get("num_without_name", {}).get(where.get("partition"), {}).get(where.get("level"), 1)
    return "ours leaves out queries without a name, which the paper counts (recipe corrected)" if unnamed else None


def differs(cell: Cell) -> bool | None:
    """Whether ours and published differ by more than noise; None where that cannot be said.

    Noise is a 95 % interval, or two standard errors over seeds; counts of a data set, which have `n` of no queries, are
    exact. What cannot be right as printed is no yardstick.
    """
    if cell.difference is None or cell.published is None or cell.ours is None or cell.published_note:
        return None
    if not has_noise(cell):
        return None
    rounding = {"share": 0.0005, "records": 0.005, "taxa": 0.5}.get(cell.unit, 0.0)
    if cell.standard_error is not None:
        return abs(cell.difference) > 2 * cell.standard_error + rounding
    if cell.low is not None and cell.high is not None:
        return not cell.low - rounding <= cell.published <= cell.high + rounding
    return abs(cell.difference) > rounding


def has_noise(cell: Cell) -> bool:
    """Whether it is known by how much ours may be off; what no run is behind is exact."""
    return not cell.runs or cell.standard_error is not None or (cell.low is not None and cell.high is not None)
