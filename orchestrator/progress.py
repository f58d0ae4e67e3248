"""What a command shows while it works: on stderr, moving bars on a terminal and plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import SpinnerColumn as Spinner

from orchestrator.plan import Pace, Plan
from workloads.record import RunFolder
from workloads.storage import Folder

_LINE_EVERY = 10.0
"""Seconds between plain lines."""


def stderr_console() -> Console:
    """The console of all progress; stdout stays for data."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def counting(console: Console, what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for work that counts; gives the function that is told how much of how much, if that is known, is done."""
    if not console.is_terminal:
        console.print(what)
        last = [time.monotonic()]

        began = time.monotonic()

        def tell(done: int, total: int | None) -> None:
            if time.monotonic() - last[0] > _LINE_EVERY:
                last[0] = time.monotonic()
                left = f" of {total:,}" if total else ""
                rest = f", {clock((last[0] - began) * (total - done) / done)} left" if total and done else ""
                console.print(f"{what}: {done:,}{left} {unit}{rest}")

        yield tell
        return
    columns = (
        Spinner(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
    console.print(f"{what}: done")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class SweepDisplay:
    """Which runs train, how far each is, and how long the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._overall: TaskID | None = None
        self._labels: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._at_once = 1
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        self._last_line = 0.0
        self._pace = Pace({}, {})

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line)

    def begin(self, todo: Plan, num_training: int, at_once: int) -> None:
        """Show the runs that are about to start."""
        self._at_once = at_once
        self._labels = {point.spec.id: point.label for point in todo.to_run}
        self._epochs = {point.spec.id: point.spec.epochs for point in todo.to_run}
        self._pace = Pace({run: num_training * epochs for run, epochs in self._epochs.items()}, {})
        if not self._console.is_terminal:
            return
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=self._console)
        self._overall = self._bars.add_task("all runs", total=sum(self._epochs.values()), state="starting Ray Train")
        for run, label in self._labels.items():
            task = self._bars.add_task(f"  {label}", total=self._epochs[run], state="waiting", start=False)
            self._tasks[run] = task
        self._bars.start()

    def end(self) -> None:
        """Stop moving."""
        if self._bars:
            self._bars.stop()

    def started(self, run: str) -> None:
        """A run's trial began."""
        self._begun[run] = time.monotonic()
        if self._bars:
            self._bars.start_task(self._tasks[run])
            self._bars.update(self._tasks[run], state="starting its workers")
        else:
            self._console.print(f"{self._labels[run]}: starting its workers")

    def trained(self, run: str, report: Mapping[str, Any]) -> None:
        """A run finished an epoch."""
        epoch, epochs = int(report["epoch"]) + 1, self._epochs[run]
        share = self._pace.work[run] / epochs
        if run not in self._pace.done and run in self._begun:
            self._pace.overhead = max(5.0, time.monotonic() - self._begun[run] - report["seconds"])
        self._pace.done[run] = share * epoch
        self._pace.seconds_of_training += report["seconds"]
        self._pace.work_of_training += share
        state = f"epoch {epoch}/{epochs}  loss {report['loss']:.3f}  {report['specimens_per_second']:,.0f} specimens/s"
        left = self._left()
        if self._bars and self._overall is not None:
            self._bars.update(self._tasks[run], completed=epoch, state=state)
            done = sum(self._pace.done.values()) / sum(self._pace.work.values())
            self._bars.update(self._overall, completed=done * sum(self._epochs.values()), state=left)
        elif time.monotonic() - self._last_line > _LINE_EVERY or epoch == epochs:
            self._last_line = time.monotonic()
            self._console.print(f"{self._labels[run]}: {state}  |  all runs: {left}")

    def ended(self, run: str, failed: bool) -> None:
        """A run's trial ended."""
        self._ended.add(run)
        state = "failed" if failed else "finished"
        if not failed:
            self._pace.done[run] = self._pace.work[run]
        if self._bars:
            self._bars.update(self._tasks[run], state=state)
            self._bars.stop_task(self._tasks[run])
        else:
            self._console.print(f"{self._labels[run]}: {state} after {clock(time.monotonic() - self._begun[run])}")

    def _left(self) -> str:
        open_runs = len([run for run in self._labels if run not in self._pace.done])
        seconds = self._pace.seconds_left(open_runs, self._at_once)
        ended = f"{len(self._ended)}/{len(self._labels)} finished"
        return ended if seconds is None else f"{ended}, about {clock(seconds)} left"

    def callback(self) -> Any:
        """The Tune callback that feeds this display."""
        from ray import tune

        class Feed(tune.Callback):  # type: ignore[misc] # Ray ships no types here
            def __init__(self, display: SweepDisplay) -> None:
                self.display = display

            def __getstate__(self) -> dict[str, Any]:
                return {}  # Tune pickles its callbacks; a display belongs to this process

            def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                self.display.started(trial.config["job"]["id"])

            def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
                if "specimens_per_second" in result:
                    self.display.trained(trial.config["job"]["id"], result)

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                job = trial.config["job"]  # a run that failed for good still ends its trial in order
                self.display.ended(job["id"], failed=RunFolder(Folder(job["run"])).state() != "finished")

            def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                self.display.ended(trial.config["job"]["id"], failed=True)

        return Feed(self)
