"""Who writes into a run: `lease.json` in its folder, which its holder renews, so that others see it live.

No clock is trusted: a lease is abandoned when whoever wants it has watched it stand still for a minute, and at once
where the process that held it is known to be gone: it was on this machine, since this boot. A holder that slept that
long finds out before it writes.
"""

import json
import os
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psutil

from workloads.command_line import clock, progress_words
from workloads.conditional import ConditionalFile
from workloads.errors import MissingPathError
from workloads.leftovers import machine
from workloads.plain_values import parsed
from workloads.printed_text import remark
from workloads.record import command_line
from workloads.run_errors import LeaseLostError, RunBusyError
from workloads.seals import LEASE
from workloads.storage import Folder

Busy = Literal["refuse", "wait", "follow"]
"""What to do where another process holds the run: end with an error, wait for it, or show how far it is meanwhile."""
BEAT = 10.0
"""Seconds between two beats."""
ABANDONED = 60.0
"""Seconds without one, as watched, after which a lease may be taken over."""
LOOK = 2.0
"""Seconds between two looks at a lease that is waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """What a lease says."""

    owner: str
    """The same for all processes that may take it from one another at once."""
    token: str
    """Of this holding of it alone."""
    host: str
    pid: int
    machine: str | None
    """Boot and process namespace, in which the number means a process; None where neither is known."""
    command: str
    began: float
    """Seconds since 1970, by the holder's clock, as is `beaten`."""
    beat: int
    """Counts up."""
    beaten: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the holder told: `state`, `epoch`, …"""

    @property
    def who(self) -> str:
        """Its command, and where that runs."""
        return f"`{self.command}` (process {self.pid} on {self.host})"

    def is_gone(self) -> bool:
        """Whether its process is known to be no more."""
        return self.machine is not None and self.machine == machine() and not psutil.pid_exists(self.pid)


@dataclass(frozen=True, slots=True)
class LeaseReading:
    """A lease as it was at a moment."""

    holder: Holder
    version: Any
    """Another one after each beat."""
    modified: float
    """Seconds since 1970, by the clock of the disk or store."""

    def is_free(self, owner: str) -> bool:
        """Whether somebody may have it at once: it is their own, or nobody's any more."""
        return self.holder.owner == owner or self.holder.is_gone()

    def silence(self, now: float) -> float:
        """Seconds since it last beat, if clocks are right; by the later one of the holder's and the store's."""
        return now - max(self.holder.beaten, self.modified)


def read_lease(folder: Folder) -> LeaseReading | None:
    """The lease of a folder; None where nobody holds it; an OSError where it cannot be read now."""
    found = ConditionalFile(folder, LEASE).read()
    return lease_of(found.content, found.version, found.modified) if found else None


def lease_of(content: bytes, version: Any, modified: float) -> LeaseReading:
    """The lease that a content says; one that says nothing has a holder of whom nothing is known."""
    try:
        said = parsed(content)
        numbers = {name: said[name] + 0 for name in ("pid", "began", "beat", "beaten")}
        holder = Holder(**{**{name: said[name] for name in Holder.__slots__}, **numbers, "facts": dict(said["facts"])})
    except (ValueError, TypeError, KeyError):
        holder = Holder(owner="", token="", host="unknown", pid=0, machine=None, command="", began=0, beat=0, beaten=0)
    return LeaseReading(holder, version, modified)


class Lease:
    """The lease that this process holds on a run; it beats by itself, in a thread of its own."""

    def __init__(self, folder: Folder, owner: str, argv: Sequence[str] | None = None) -> None:
        self.lost = threading.Event()
        """Whether somebody else has it."""
        self._file = ConditionalFile(folder, LEASE)
        self.pid = os.getpid()
        """A fork inherits the object, but not the right."""
        self._folder, path = folder, Path(folder.path)
        self._made = [each for each in (path, *path.parents) if folder.is_local and not each.exists()]
        command, now, token = shlex.join(command_line() if argv is None else argv), time.time(), uuid.uuid4().hex
        place: dict[str, Any] = {"host": socket.gethostname(), "pid": self.pid, "machine": machine()}
        self._said = Holder(owner=owner, token=token, command=command, began=now, beat=0, beaten=now, **place)
        self._facts: dict[str, Any] = {}
        self._version: Any = None
        self._beats, self._heard, self._tried = 0, _now(), _now()
        self._beating, self._due, self._ended = threading.Lock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)

    def tell(self, **facts: Any) -> None:
        """Say what is being done, to whoever reads the lease: with the next beat, and at once where the state changes.

        Facts are JSON values; they stay until told otherwise, and None takes one back.

        Raises:
            LeaseLostError: somebody else has it.
        """
        self.check()
        changed = facts.get("state", self._facts.get("state")) != self._facts.get("state")
        told = {**self._facts, **facts}
        self._facts = {name: value for name, value in told.items() if value is not None}
        if changed:
            self._due.set()

    def check(self) -> None:
        """Make sure that it is still held, as the last beat says; after a long silence by one more.

        Raises:
            LeaseLostError: somebody else has it.
        """
        now = _now()
        if not self.lost.is_set() and now - self._heard > ABANDONED / 2 and now - self._tried > BEAT:
            self._beat()
        if self.lost.is_set():
            found = None
            with suppress(OSError):
                found = read_lease(self._folder)
            raise LeaseLostError(str(self._folder), found.holder.who if found else "another process")

    def take(self, instead_of: LeaseReading | None) -> bool:
        """Take it where nobody has it, or instead of a holder that abandoned it; whether that came off."""
        content = self._content()
        version = self._file.create(content) if instead_of is None else self._file.replace(content, instead_of.version)
        self._version = self._still_own() if version is None else version
        if self._version is None:
            return False
        self._heard = _now()
        self._thread.start()
        return True

    def end(self) -> None:
        """Give it back; what cannot be removed now is abandoned."""
        self._ended.set()
        self._due.set()
        self._thread.join()
        with suppress(OSError):
            if not self.lost.is_set():
                self._file.remove(self._version)
            for made in self._made:
                made.rmdir()  # unless something was written into it

    def _beat_on(self) -> None:
        while not self.lost.is_set():
            self._due.wait(BEAT)
            self._due.clear()
            if self._ended.is_set():
                return
            self._beat()

    def _beat(self) -> None:
        """Renew it, if nobody else has it; if the store does not answer, the next beat tries again."""
        if not self._beating.acquire(timeout=BEAT / 2):
            return
        try:
            self._tried, self._beats = _now(), self._beats + 1
            version = self._file.replace(self._content(), self._version)
            self._version = self._still_own() if version is None else version
            self._heard = _now()
            if self._version is None:
                self.lost.set()
        except OSError:
            return
        finally:
            self._beating.release()

    def _still_own(self) -> Any:
        """The version of the file where it is one that this process wrote, of which the answer was lost."""
        found = read_lease(self._folder)
        return found.version if found is not None and found.holder.token == self._said.token else None

    def _content(self) -> bytes:
        said = replace(self._said, beat=self._beats, beaten=time.time(), facts=self._facts)
        return json.dumps(asdict(said), indent=1).encode()


_HELD: dict[str, Lease] = {}
"""Leases of this process, by the address of their folders: what is held is not taken again."""


@contextmanager
def held(
    folder: Folder,
    busy: Busy = "refuse",
    owner: str | None = None,
    waiting: Callable[[LeaseReading], None] | None = None,
    argv: Sequence[str] | None = None,
) -> Iterator[Lease]:
    """Hold the lease of a folder, until the block ends in whatever way. Within, it is held already.

    What was known of the folder before may be otherwise once it is held: another process may have finished it.

    Args:
        folder: of a run or a measurement; it need not be there.
        busy: what to do where another process holds it.
        owner: may take its own lease from another of its processes at once; None: only this process is its owner.
        waiting: told of who holds it, at each look; None says it on stderr.
        argv: the command that others are told of; None: this process's.

    Raises:
        RunBusyError: another process holds it, and it was not said to wait.
        LeaseLostError: by the end of the block another process had taken it.
        MissingPathError: it is a file.
        OSError: the disk or the store does not let it be written.
    """
    if folder.is_local and os.path.isfile(folder.path):  # else the disk is blamed for what cannot be written in it
        raise MissingPathError(str(folder), "folder", "It is a file; name the folder of a run, RUNS/SWEEP/RUN.")
    inherited = _HELD.get(folder.address)
    if inherited is not None and inherited.pid == os.getpid():
        yield inherited
        return
    owner = owner or uuid.uuid4().hex
    lease = Lease(folder, owner, argv)
    _take(lease, folder, busy, owner, waiting or _saying(busy))
    _HELD[folder.address] = lease
    try:
        yield lease
        lease.check()
    finally:
        del _HELD[folder.address]
        lease.end()


def _take(lease: Lease, folder: Folder, busy: Busy, owner: str, waiting: Callable[[LeaseReading], None]) -> None:
    """Take a lease as soon as it is free, or say who holds it."""
    seen, still_since = None, _now()
    while True:
        found = read_lease(folder)
        if found is not None and (seen is None or found.version != seen.version):
            beats = seen is not None or -BEAT < found.silence(time.time()) < ABANDONED
            if busy == "refuse" and beats and not found.is_free(owner):
                ago, runs = clock(max(0.0, found.silence(time.time()))), shlex.quote(folder.parent.parent.address)
                began = datetime.fromtimestamp(found.holder.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
                raise RunBusyError(str(folder), found.holder.who, began, ago, runs)
            seen, still_since = found, _now()
        if found is None or found.is_free(owner) or _now() - still_since > ABANDONED:
            if lease.take(found):
                return
            continue
        waiting(found)
        time.sleep(LOOK)


def _saying(busy: Busy) -> Callable[[LeaseReading], None]:
    """Says on stderr who is waited for, once, and of one that is followed also how far it is, when that changes."""
    say = cache(remark)

    def waiting(found: LeaseReading) -> None:
        say(f"waiting for {found.holder.who}" + (f": {progress_words(found.holder.facts)}" if busy == "follow" else ""))

    return waiting


def _now() -> float:
    """Seconds, counted also while the machine or the process sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
