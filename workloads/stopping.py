"""Stopping what is asked to stop: by Ctrl-C, by SIGTERM, by a terminal that closes, or by whoever else gives a reason.

A training asks after every step whether it is to stop, and stops with a checkpoint: there the first signal only asks.
Elsewhere it ends what is being done, and what is open is closed. The second signal ends the process at once. Signals
are heard in a thread: the command's own may stand in a collective, or in a library that does not let go.
"""

import math
import os
import shlex
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NoReturn

from workloads.printed_text import escaped

Stop = Callable[[], str | None]
"""Why a training is to stop; None while it is not."""

REASONS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "disconnected"}
_ENDED_BY = {reason: 128 + number for number, reason in REASONS.items()}
_CHILDS_GRACE = 30
"""Seconds for which a child that is told to end still serves the step that its parent is in."""
_ASKED_EVERY = 0.1
_GRACE = 8.0
"""Seconds in which a command that is told to end has closed what is open; else it stands in something."""
_ECHO = 1.0
"""Seconds in which torchrun passes a signal on that its whole group may have had already."""
_PROGRAMS = ("clibd", "clibd-sweep", "clibd-results", "clibd-dashboard")
_said: list[str] = []
"""What was said of the end of this process, which is said once."""
_nothing_lost: list[str] = []
"""What is said of a command that has nothing to go on from, such as a server."""


def exit_code(reason: str) -> int:
    """Of a process that was stopped, as shells have it: 130 after Ctrl-C, 129 after a terminal's end, else 143."""
    return _ENDED_BY.get(reason, _ENDED_BY["terminated"])


def command_again(argv: list[str] | None = None) -> str:
    """The command that this process is, or that has started it as one of several, as a shell takes it."""
    if argv is None and "TORCHELASTIC_RUN_ID" in os.environ:
        import psutil

        with suppress(psutil.Error):
            return command_again(psutil.Process(os.getppid()).cmdline()[1:])
    program, *words = sys.argv if argv is None else argv
    if os.path.basename(program) == "__main__.py":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        words, program = ["-m", spec.parent if spec else os.path.dirname(program), *words], sys.executable
    elif program == "-m":
        words, program = [program, *words], sys.executable
    if any("://" in word for word in words):
        from workloads.storage import masked

        words = [masked(word) for word in words]
    name = os.path.basename(program)
    return shlex.join([name if shutil.which(name) == shutil.which(program) else program, *words])


def go_on(reason: str) -> str:
    """What a command says that was stopped."""
    if _nothing_lost:
        return f"{reason}; {_nothing_lost[-1]}"
    return f"{reason}; start the same command again to go on from here: {command_again()}"


def end_with(words: str) -> None:
    """From here on a signal ends this command with these words, as it has nothing to go on from."""
    _nothing_lost.append(words)


def say_end(words: str, stream: Any = None) -> None:
    """Say why this process ends, once; of several under torchrun the first one does."""
    if not _said and os.environ.get("RANK", "0") == "0":
        _said.append(words)
        with suppress(OSError):  # a terminal that has gone
            print(escaped(words), file=stream or sys.stderr, flush=True)


def never() -> None:
    """A `Stop` of what nobody stops."""


@contextmanager
def stop_by_signals(
    over: Callable[[], bool] = lambda: False,
    patience: float = math.inf,
    hears: Callable[[str], object] = lambda reason: None,
) -> Iterator[Stop]:
    """While it lasts signals of `REASONS` ask to stop, and the second ends the process. In the main thread only.

    Args:
        over: whether another worker has ended, or what runs it. Then there is no next step to stop after: once it was
            asked to stop, the process ends. It is asked in another thread.
        patience: seconds in which the block ends once it was asked to stop; else it stands in something that the same
            signal has ended, as that of a whole process group does, and the process ends.
        hears: told of the first signal, in another thread.

    Yields:
        Why to stop: one of `REASONS`.
    """
    heard: list[str] = []
    with _listening(heard, _nothing, over, patience, hears) as thread:
        try:
            yield lambda: heard[0] if heard else None
        except Exception:
            while heard and over():  # what was met is the end of the others, and the thread ends this one
                thread.join()
            raise


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While it lasts the first signal raises SystemExit in the main thread, and the second ends the process at once.

    So does the first one after eight seconds, in which what is open is closed. In the main thread only.
    """
    heard: list[str] = []
    _said.clear()
    _nothing_lost.clear()
    _COMMANDS.append(heard)
    try:
        with _listening(heard, _raise_once(), lambda: False, _GRACE, _leave_at_once):
            yield
    finally:
        _COMMANDS.pop()


_COMMANDS: list[list[str]] = []
"""What the commands heard that run in this process; the innermost is the last."""


@contextmanager
def ended_at_once_by(*reasons: str) -> Iterator[None]:
    """While it lasts these end a command at once, with all that it started, unless a training is to be saved."""
    _AT_ONCE.append(reasons)
    try:
        yield
    finally:
        _AT_ONCE.remove(reasons)


_AT_ONCE: list[tuple[str, ...]] = []


def _leave_at_once(reason: str) -> None:
    if any(reason in reasons for reasons in _AT_ONCE):
        _leave_for(reason)


def heard_signal() -> str | None:
    """Which signal the command in this process has heard, also within a `stop_by_signals`."""
    return _COMMANDS[-1][0] if _COMMANDS and _COMMANDS[-1] else None


def _raise_once() -> Callable[[int, Any], None]:
    raised: list[int] = []

    def end(number: int, _: object) -> None:
        if not raised:
            raised.append(number)
            raise SystemExit(exit_code(REASONS[signal.Signals(number)]))

    return end


@contextmanager
def _listening(
    heard: list[str],
    handler: Callable[[int, Any], None],
    over: Callable[[], bool],
    patience: float,
    hears: Callable[[str], object] = lambda reason: None,
) -> Iterator[threading.Thread]:
    """A thread that hears signals, while their handler in the main thread is this one."""
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    thread = threading.Thread(target=_listen, args=(ears, heard, over, patience, hears), name="signals", daemon=True)
    _keep_from_children()
    before = {number: signal.signal(number, handler) for number in _heard()}
    others = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    thread.start()
    try:
        yield thread
    finally:
        signal.set_wakeup_fd(others)
        for number, was in before.items():
            signal.signal(number, was)
        os.close(mouth)  # which ends the thread
        thread.join()
        os.close(ears)
        if _COMMANDS and heard:  # a further signal is the second, also when this is over
            _COMMANDS[-1][:] = _COMMANDS[-1] or heard[:1]


def end_quietly() -> None:
    """From here on a signal ends this process at once with its sentence: while it imports, and when it is over.

    Only in our own programs: whoever else imports us has handlers of its own.
    """
    if os.path.basename(sys.argv[0]) in _PROGRAMS:
        for number in _heard():
            signal.signal(number, _exit)


def _heard() -> list[signal.Signals]:
    """The signals that end commands; `nohup` has said that a terminal's end is none of them."""
    return [number for number in REASONS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def serve_until_the_end(_: int = 0) -> None:
    """What a child that prepares batches does with signals: its parent says when it is no longer needed.

    Ctrl-C and some managers of jobs signal a whole group of processes, and the step its parent is in needs it still.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in {signal.SIGTERM, signal.SIGHUP} & {*_heard()}:
        signal.signal(number, lambda *_: signal.alarm(_CHILDS_GRACE))


def leave(code: int) -> NoReturn:
    """End this process and all that descend from it at once, whatever its threads stand in."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(code)


def _listen(
    ears: int,
    heard: list[str],
    over: Callable[[], bool],
    patience: float,
    hears: Callable[[str], object],
) -> None:
    import select

    until, deaf = math.inf, 0.0
    while True:
        if heard and (over() or time.monotonic() > until):
            _leave_for(heard[0])
        if not select.select([ears], [], [], _ASKED_EVERY if heard else None)[0]:
            continue
        if not (told := os.read(ears, 64)):
            return
        for number in told:
            if not (reason := REASONS.get(signal.Signals(number))) or time.monotonic() < deaf:
                continue
            _write_no_more_to_a_closed_terminal()
            if heard:
                _leave_for(reason)
            heard.append(reason)
            until = time.monotonic() + patience
            deaf = time.monotonic() + (_ECHO if "TORCHELASTIC_RUN_ID" in os.environ else 0.0)
            hears(reason)


def _write_no_more_to_a_closed_terminal() -> None:
    """What is written to one is an error, which would end what saves."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


def _leave_for(reason: str) -> NoReturn:
    say_end(go_on(reason))
    leave(exit_code(reason))


def _exit(number: int, _: object) -> NoReturn:
    """Ends a process that has started no others yet; what it would need for more may be half imported."""
    reason = REASONS[signal.Signals(number)]
    with suppress(ImportError, AttributeError):
        say_end(go_on(reason))
    os._exit(exit_code(reason))


def _nothing(*_: object) -> None:
    """A handler: that there is one makes Python tell of the signal."""


@cache
def _keep_from_children() -> None:
    """A forked child would write the signals that it gets into our pipe."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
