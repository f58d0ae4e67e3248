"""What was injected, and what came of it: counted in every process of the tests, summed where they end."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

PROMISES = {
    "altered results": "a result that is not the undisturbed one's, byte for byte",
    "undetected damages": "a changed file that was read, or verified, as if it were whole",
    "leaks": "a process, a segment of /dev/shm or a temporary file that stays",
    "hangs": "above 5 s; where a rank stands still, above 60 s",
    "tracebacks": "an error that is no sentence, or a process that dies of a file",
}
"""Each is to be counted 0 times."""


@dataclass
class Ledger:
    """What one process has done to the commands and their files, by kind."""

    faults: Counter[str] = field(default_factory=Counter)
    inputs: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    """Promises, and how often they were not kept."""

    def keep(self, promise: str, kept: bool, said: str) -> None:
        """Count a promise that is not kept, and fail the test.

        Raises:
            AssertionError: it is not.
        """
        assert promise in PROMISES
        if not kept:
            self.broken[promise] += 1
            raise AssertionError(f"{promise}: {said}")

    @contextmanager
    def collected(self, problems: list[str]) -> Iterator[None]:
        """Goes on after a promise that was not kept, which is told at the end of the test."""
        try:
            yield
        except AssertionError as error:
            problems.append(str(error))

    def add(self, other: Mapping[str, Mapping[str, int]]) -> None:
        """Add what another process has counted."""
        for name, counts in other.items():
            getattr(self, name).update(counts)

    def plain(self) -> dict[str, dict[str, int]]:
        """What travels between processes."""
        return {"faults": dict(self.faults), "inputs": dict(self.inputs), "broken": dict(self.broken)}

    def shortfall(self) -> list[str]:
        """Which of the numbers that were asked for by FAULTS and INPUTS were not reached."""
        asked = {"FAULTS": self.faults.total(), "INPUTS": self.inputs.total()}
        return [
            f"{done:,} {name.lower()} of the {int(least):,} that were promised"
            for name, done in asked.items()
            if done < int(least := os.environ.get(name, "0"))
        ]

    def lines(self) -> list[str]:
        """The table at the end."""
        rows = [f"{self.faults.total():>8,} faults"]
        rows += [f"{count:>12,} {kind}" for kind, count in sorted(self.faults.items())]
        rows += [f"{self.inputs.total():>8,} crafted inputs"]
        rows += [f"{count:>12,} {kind}" for kind, count in sorted(self.inputs.items())]
        return [*rows, *(f"{self.broken[promise]:>8,} {promise} ({words})" for promise, words in PROMISES.items())]


LEDGER = Ledger()
"""Of this process; at the end the first process has the sum."""
