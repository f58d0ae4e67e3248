"""How a made-up training went, or goes: its log, the attempts at it, and the lease of whoever is at it now."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from workloads.attempts import Attempt, Outcome
from workloads.errors import UsageError
from workloads.lease import Holder
from workloads.seals import LEASE
from workloads.storage import Folder

EPOCH_SECONDS = 600.0
"""An epoch takes about so many."""
_LOG = "events.jsonl"
_STEPS = 40
"""Of an epoch; each tenth of them is logged."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What of a training is told."""

    epochs: int
    """That are to be trained."""
    reached: int
    """That have been."""
    skill: float
    """About 1; losses and scores differ by it."""
    hosts: tuple[str, ...]
    error: str
    """What went wrong, where anything did."""


def write_log(place: Folder, effort: Effort, chance: np.random.Generator) -> None:
    """The training log: some steps of each epoch, and its end."""
    place.write(_LOG, "".join(f"{json.dumps(event)}\n" for event in _events(effort, chance)).encode())


def _events(effort: Effort, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    for epoch in range(effort.reached):
        for step in range(epoch * _STEPS, (epoch + 1) * _STEPS, _STEPS // 4):
            yield {"event": "step", **_curves(effort, epoch, step, chance)}
        yield _epoch(effort, epoch, chance)


def _epoch(effort: Effort, epoch: int, chance: np.random.Generator) -> dict[str, Any]:
    """The line at the end of an epoch."""
    gigabytes = {"allocated_gb": 30.0, "reserved_gb": 38.0, "papers_memory_gb": 68.0}
    score = 0.6 * effort.skill * (1 - np.exp(-4 * (epoch + 1) / effort.epochs)) + chance.normal(0, 0.005)
    took = {"seconds": EPOCH_SECONDS + float(chance.normal(0, 20)), "waited": 0.02}
    curves = _curves(effort, epoch, (epoch + 1) * _STEPS - 1, chance)
    return {"event": "epoch", **curves, **took, **gigabytes, "score": float(np.clip(score, 0, 1))}


def _curves(effort: Effort, epoch: int, step: int, chance: np.random.Generator) -> dict[str, Any]:
    done = step / (effort.epochs * _STEPS)
    return {
        "epoch": epoch,
        "step": step,
        "loss": float(0.4 / effort.skill + 5.5 * np.exp(-6 * done) + chance.gamma(2, 0.02)),
        "temperature": 0.07 - 0.02 * done,
        "learning_rate": float(1e-4 * np.sin(np.pi * min(0.99, done + 0.01))),
        "gradient_norm": float(1 + chance.gamma(2, 0.2)),
        "specimens_per_second": float(800 + chance.normal(0, 15)),
    }


def write_attempts(place: Folder, effort: Effort, began: float, lost: bool, outcome: Outcome | None) -> None:
    """The groups of workers, and what they printed. Times are given, as `Attempts` would take the clock's.

    Args:
        place: the run's folder.
        effort: whose.
        began: when, in seconds since 1970.
        lost: whether one was lost before the last.
        outcome: of the last; None while it goes on.
    """
    outcomes: list[Outcome | None] = ["lost", outcome] if lost else [outcome]
    took = EPOCH_SECONDS * effort.reached / len(outcomes)
    for number, end in enumerate(outcomes, start=1):
        attempt = Attempt(
            number=number,
            began=began + (number - 1) * took,
            ended=None if end is None else began + number * took,
            hosts=effort.hosts,
            workers=len(effort.hosts),
            outcome=end,
            reason=effort.error if end in ("lost", "failed") else "",
        )
        (place / "attempts").write_json(f"{number:03}.json", asdict(attempt))
        lines = [f"epoch {epoch + 1} of {effort.epochs}" for epoch in range(effort.reached)]
        lines += [attempt.reason] if attempt.reason else []
        (place / "attempts").write(f"{number:03}-worker-0.log", "\n".join(lines).encode())


# --- Who is at it now ---------------------------------------------------------------------------------------------


def write_lease(place: Folder, effort: Effort, argv: Sequence[str]) -> None:
    """A lease that beats now, of a process on another machine."""
    now = time.time()
    facts = {"state": "training", "epoch": effort.reached, "epochs": effort.epochs, "specimens_per_second": 800.0}
    facts |= {"seconds_left": _left(effort.epochs, effort.reached), "workers": len(effort.hosts)}
    holder = Holder(
        owner="made-up",
        token=place.name,
        host=effort.hosts[0],
        pid=1,
        machine=None,  # a process of this machine would be known to be gone
        command=shlex.join(argv),
        began=now - effort.reached * EPOCH_SECONDS,
        beat=1,
        beaten=now,
        facts={**facts, "hosts": list(effort.hosts)},
    )
    place.write_json(LEASE, asdict(holder))


def _left(epochs: int, done: int) -> float:
    """Seconds until the last epoch is done."""
    return (epochs - done) * EPOCH_SECONDS


def live_run(runs: Folder) -> Folder:
    """Let one running run go on: an epoch more in its log and in its lease; the leases of all of them beat.

    Args:
        runs: a folder of made-up runs.

    Returns:
        The folder of the run: the first of those that have epochs left.

    Raises:
        UsageError: none has.
    """
    held = [place for place, holder in beat(runs).items() if holder.facts["epoch"] < holder.facts["epochs"]]
    if not held:
        raise UsageError(f"no made-up run in {runs} has epochs left: make the runs anew")
    place = held[0]
    holder = Holder(**place.read_json(LEASE))
    epochs, done = int(holder.facts["epochs"]), int(holder.facts["epoch"])
    effort = Effort(epochs=epochs, reached=done, skill=1.0, hosts=(holder.host,), error="")
    event = _epoch(effort, done, np.random.default_rng(done))
    place.write(_LOG, place.read(_LOG) + f"{json.dumps(event)}\n".encode())
    facts = {**holder.facts, "epoch": done + 1, "seconds_left": _left(epochs, done + 1)}
    place.write_json(LEASE, asdict(replace(holder, facts=facts)))
    return place


def beat(runs: Folder) -> dict[Folder, Holder]:
    """Let the leases of all running runs beat; gives what they say, by the runs' folders."""
    places = (runs / sweep / name for sweep in runs.folders() for name in (runs / sweep).folders())
    beating = {}
    for place in (place for place in places if place.has(LEASE)):
        held = Holder(**place.read_json(LEASE))
        beating[place] = replace(held, beat=held.beat + 1, beaten=time.time())
        place.write_json(LEASE, asdict(beating[place]))
    return beating
