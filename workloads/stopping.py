"""Stopping a training that is asked to: by Ctrl-C, by SIGTERM, or by whoever else gives a reason.

A training asks after every step whether it is to stop, and stops with a checkpoint. So the first signal only asks, and
the second ends the process at once. Signals are heard in a thread: the training's own may stand in a collective.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import NoReturn

Stop = Callable[[], str | None]
"""Why a training is to stop; None while it is not."""

REASONS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_ENDED_BY = {reason: 128 + number for number, reason in REASONS.items()}
_CHILDS_GRACE = 30
"""Seconds for which a child that is told to end still serves the step that its parent is in."""
_ASKED_EVERY = 0.1


def exit_code(reason: str) -> int:
    """Of a process that was stopped, as shells have it: 130 after Ctrl-C, else 143."""
    return _ENDED_BY.get(reason, _ENDED_BY["terminated"])


def go_on(reason: str) -> str:
    """What a command says that was stopped."""
    return f"{reason}; start the same command again to go on from here"


def never() -> None:
    """A `Stop` of what nobody stops."""


@contextmanager
def stop_by_signals(over: Callable[[], bool] = lambda: False, patience: float = math.inf) -> Iterator[Stop]:
    """While it lasts SIGINT and SIGTERM ask to stop, and the second of them ends the process. In the main thread only.

    Args:
        over: whether another worker has ended, or what runs it. Then there is no next step to stop after: once it was
            asked to stop, the process ends. It is asked in another thread.
        patience: seconds in which the block ends once it was asked to stop; else it stands in something that the same
            signal has ended, as that of a whole process group does, and the process ends.

    Yields:
        Why to stop: "interrupted" or "terminated".
    """
    heard: list[str] = []
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    thread = threading.Thread(target=_listen, args=(ears, heard, over, patience), name="signals", daemon=True)
    _keep_from_children()
    before = {number: signal.signal(number, _nothing) for number in REASONS}
    others = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    thread.start()
    try:
        yield lambda: heard[0] if heard else None
    except Exception:
        while heard and over():  # what was met is the end of the others, and the thread ends this one
            thread.join()
        raise
    finally:
        signal.set_wakeup_fd(others)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(mouth)  # which ends the thread
        thread.join()
        os.close(ears)


def serve_until_the_end(_: int = 0) -> None:
    """What a child that prepares batches does with signals: its parent says when it is no longer needed.

    Ctrl-C and some managers of jobs signal a whole group of processes, and the step its parent is in needs it still.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_CHILDS_GRACE))


def leave(code: int) -> NoReturn:
    """End this process and all that descend from it at once, whatever its threads stand in."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(code)


def _listen(ears: int, heard: list[str], over: Callable[[], bool], patience: float) -> None:
    import select

    until = math.inf
    while True:
        if heard and (over() or time.monotonic() > until):
            _leave_for(heard[0])
        if not select.select([ears], [], [], _ASKED_EVERY if heard else None)[0]:
            continue
        if not (told := os.read(ears, 64)):
            return
        for number in told:
            if reason := REASONS.get(signal.Signals(number)):
                if heard:
                    _leave_for(reason)
                heard.append(reason)
                until = time.monotonic() + patience


def _leave_for(reason: str) -> NoReturn:
    print(go_on(reason), file=sys.stderr, flush=True)
    leave(exit_code(reason))


def _nothing(*_: object) -> None:
    """A handler: that there is one makes Python tell of the signal."""


@cache
def _keep_from_children() -> None:
    """A forked child would write the signals that it gets into our pipe."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
