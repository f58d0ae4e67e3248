"""Notices a step that stands still: a hung disk, a batch that never comes, another worker that has been stopped.

Each worker watches itself in a thread, and only while it is in a step: opening, scoring and measuring take their time.
"""

import threading
import time
from collections.abc import Callable
from typing import Self

from workloads.printed_text import remark
from workloads.stopping import leave

STANDS_STILL = 75
"""Exit code of a worker that stood still."""
_PATIENCE = 60.0
_FIRST_PATIENCE = 1800.0
"""Seconds for the first step, in which kernels are chosen and towers compiled; as long as a collective waits."""
_WAITING, _COMPUTING = "waits for its batch", "computes, or waits for another worker"


def end_here(reason: str) -> None:
    """Say it, and end this process and its children at once; whoever started the workers starts them again."""
    remark(f"error: {reason}")
    leave(STANDS_STILL)


class Watch:
    """The watch of one worker; while it is entered, a thread looks."""

    def __init__(
        self,
        worker: str = "this worker",
        tell: Callable[[str], object] = end_here,
        patience: float = _PATIENCE,
        first_patience: float = _FIRST_PATIENCE,
    ) -> None:
        """Watch nothing yet.

        Args:
            worker: by which it is known, such as "worker 1 on HOST".
            tell: called in the thread, once, with what stands still.
            patience: seconds that a step may take beyond the longest one so far.
            first_patience: seconds that the first step may take.
        """
        self._worker, self._tell, self._patience, self._first_patience = worker, tell, patience, first_patience
        self._present: tuple[int, str, float] | None = None
        """Step, what it does, and since when it is on."""
        self._longest: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def begins(self, step: int) -> None:
        """A step is on, and its batch is waited for."""
        self._present = (step, _WAITING, time.monotonic())

    def arrived(self) -> None:
        """Its batch is there."""
        if self._present:
            step, _, since = self._present
            self._present = (step, _COMPUTING, since)

    def ends(self) -> None:
        """It is done."""
        if self._present:
            self._longest = max(self._longest or 0.0, time.monotonic() - self._present[2])
        self._present = None

    def rests(self) -> None:
        """No step is on."""
        self._present = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(min(1.0, self._patience / 4)):
            if present := self._present:
                step, doing, since = present
                most = self._first_patience if self._longest is None else self._patience + self._longest
                if (taken := time.monotonic() - since) > most:
                    longest = "it is the first" if self._longest is None else f"the longest took {self._longest:.1f} s"
                    self._tell(f"{self._worker}: step {step} stands still for {taken:.0f} s ({longest}); it {doing}")
                    return
