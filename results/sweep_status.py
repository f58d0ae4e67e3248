"""How far the points of sweeps are: from run folders, leases and attempts alone, also while their cluster is gone.

A lease is live when it beat a minute ago or less, by its holder's clock or by that of the disk or store; whoever looks
again goes by whether it has changed meanwhile.
"""

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from workloads import lease
from workloads.errors import MissingPathError
from workloads.lease import LeaseReading, lease_of
from workloads.plain_values import parsed
from workloads.seals import LEASE, MANIFEST, STATUS
from workloads.storage import Folder
from workloads.tree import Tree

_POINTS, _LOG = "points.json", "events.jsonl"
_AT_ONCE = 32
"""Files that are read side by side."""
_ATTEMPT = re.compile(r"attempts/(\d+)\.json")
LIVE = ("training", "measuring", "starting", "waiting", "stopping")
"""States of a run whose lease beats, as its holder says them."""
OVER = ("finished", "failed", "impossible")
"""States that nothing but a new start of the sweep changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far one point is."""

    sweep: str
    label: str
    run: str | None
    """Its id; None of what cannot be."""
    folder: str | None = None
    """Its folder below that of runs; None of what has not begun."""
    state: str = "not begun"
    """`finished`, `failed`, one of `LIVE`, `interrupted` (begun, and nobody is at it), `not begun` or `impossible`."""
    waiting_for: str | None = None
    waited: float | None = None
    """Seconds."""
    epoch: int | None = None
    epochs: int | None = None
    specimens_per_second: float | None = None
    seconds_left: float | None = None
    restarts: int = 0
    hosts: tuple[str, ...] = ()
    silence: float | None = None
    """Seconds since the lease last beat, of one that is there."""
    error: str | None = None
    """The last one, in a line."""
    command: str | None = None
    """That began it."""


class Statuses:
    """Looks at the points of a sweep or of all of them, again and again."""

    def __init__(self, runs: Folder, sweep: str | None = None) -> None:
        self._runs, self._sweep = runs, sweep
        self._seen: dict[str, tuple[bytes, float, bool]] = {}
        """Each lease as it was last: what it said, when it was first seen so, and whether it had changed by then."""

    def read(self, tree: Tree | None = None) -> list[Standing]:
        """All points, sweep by sweep, in the order in which they were asked for.

        Args:
            tree: what lies there; None to look now.

        Raises:
            MissingPathError: there is no such sweep, or none at all.
        """
        tree = tree or Tree(self._runs)
        begun = _begun(tree.modified)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            asked = _asked(tree, begun, self._sweep, threads)
            places = _places(asked, begun)
            return list(threads.map(partial(self._one, tree, begun), asked, places))

    def _one(self, tree: Tree, begun: Mapping[str, set[str]], point: Standing, place: str | None) -> Standing:
        """The state of a point, by its folder."""
        if place is None:
            return point
        files = begun[place]
        numbers = sorted(int(match[1]) for name in files if (match := _ATTEMPT.fullmatch(name)))
        plain = replace(point, folder=place, state="interrupted", error=None, restarts=max(0, len(numbers) - 1))
        if STATUS in files and MANIFEST in files:
            return replace(plain, state="finished")
        attempt = tree.read_json(f"{place}/attempts/{numbers[-1]:03}.json") if numbers else {}
        plain = replace(plain, hosts=tuple(dict.fromkeys(attempt.get("hosts", ()))), error=_line(attempt.get("reason")))
        if STATUS not in files:
            if (found := self._lease(tree, place)) is not None:
                plain = replace(plain, silence=max(0.0, found.silence(time.time())))
                if self._is_live(place, found):
                    return _live(plain, found)
                plain = replace(plain, hosts=plain.hosts or (found.holder.host,))
            if done := (tree.read(f"{place}/{_LOG}") or b"" if _LOG in files else b"").count(b'{"event": "epoch"'):
                plain = replace(plain, epoch=done, epochs=tree.read_json(f"{place}/spec.json").get("epochs"))
        else:
            status = tree.read_json(f"{place}/{STATUS}")
            plain = replace(plain, state=str(status.get("state", "failed")), error=_line(status.get("reason")))
        argv = tree.read_json(f"{place}/provenance.json").get("argv")
        return replace(plain, command=shlex.join(argv) if argv else None)

    def _lease(self, tree: Tree, place: str) -> LeaseReading | None:
        name = f"{place}/{LEASE}"
        content = tree.read(name) if name in tree.modified else None
        if content is None:
            return None
        before = self._seen.get(place)
        if before is None or before[0] != content:
            self._seen[place] = content, time.monotonic(), before is not None
        return lease_of(content, content, tree.modified[name])

    def _is_live(self, place: str, found: LeaseReading) -> bool:
        _, since, beats = self._seen[place]
        if found.holder.is_gone() or time.monotonic() - since > lease.ABANDONED:
            return False
        return beats or abs(found.silence(time.time())) < lease.ABANDONED


def _begun(names: Mapping[str, float]) -> dict[str, set[str]]:
    """The folders of runs and measurements, as SWEEP/ID, with their files."""
    folders: dict[str, set[str]] = {}
    for name in names:
        sweep, _, rest = name.partition("/")
        run, _, file = rest.partition("/")
        if file:
            folders.setdefault(f"{sweep}/{run}", set()).add(file)
    return {place: files for place, files in folders.items() if files & {"spec.json", "point.json"}}


def _asked(tree: Tree, begun: Mapping[str, set[str]], only: str | None, threads: ThreadPoolExecutor) -> list[Standing]:
    """The points that sweeps noted in points.json, and runs that nobody asked for there.

    Raises:
        MissingPathError: there are none.
    """
    listing = {name.removesuffix(f"/{_POINTS}") for name in tree.modified if name.count("/") == 1 and _POINTS in name}
    sweeps = [name for name in sorted({*listing, *(place.split("/")[0] for place in begun)}) if only in (None, name)]
    if not sweeps:
        what = f"runs of '{only}'" if only else "runs"
        raise MissingPathError(str(tree.folder), what, "Name with --runs the folder that the sweep was given.")
    points = []
    for sweep in sweeps:
        noted = _noted(tree, sweep) if sweep in listing else []
        listed = {entry.get("id") or entry.get("label"): entry for entry in noted}
        others = [run for of, run in (place.split("/") for place in begun) if of == sweep and run not in listed]
        entries = threads.map(tree.read_json, [f"{sweep}/{run}/point.json" for run in others])
        listed |= {run: {**entry, "id": run} for run, entry in zip(others, entries, strict=True)}
        points += [_asked_for(sweep, entry) for entry in listed.values()]
    return points


def _noted(tree: Tree, sweep: str) -> list[dict[str, Any]]:
    try:
        noted = parsed(tree.read(f"{sweep}/{_POINTS}") or b"[]")
    except ValueError:
        return []
    return [entry for entry in noted if isinstance(entry, dict)] if isinstance(noted, list) else []


def _asked_for(sweep: str, entry: Mapping[str, Any]) -> Standing:
    run, label, why = entry.get("id"), str(entry.get("label") or entry.get("id")), _line(entry.get("impossible"))
    return Standing(sweep=sweep, label=label, run=run, state="impossible" if why else "not begun", error=why)


def _places(points: Sequence[Standing], begun: Mapping[str, set[str]]) -> list[str | None]:
    """Where the folder of each point lies: a finished one before others, in its own sweep before that of another."""
    by_run: dict[str, list[str]] = {}
    for place in begun:
        by_run.setdefault(place.split("/")[1], []).append(place)

    def rank(point: Standing, place: str) -> tuple[bool, bool]:
        return MANIFEST not in begun[place], not place.startswith(f"{point.sweep}/")

    return [min(by_run.get(one.run or "", ()), key=partial(rank, one), default=None) for one in points]


def _live(plain: Standing, found: LeaseReading) -> Standing:
    holder, facts = found.holder, found.holder.facts
    since, silence = facts.get("since"), plain.silence or 0.0
    same = ("waiting_for", "epoch", "epochs", "specimens_per_second", "seconds_left")
    told: dict[str, Any] = {name: facts.get(name) for name in same}
    return replace(
        plain,
        **told,
        state=str(facts.get("state", "starting")),
        waited=max(0.0, holder.beaten - since) + silence if isinstance(since, int | float) else None,
        restarts=facts.get("restarts") or plain.restarts,
        hosts=tuple(dict.fromkeys(facts.get("hosts") or plain.hosts or (holder.host,))),
        command=holder.command,
    )


def _line(text: object) -> str | None:
    return " ".join(str(text).split()) if text else None
