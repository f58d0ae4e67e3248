"""How a command speaks: data on stdout; progress on stderr, and one sentence there when something is wrong."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

from workloads.disk_errors import named
from workloads.errors import ClibdError
from workloads.printed_text import escaped, in_a_line, remark
from workloads.run_errors import LeaseLostError, StoppedError, StoppedSweepError
from workloads.stopping import REASONS, command_again, ended_by_signals, exit_code, go_on, heard_signal, leave, say_end

_STOPPED = tuple(map(exit_code, REASONS.values()))
Tell = Callable[[int, int | None], None]
"""Is told how much of how much, if that is known, is done."""
Counting = Callable[[str, str], Tell]
"""Begins to show a piece of work, by its name and the unit that it is counted in."""


def unseen(what: str, unit: str) -> Tell:
    """Shows nothing."""
    return lambda done, total: None


def run_command(app: Callable[[], None]) -> NoReturn:
    """Run a typer application; its end becomes a sentence and an exit code, as `tell_end` has them.

    SIGTERM and a closed terminal end it as Ctrl-C does, so that what is open is closed and what has been started ends.
    """
    with ended_by_signals():
        try:
            app()
        except BaseException as end:
            sys.exit(tell_end(end))
    sys.exit(0)


def run_program(app: Callable[[], None]) -> NoReturn:
    """The same as the whole of a process, which after a stop ends at once with all that it started."""
    try:
        run_command(app)
    except SystemExit as end:
        if end.code in _STOPPED:  # libraries take up to twenty seconds after our last line, and some say so
            with suppress(OSError):
                sys.stdout.flush()
            leave(int(end.code or 0))
        raise


def tell_end(end: BaseException) -> int | str | None:
    """Say in a sentence why a command ends; without a traceback, unless nobody expected it.

    Returns:
        Its exit code: 2 for misuse, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 1 for other errors.
    """
    if (reason := heard_signal()) and not isinstance(end, StoppedError):
        end = SystemExit(exit_code(reason))  # whatever the signal has led to
    if isinstance(end, LeaseLostError):
        remark(f"error: {end}")
        return 1
    if isinstance(end, StoppedError):
        say_end(str(end) if isinstance(end, StoppedSweepError) else f"{end}: {command_again()}")
        return exit_code(end.args[0])
    if isinstance(end, ClibdError):
        remark(f"error: {end}")
        return end.exit_code
    if isinstance(end, OSError):  # a disk or network that fails, which no record is to blame for
        remark(f"error: {named(end, '')}. Start the same command again when this is mended.")
        return 1
    if not isinstance(end, KeyboardInterrupt | SystemExit):
        remark("".join(traceback.format_exception(end)).rstrip())
        return 1
    code = end.code if isinstance(end, SystemExit) else exit_code("interrupted")  # of Ctrl-C typer says no word
    if code == signal.SIGTERM:  # as Ray's handler of it has it
        code = exit_code("terminated")
    for reason in REASONS.values():
        if code == exit_code(reason):
            say_end(go_on(reason))
    return code


class PlainConsole(Console):
    """A console to which text is text: no markup, no emoji, and control characters as `escaped` shows them."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does what is no text."""
        super().print(*(escaped(each) if isinstance(each, str) else each for each in objects), **how)

    def on_broken_pipe(self) -> None:
        """Say nothing from now on, where rich would end the process: work is not lost because nobody reads of it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def stderr_console() -> Console:
    """The console of all progress; stdout stays for data."""
    return PlainConsole(stderr=True, soft_wrap=True)


class Words(TextColumn):
    """Words of a task beside its bar, by a format such as `{task.description}`; they are text too."""

    def __init__(self, form: str) -> None:
        super().__init__(form, markup=False)

    def render(self, task: Task) -> Text:
        """What stands there now, on one line."""
        return Text(in_a_line(self.text_format.format(task=task)))


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def progress_words(facts: Mapping[str, Any]) -> str:
    """What a holder does and how far it is, as its lease says."""
    words = [str(facts.get("state", "starting"))]
    if what := facts.get("waiting_for"):
        words[0] += f" for {what}"
    if "epoch" in facts:
        words.append(f"epoch {facts['epoch']} of {facts.get('epochs', '?')}")
    if rate := facts.get("specimens_per_second"):
        words.append(f"{rate:,.0f} specimens/s")
    if left := facts.get("seconds_left"):
        words.append(f"about {clock(left)} left")
    return ", ".join(words)


class Bars(Progress):
    """Moving bars on a terminal, and a plain line now and then elsewhere."""

    def __init__(
        self, console: Console, *columns: ProgressColumn, line_every: float = 10.0, transient: bool = False
    ) -> None:
        super().__init__(*columns, console=console, transient=transient, disable=not console.is_terminal)
        self._line_every, self._last_line = line_every, time.monotonic()

    def show(self, task: TaskID, line: str, due: bool = False, **changes: Any) -> None:
        """Move a bar as `update` does, or say it in a line, if there was none for a while or this one is due."""
        self.update(task, **changes)
        now = time.monotonic()
        if self.disable and (due or now - self._last_line > self._line_every):
            self._last_line = now
            self.console.print(line)


@contextmanager
def counting(console: Console, what: str, unit: str) -> Iterator[Tell]:
    """A bar for work that counts; gives the function that is told how much of how much, if that is known, is done."""
    began = time.monotonic()
    columns = (SpinnerColumn(), Words("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Bars(console, *columns, transient=True) as bars:
        task = bars.add_task(what, total=None)
        if bars.disable:
            console.print(what)
        yield lambda done, total: bars.show(
            task, f"{what}: {_how_far(done, total, unit, began)}", completed=done, total=total
        )
    if not bars.disable:
        console.print(f"{what}: done")


def _how_far(done: int, total: int | None, unit: str, began: float) -> str:
    if not total:
        return f"{done:,} {unit}"
    left = f", {clock((time.monotonic() - began) * (total - done) / done)} left" if done else ""
    return f"{done:,} of {total:,} {unit}{left}"
