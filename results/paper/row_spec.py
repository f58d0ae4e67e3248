"""How the paper says that it ran a row of a table, as a spec, and in what a run of ours is otherwise."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from results.differing import differing_fields
from results.paper.tables import declared
from sweeps import SWEEPS
from sweeps.point import Base, Point
from sweeps.table import Value
from workloads.errors import ClibdError
from workloads.experiments import Data, base_spec
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.tower_specs import RUN_PREFIX

_OF_DATA = ("dataset", "data_fingerprint", "synthetic", "seed")
"""Fields that say what a run is of, which stands elsewhere."""


def from_the_paper(number: int | str, row: Mapping[str, Value], spec: ExperimentSpec) -> dict[str, tuple[str, str]]:
    """Fields in which a run differs from how the paper says that it ran a row: the paper's value, and the run's.

    Left out are the data set and the seed. Starts from other runs, whose ids hold theirs, count as alike.

    Args:
        number: of the table.
        row: fields that name the row, of a cell.
        spec: of the run.

    Returns:
        None of them also where the row is of no run that is trained.
    """
    published = spec_of_row(number, row, spec)
    if published is None:
        return {}
    both = differing_fields([_plain_starts(published), _plain_starts(spec)], (*_OF_DATA, "recipe"))
    return {name: (theirs, ours) for name, (theirs, ours) in both.items()}


def spec_of_row(number: int | str, row: Mapping[str, Value], spec: ExperimentSpec) -> ExperimentSpec | None:
    """The spec of a table's row at the paper's scale and in its own reading, on the data set and seed of another."""
    if number not in declared():
        return None
    data = Data(
        name=spec.dataset, fingerprint=spec.data_fingerprint, synthetic=spec.synthetic, modalities=(*MODALITIES,)
    )
    base = Base(spec=base_spec("paper", data, "paper", spec.seed), scale="paper", data=data)
    first, table = declared()[number]
    names = [first, *(name for name, sweep in SWEEPS.items() if name != first and table in sweep.tables)]
    for name in names:
        for point in _points(name, base):
            if point.kind == "train" and point.row and all(point.row.get(key) == value for key, value in row.items()):
                return point.spec
    return None


@lru_cache(64)  # pages ask for the same rows of many cells
def _points(sweep: str, base: Base) -> tuple[Point, ...]:
    try:
        return tuple(point for point in SWEEPS[sweep].points(base) if isinstance(point, Point))
    except ClibdError:  # it needs what this data set has not
        return ()


def _plain_starts(spec: ExperimentSpec) -> ExperimentSpec:
    for name in MODALITIES:
        tower = getattr(spec, name)
        if str(tower.weights).startswith(RUN_PREFIX):
            spec = replace(spec, **{name: replace(tower, weights=RUN_PREFIX)})
    return spec
