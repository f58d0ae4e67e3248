"""How a run that went on under other circumstances than it began with says so, for whoever reads its provenance."""

from collections.abc import Mapping, Sequence
from typing import Any


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What is otherwise, by name: what it was, and what it is; None where it was, or is, not there."""
    names = [*before, *(name for name in now if name not in before)]
    return {name: [before.get(name), now.get(name)] for name in names if before.get(name) != now.get(name)}


def words(step: int, changed: Mapping[str, Sequence[Any]]) -> str:
    """That a run goes on otherwise than it began, in a sentence."""
    return (
        f"the run goes on from step {step} otherwise than before, so its last bits will not be those of one that was "
        f"not interrupted: {_each(changed)}"
    )


def told(source: Mapping[str, Any]) -> str:
    """What of it a provenance tells, in a clause; empty where the run was never continued otherwise."""
    times = [f"from step {each['step']} ({_each(each['changed'])})" for each in source.get("continued", ())]
    return f"it went on under other circumstances {', and '.join(times)}" if times else ""


def _each(changed: Mapping[str, Sequence[Any]]) -> str:
    pairs = {name: [*both, None, None][:2] for name, both in changed.items()}
    return "; ".join(f"{name} was {_word(was)} and is {_word(now)}" for name, (was, now) in pairs.items())


def _word(value: object) -> str:
    return "not set" if value is None else str(value)[:40]
