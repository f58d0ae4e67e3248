"""Weights & Biases beside a training: a process of its own tells it, so that no step waits for a network."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shlex import quote
from typing import Literal

from workloads.record import RunFolder
from workloads.run_errors import StoppedError
from workloads.source_tree import ROOT
from workloads.training.wandb_teller import patience

WandbMode = Literal["off", "offline", "online"]
"""Where Weights & Biases keeps what it is told."""
_TELLER = "workloads.training.wandb_teller"
_KEEPING = 30.0
"""Seconds at most to write down what is to be told later."""
_STOPPING = 2.0
"""Seconds that W&B has when a run is stopped: its next start tells the rest."""


@contextmanager
def wandb_log(run: RunFolder, mode: WandbMode) -> Iterator[None]:
    """While it lasts, one W&B run is told of one of ours, with its spec as the configuration, unless `mode` says off.

    The log of record stays events.jsonl, which is all that is read for it. The key is taken from the environment or
    from `wandb login`, never from a command line. Nothing that W&B does or lacks ends a run.
    """
    teller = _begun(run, "--beside") if mode == "online" else None
    how = "stopped"
    try:
        yield
        how = "finished"
    except StoppedError:
        raise
    except Exception:
        how = "failed"
        raise
    finally:
        if teller and not _ended(teller, how, patience() + 1 if how != "stopped" else _STOPPING) and how != "stopped":
            words = f"python -m {_TELLER} {quote(str(run.folder))}"
            _say(f"Weights & Biases was not told everything. When it can be reached: {words}")
        if mode == "offline" and how != "stopped" and (keeper := _begun(run, "--beside", "--offline")):
            _ended(keeper, how, max(_KEEPING, patience()))


def _begun(run: RunFolder, *options: str) -> subprocess.Popen[bytes] | None:
    """The process that tells of a run until its standard input is closed."""
    words = [sys.executable, "-m", _TELLER, run.folder.address, *options]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the training, which ends this
        )
    except OSError as error:
        _say(f"Weights & Biases is not told of this run: {error}")
        return None


def _ended(process: subprocess.Popen[bytes], how: str, patience: float) -> bool:
    """Say how the run ended, and end the process with all that it started; whether it has told everything."""
    assert process.stdin
    with suppress(OSError):
        process.stdin.write(how.encode())
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == 0


def _say(words: str) -> None:
    with suppress(OSError):  # a terminal that has gone
        print(words, file=sys.stderr, flush=True)
