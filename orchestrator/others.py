"""What other commands make of the same sweep at the same time, as the leases of the runs say."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence

from workloads.command_line import progress_words
from workloads.lease import ABANDONED, LOOK, Busy, LeaseReading, held, read_lease
from workloads.record import RunFolder
from workloads.stopping import Stop


class Others:
    """Which runs are left to other commands.

    Args:
        busy: what to do about them.
    """

    def __init__(self, busy: Busy) -> None:
        self.owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        """Of the leases of this command."""
        self._busy = busy
        self._seen: dict[str, tuple[LeaseReading, float]] = {}

    def leave(self, run: RunFolder, anew: bool = False) -> LeaseReading | None:
        """The lease of another command that makes a run; None where nobody does, or whoever did so is gone.

        Args:
            run: not finished.
            anew: whether to begin to watch it, so that what was held a moment ago is not taken for abandoned.
        """
        found, now = read_lease(run.folder), time.monotonic()
        if found is None or found.holder.owner == self.owner or found.holder.is_gone():
            return None
        before, since = self._seen.get(run.id, (None, now))
        if before is None or before.version != found.version or anew:
            since = now
        self._seen[run.id] = (found, since)
        return found if now - since <= ABANDONED else None

    def at_the_start(self, runs: Sequence[RunFolder], stop: Stop, say: Callable[[str], None]) -> None:
        """Refuse, or wait until nobody else makes any of them, as was asked; or only say so.

        Raises:
            RunBusyError: another command makes one of them, and it was said to refuse.
            KeyboardInterrupt: it was asked to stop.
        """
        theirs = {run.id: found for run in runs if (found := self.leave(run))}
        if theirs and self._busy == "refuse":
            with held(next(run for run in runs if run.id in theirs).folder, "refuse", self.owner):
                pass
        for command in dict.fromkeys(f"`{one.holder.command}` on {one.holder.host}" for one in theirs.values()):
            say(f"{command} makes some of these runs: they are left to it, and what it leaves is made here")
        while self._busy == "wait" and any(self.leave(run) for run in runs):
            _sleep(stop)

    def watch(self, runs: Sequence[RunFolder], stop: Stop, show: Callable[[str, str], None]) -> None:
        """Wait until one of them has ended, or is left by who made it.

        Args:
            runs: that others make.
            stop: asked all the while.
            show: told of each run, by its id, how far it is.

        Raises:
            KeyboardInterrupt: it was asked to stop.
        """
        while True:
            for run in runs:
                if run.state() != "missing" or (found := self.leave(run)) is None:
                    return
                show(run.id, f"{found.holder.host}: {progress_words(found.holder.facts)}")
            _sleep(stop)


def _sleep(stop: Stop) -> None:
    until = time.monotonic() + LOOK
    while time.monotonic() < until:
        if stop():
            raise KeyboardInterrupt
        time.sleep(0.2)
