"""Attempts at a run: each group of workers that was started for it, where, how it ended, and what they printed.

    attempts/
        001.json              written when the group has its machines, and again when it has ended
        001-worker-0.log      what the first worker printed, the last of it where it is much

They stay when the run is finished, and are no part of its manifest.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from workloads.errors import DamagedError
from workloads.record import RunFolder
from workloads.storage import Folder

Outcome = Literal["finished", "failed", "lost", "preempted", "stopped", "grown"]

MOST_PRINTED = 2**20
"""Bytes that are kept of what one worker printed: the last."""
_NAME = re.compile(r"(\d{3,})\.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One group of workers."""

    number: int
    """From 1."""
    began: float
    """Seconds since 1970, as is `ended`."""
    ended: float | None = None
    hosts: tuple[str, ...] = ()
    """Of each worker, the first worker's first."""
    workers: int = 0
    outcome: Outcome | None = None
    """None until it has ended; for ever, where the driver was lost as well."""
    reason: str = ""
    """In a sentence, why it ended."""
    traceback: str = ""


class Attempts:
    """The attempts in a run's folder."""

    def __init__(self, run: Folder) -> None:
        self._folder = run / "attempts"

    def numbers(self) -> list[int]:
        """Of the attempts so far, the oldest first."""
        return sorted(int(match[1]) for name in self._folder.files() if (match := _NAME.fullmatch(name)))

    def all(self) -> list[Attempt]:
        """Every attempt, the oldest first."""
        return [self.read(number) for number in self.numbers()]

    def read(self, number: int) -> Attempt:
        """One of them.

        Raises:
            DamagedError: the file is not what was written.
        """
        content = self._folder.read_json(name := f"{number:03}.json")
        try:
            return Attempt(**{**content, "hosts": tuple(content["hosts"])})
        except (TypeError, KeyError) as error:
            raise DamagedError(f"{self._folder}/{name}", f"not an attempt ({error})") from error

    def begin(self, workers: int) -> int:
        """Note that a group is about to start; gives its number."""
        number = max(self.numbers(), default=0) + 1
        self._write(Attempt(number=number, began=time.time(), workers=workers))
        return number

    def place(self, number: int, hosts: Sequence[str]) -> None:
        """Note where the workers of a group are."""
        self._write(replace(self.read(number), hosts=tuple(hosts)))

    def end(self, number: int, outcome: Outcome, reason: str, traceback: str = "") -> None:
        """Note how a group ended."""
        self._write(replace(self.read(number), ended=time.time(), outcome=outcome, reason=reason, traceback=traceback))

    def drop(self, number: int) -> None:
        """Forget a group that never got its machines."""
        self._folder.remove(f"{number:03}.json")

    def keep_log(self, number: int, worker: int, printed: bytes) -> None:
        """Keep what a worker printed, the last of it where it is much."""
        self._folder.write(f"{number:03}-worker-{worker}.log", printed[-MOST_PRINTED:])

    def logs(self, number: int) -> dict[int, str]:
        """What the workers of a group printed, by their number."""
        wanted = re.compile(rf"{number:03}-worker-(\d+)\.log")
        matches = [match for name in self._folder.files() if (match := wanted.fullmatch(name))]
        return {int(m[1]): self._folder.read(m[0]).decode(errors="replace") for m in matches}

    def _write(self, attempt: Attempt) -> None:
        self._folder.write_json(f"{attempt.number:03}.json", asdict(attempt))


def saved_step(run: RunFolder) -> int:
    """Steps in the newest whole checkpoint of a run; 0 without one. `CheckpointStore` wants torch."""
    stored = run.folder / "checkpoints"
    whole = [name for name in stored.folders() if name.startswith("step-") and (stored / name).has("manifest.json")]
    return max((int(name.split("-")[1]) for name in whole), default=0)
