"""What a driver and the workers of its runs tell each other, through the key-value store that every Ray session has.

It takes no process and no port. Keys begin with Ray's number of the job, which the driver, the trials of Tune that it
starts, and their workers have in common, and nobody else has.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_OURS = b"clibd"
"""Namespace of the keys."""


def ask_to_stop(reason: str) -> None:
    """Ask every run of this driver's session to save a checkpoint and to stop.

    Args:
        reason: that their attempts will say, `interrupted` or `terminated`.
    """
    _put("stop", reason)


def asked_to_stop() -> str | None:
    """Why the runs of this session are to stop; None where they are not."""
    return _get("stop")


def give_notice(group: str, reason: str) -> None:
    """Tell the first worker of a group that a worker of it will be taken away.

    Args:
        group: its key.
        reason: `preempted`.
    """
    _put(f"notice/{group}", reason)


def notice(group: str) -> str | None:
    """Why a worker of a group will be taken away; None where none will."""
    return _get(f"notice/{group}")


def tell_driver(group: str, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Tell the driver of every epoch that a group has trained so far."""
    _put(f"epochs/{group}", json.dumps(epochs))


def epochs_told(group: str) -> list[dict[str, Any]]:
    """What the first worker of a group has told of its epochs."""
    return json.loads(_get(f"epochs/{group}") or "[]")  # type: ignore[no-any-return] # as it was given


def note_claim(run: str, placement_group: str) -> None:
    """Note which placement group, as hexadecimal digits, holds room for a run: whoever goes on with it gives it back.

    Ray itself does so only when the whole job has ended, and not when a trial of it is lost.
    """
    _put(f"claims/{run}", json.dumps([*claims(run), placement_group]))


def claims(run: str) -> list[str]:
    """The placement groups that were noted and not forgotten, some of which may be gone."""
    return json.loads(_get(f"claims/{run}") or "[]")  # type: ignore[no-any-return] # as they were noted


def forget_claims(run: str) -> None:
    """After they were given back."""
    _drop(f"claims/{run}")


def tell_places(group: str, places: Sequence[tuple[str, Sequence[str]] | None]) -> None:
    """Tell the driver where each worker of a group is: Ray's id of its node, and the files that hold what it prints."""
    _put(f"places/{group}", json.dumps(places))


def places_told(group: str) -> list[tuple[str, list[str]] | None]:
    """Where the workers of a group are, by number; empty before they are anywhere."""
    return [tuple(each) if each else None for each in json.loads(_get(f"places/{group}") or "[]")]


def forget(group: str) -> None:
    """Drop what a group, which has ended, was told and told of."""
    for what in ("notice", "epochs", "places"):
        _drop(f"{what}/{group}")


def _put(name: str, value: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(_key(name), value, namespace=_OURS)


def _get(name: str) -> str | None:
    from ray.experimental.internal_kv import _internal_kv_get

    value = _internal_kv_get(_key(name), namespace=_OURS)
    return value.decode() if value else None


def _drop(name: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(_key(name), namespace=_OURS)


def _key(name: str) -> str:
    import ray

    return f"{ray.get_runtime_context().get_job_id()}/{name}"
