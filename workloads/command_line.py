"""How a command speaks: data on stdout; progress on stderr, and one sentence there when something is wrong."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

from workloads.errors import ClibdError

Tell = Callable[[int, int | None], None]
"""Is told how much of how much, if that is known, is done."""
_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run_command(app: Callable[[], None]) -> NoReturn:
    """Run a typer application; our own errors become a sentence and an exit code (2 for misuse), never a traceback."""
    try:
        app()
    except ClibdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a disk or network that fails, which no record is to blame for
        print(f"error: {error}. Start the same command again when this is mended.", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:  # typer's own end; of Ctrl-C it says no word
            raise
        print("interrupted; start the same command again to go on from here", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    sys.exit(0)


def stderr_console() -> Console:
    """The console of all progress; stdout stays for data."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
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
