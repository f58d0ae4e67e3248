"""Sets fields of an experiment by their names, as text from a command line: `image.fine_tuning=lora`.

Every field of the spec and of its towers has a name here, is checked by its type, and what does not exist is answered
with what does. Imports neither torch nor Ray.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from workloads.errors import UsageError
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict

_DECIDED = {
    "dataset": "--data decides it",
    "data_fingerprint": "--data decides it",
    "synthetic": "--data decides it",
    "recipe": "--recipe sets the fields of a reading, this only its name",
}
"""What is no choice of its own, and what is to be used instead."""
_FROM_ZERO = ("seed", "first_selected_epoch", "layers", "shift", "indels")
"""Whole numbers that count from 0; all others are sizes."""


def fields_of(settings: Sequence[str]) -> set[str]:
    """The names that settings, `NAME=VALUE` each, give a value."""
    return {setting.partition("=")[0].strip() for setting in settings}


def with_fields(spec: ExperimentSpec, settings: Sequence[str]) -> ExperimentSpec:
    """A spec in which some fields have other values.

    Args:
        spec: the experiment.
        settings: `NAME=VALUE` each, all taken together, of one name the last; a tower's field is `image.depth`, a
            tuple is `image,dna`, and no value is `none`.

    Raises:
        UsageError: there is no such field or value; the message has the nearest ones.
        SpecError: the fields contradict each other.
    """
    plain = spec_to_dict(spec)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: no value; write NAME=VALUE, such as image.fine_tuning=lora")
        *towers, last = name.strip().split(".")
        value = _value(name.strip(), _type_of(name.strip()), text.strip())
        inner = plain
        for tower in towers:
            inner = inner[tower]
        inner[last] = value
    return spec_from_dict(plain)


def _field_types(cls: Any = ExperimentSpec, prefix: str = "") -> Mapping[str, Any]:
    """The type of every field by its name, those of towers as `image.depth`."""
    types: dict[str, Any] = {}
    for name, kind in get_type_hints(cls).items():
        types |= _field_types(kind, f"{prefix}{name}.") if is_dataclass(kind) else {f"{prefix}{name}": kind}
    return types


def _type_of(name: str) -> Any:
    types = _field_types()
    if name in _DECIDED:
        raise UsageError(f"--set {name}: it is no choice; {_DECIDED[name]}")
    if name in types:
        return types[name]
    inside = [known for known in types if known.startswith(f"{name}.")]
    if inside:
        raise UsageError(f"--set {name}: it has fields of its own: {', '.join(inside)}")
    same = [known for known in types if known.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    near = same or difflib.get_close_matches(name, [known for known in types if known not in _DECIDED], n=3)
    known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(types)}"
    raise UsageError(f"--set {name}: there is no such field; {known}")


def _value(name: str, kind: Any, text: str) -> Any:
    """A value of a type, as JSON has it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if text.lower() == "none" and NoneType in inner:
            return None
        return _value(name, next(each for each in inner if each is not NoneType), text)
    if origin is tuple:
        return [_value(name, inner[0], part.strip()) for part in text.split(",") if part.strip()]
    if origin is Literal:
        return text if text in inner else _refuse(name, text, list(inner))
    if kind is bool:
        values = {"true": True, "false": False}
        return values[text.lower()] if text.lower() in values else _refuse(name, text, list(values))
    return _number(name, kind, text) if kind in (int, float) else text or _refuse(name, text, ["a name"])


def _number(name: str, kind: type[int] | type[float], text: str) -> Any:
    lowest = 1 if kind is int and name.rsplit(".", 1)[-1] not in _FROM_ZERO else 0
    highest = 1 if name.endswith("dropout") else math.inf
    try:
        number = kind(text)
    except ValueError:
        return _refuse(name, text, ["a whole number" if kind is int else "a number"])
    if not (math.isfinite(number) and lowest <= number <= highest):
        return _refuse(name, text, [f"at least {lowest}" if highest == math.inf else f"in [{lowest}, {highest}]"])
    return number


def _refuse(name: str, text: str, values: list[str]) -> Any:
    near = difflib.get_close_matches(text, values, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    optional = ", none" if NoneType in get_args(_field_types()[name]) else ""
    raise UsageError(f"--set {name}={text}: {meant}The value is {' or '.join(values)}{optional}")
