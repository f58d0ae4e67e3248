"""Whether values that a file gave are of the kinds that its reader takes them for; the first that is not, in words.

Kinds are Python's own annotations, so that a dataclass or a `TypedDict` says once what its file holds.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    NoneType: "null",
}


def parsed(content: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or goes deeper than it can be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def misfit(value: Any, kind: Any, name: str = "") -> str | None:
    """Why a value as JSON has it is not of a kind, with the name of the first field that is not; None where it is.

    Of a `TypedDict` what is not required may be missing, and what it does not name may be anything; a dataclass knows
    no other field than its own.

    Args:
        value: text, numbers, true, false, null, and lists or tuples and objects of them.
        kind: `str`, `int`, `float` (finite; whole numbers too), `bool`, None, a `Literal`, a union, `list[…]`,
            `tuple[…, ...]`, `dict[str, …]`, `Mapping[str, …]`, a `TypedDict` or a dataclass of these.
        name: what the value is called; empty for the whole of a file.
    """
    return next(_misfits(value, kind, name), None)


def _misfits(value: Any, kind: Any, name: str) -> Iterator[str]:
    if kind is Any or _is_plainly(value, kind):
        return
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if not any(misfit(value, each) is None for each in inner):
            yield _is_not(name, value, " or ".join(map(_words, inner)))
    elif origin is Literal:
        if not any(value == each and type(value) is type(each) for each in inner):
            yield _is_not(name, value, _words(kind))
    elif origin in (list, tuple):
        if not isinstance(value, list | tuple):
            yield _is_not(name, value, "a list")
            return
        for number, each in enumerate(value):
            yield from _misfits(each, inner[0], f"{name}[{number}]")
    elif origin in (dict, Mapping) or is_typeddict(kind) or is_dataclass(kind):
        yield from _misfits_of_object(value, kind, name)
    elif not _is_plain(value, kind):
        yield _is_not(name, value, _words(kind))


def _misfits_of_object(value: Any, kind: Any, name: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _is_not(name, value, "an object")
        return
    before = f"{name}." if name else ""
    if get_origin(kind) in (dict, Mapping):
        hints: Mapping[str, Any] = dict.fromkeys(value, get_args(kind)[1])
        required = set[str]()
    else:
        hints, required = _hints(kind), _required(kind)
        if is_dataclass(kind) and (unknown := value.keys() - hints):
            yield f"there is no field {before}{min(unknown)}"
    if missing := required - value.keys():
        yield f"it does not say {', '.join(f'{before}{each}' for each in hints if each in missing)}"
    for field, each in value.items():
        if field in hints and not _is_plainly(each, hints[field]):
            yield from _misfits(each, hints[field], f"{before}{field}")


@cache  # evaluating annotations takes longer than all else, and a log has thousands of lines
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


@cache
def _required(kind: Any) -> set[str]:
    if is_typeddict(kind):
        return set(kind.__required_keys__)
    return {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}


def _is_plainly(value: Any, kind: Any) -> bool:
    """Whether a value is of just this type, as most are: asked first, as all other ways to see it take far longer."""
    return type(value) is kind and (kind is not float or math.isfinite(value))


def _is_plain(value: Any, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return value is None if kind in (None, NoneType) else type(value) is kind  # true is a whole number to Python


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return _WORDS.get(kind) or ("a list" if get_origin(kind) in (list, tuple) else "an object")


def _is_not(name: str, value: Any, wanted: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return f"{name or 'it'} is {shown}, and not {wanted}"
