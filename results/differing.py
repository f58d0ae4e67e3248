"""In which fields specs differ: those of runs among themselves, and of a run from the paper's row it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from results.paper.tables import declared
from sweeps import SWEEPS
from sweeps.point import Base, Point
from sweeps.table import Value
from workloads.errors import ClibdError
from workloads.experiments import Data, base_spec
from workloads.spec import MODALITIES, RUN_PREFIX, ExperimentSpec, spec_to_dict

_OF_DATA = ("dataset", "data_fingerprint", "synthetic", "seed")
"""Fields that say what a run is of, which stands elsewhere."""
_ABSENT = "–"


def flat_fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested fields as text by their dotted names, such as `image.lora.rank`."""
    fields: dict[str, str] = {}
    for name, value in values.items():
        inner = flat_fields(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: str(value)}
        fields |= inner
    return fields


def differing_fields(specs: Sequence[ExperimentSpec], leave_out: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Fields in which any of some specs differ, with the value of each spec; a field that one lacks is a dash there."""
    every = [flat_fields(spec_to_dict(spec)) for spec in specs]
    names = dict.fromkeys(name for fields in every for name in fields if name not in leave_out)
    values = {name: tuple(fields.get(name, _ABSENT) for fields in every) for name in names}
    return {name: told for name, told in values.items() if len(set(told)) > 1}


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
