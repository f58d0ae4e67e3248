"""A process of its own in which crafted files are read and commands fail, so that a crash or a hang is only counted.

Stage ──▶ python -m tests.faults.stage: a line of JSON asks, a line answers
            ├── read: an input is made by its seed and read here
            └── run: a command in a fork, which costs no imports, with a fault at the k-th time that it writes
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 60.0
"""Seconds of a clock, on a machine that does other work beside; what took how much of a processor is in the answers."""
_IMPORTS = 600.0
"""The same for what it needs before it can answer at all."""
KILL = "SIGKILL"
"""The fault that ends a process at once."""
_ROOT = Path(__file__).parents[2]


class DiedError(Exception):
    """The process ended, or had to be ended, instead of answering."""


class Stage:
    """Starts the process when it is needed, and anew after it has died."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = set[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    assert stream is not None
                    stream.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, **asked: Any) -> dict[str, Any]:
        """What the process answers.

        Raises:
            DiedError: it died, or did not answer in `PATIENCE`; what it has to import before is not counted.
        """
        if self._process is None:
            self._process, self._ready = self._started(), set()
        if asked["do"] not in self._ready:
            self._answer({"do": "import", "what": asked["do"]}, _IMPORTS)
            self._ready.add(asked["do"])
        return self._answer(asked, asked.get("patience", PATIENCE))

    def _answer(self, asked: dict[str, Any], patience: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], patience)
            answer = self._process.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, answer = [self._process.stdout], b""
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        hangs = not ready or self._process.wait() == -signal.SIGPROF
        code = "it hangs" if hangs else f"it ended with {self._process.wait()}"
        self.end()
        raise DiedError(code)

    def _started(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        settings = {
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "CLIBD_CACHE": str(self.folder / "cache"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.stage"],
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("ab"),
        )


# --- The process itself -------------------------------------------------------------------------------------------


def _serve() -> None:
    import resource

    from tests.faults import performing

    memory = 12 << 30  # of addresses: what would take all memory of the machine ends in an error here
    resource.setrlimit(resource.RLIMIT_AS, (memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed is no answer
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        answers.write(json.dumps(performing.perform(asked)).encode() + b"\n")
        answers.flush()


def end_group(number: int, after: float = 0.0) -> None:
    """Kill a process group, if there still is one."""
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)


if __name__ == "__main__":
    _serve()
