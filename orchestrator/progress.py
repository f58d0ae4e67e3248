"""What a command shows while it works: on stderr, moving bars on a terminal and plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.progress import TimeRemainingColumn as Remaining

from orchestrator.plan import Expected, Pace
from sweeps.point import Point
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
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
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
    """Which points are made, how far each is, and how long the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._labels: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._begun: dict[str, float] = {}
        self._trained: dict[str, float] = {}
        self._last_line = 0.0
        self._pace = Pace({})

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line)

    def begin(self, waves: Sequence[Sequence[Point]], expected: Mapping[str, Expected], at_once: int) -> None:
        """Show the points that are about to be made.

        Args:
            waves: in which order.
            expected: how long each will take, by id.
            at_once: how many go side by side.
        """
        points = [point for wave in waves for point in wave]
        self._pace = Pace(expected, at_once)
        self._labels = {point.id: _told(point) for point in points}
        self._epochs = {point.id: point.spec.epochs if point.kind == "train" else 1 for point in points}
        if len(points) > 0:
            order = f" in {len(waves)} waves: {', then '.join(str(len(wave)) for wave in waves)}" if waves[1:] else ""
            self._console.print(f"{len(points)} to make{order}; about {clock(self._pace.seconds_left)} in all")
        if not self._console.is_terminal or not points:
            return
        label, state = (TextColumn(text) for text in ("{task.description:<24}", "{task.fields[state]}"))
        self._bars = Progress(label, BarColumn(bar_width=24), state, Elapsed(), console=self._console)
        self._tasks = {"": self._bars.add_task("all", total=self._pace.seconds_left, state="starting Ray Train")}
        for point, told in self._labels.items():
            total = self._epochs[point]
            self._tasks[point] = self._bars.add_task(f"  {told}", total=total, state="waiting", start=False)
        self._bars.start()

    def end(self) -> None:
        """Stop moving."""
        if self._bars:
            self._bars.stop()

    def started(self, point: str) -> None:
        """A point's trial began."""
        self._begun[point] = time.monotonic()
        state = "starting its workers" if self._pace.expected[point].kind == "train" else "measuring"
        if self._bars:
            self._bars.start_task(self._tasks[point])
            self._bars.update(self._tasks[point], state=state)
        else:
            self._console.print(f"{self._labels[point]}: {state}")

    def trained(self, point: str, report: Mapping[str, Any]) -> None:
        """A run finished an epoch."""
        epoch, epochs, now = int(report["epoch"]) + 1, self._epochs[point], time.monotonic()
        if point not in self._pace.done and point in self._begun:
            self._pace.starts.append(max(0.0, now - self._begun[point] - report["seconds"]))
            self._pace.done[point] = (epoch - 1) / epochs  # what an earlier attempt had done
        self._pace.trained(point, epoch / epochs, report["seconds"])
        self._trained[point] = now
        state = f"epoch {epoch}/{epochs}  loss {report['loss']:.3f}  {report['specimens_per_second']:,.0f} specimens/s"
        if self._bars:
            self._bars.update(self._tasks[point], completed=epoch, state=state)
            self._show_all()
        elif now - self._last_line > _LINE_EVERY or epoch == epochs:
            self._last_line = now
            self._console.print(f"{self._labels[point]}: {state}  |  all: {self._left()}")

    def ended(self, point: str, failed: bool) -> None:
        """A point's trial ended."""
        now, kind = time.monotonic(), self._pace.expected[point].kind
        self._pace.ended.add(point)
        if not failed:
            self._pace.ends.setdefault(kind, []).append(now - self._trained.get(point, self._begun[point]))
        state = "failed" if failed else "finished"
        if self._bars:
            self._bars.update(self._tasks[point], state=state, completed=self._epochs[point])
            self._bars.stop_task(self._tasks[point])
            self._show_all()
        else:
            after = clock(now - self._begun[point])
            self._console.print(f"{self._labels[point]}: {state} after {after}  |  all: {self._left()}")

    def lost(self, points: Set[str]) -> None:
        """Points that will not begin, because what they need has failed; or that have ended."""
        for point in points - self._pace.ended:
            self._pace.ended.add(point)
            self._console.print(f"{self._labels[point]}: not made, because what it needs failed")

    def _show_all(self) -> None:
        assert self._bars is not None
        left, total = self._pace.seconds_left, self._bars.tasks[0].elapsed or 0.0
        self._bars.update(self._tasks[""], completed=total, total=total + left, state=self._left())

    def _left(self) -> str:
        return f"{len(self._pace.ended)}/{len(self._labels)} finished, about {clock(self._pace.seconds_left)} left"

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


def _told(point: Point) -> str:
    """A point on a line of progress."""
    return point.label if point.kind == "train" else f"{point.label} ({point.kind.replace('_', ' ')})"
