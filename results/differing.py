"""In which fields specs differ: those of runs among themselves."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from workloads.spec import ExperimentSpec, spec_to_dict

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
    every = [_fields_of(spec) for spec in specs]
    names = dict.fromkeys(name for fields in every for name in fields if name not in leave_out)
    values = {name: tuple(fields.get(name, _ABSENT) for fields in every) for name in names}
    return {name: told for name, told in values.items() if len(set(told)) > 1}


@lru_cache(512)  # pages ask for the same runs behind many cells
def _fields_of(spec: ExperimentSpec) -> dict[str, str]:
    return flat_fields(spec_to_dict(spec))
