"""What a sweep shows while it works: on stderr, moving bars on a terminal and plain lines elsewhere."""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from orchestrator.plan import Effort, Pace
from sweeps.point import Point
from workloads.command_line import Bars, clock
from workloads.record import RunFolder
from workloads.storage import Folder


class SweepDisplay:
    """Which points are made, how far each is, and how long the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        label, state = (TextColumn(text) for text in ("{task.description:<24}", "{task.fields[state]}"))
        self._bars = Bars(console, label, BarColumn(bar_width=24), state, Elapsed())
        self._all = TaskID(0)
        self._tasks: dict[str, TaskID] = {}
        self._labels: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._begun: dict[str, float] = {}
        self._trained: dict[str, float] = {}
        self._pace = Pace({})

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line)

    def begin(self, waves: Sequence[Sequence[Point]], expected: Mapping[str, Effort], at_once: int) -> None:
        """Show the points that are about to be made.

        Args:
            waves: in which order.
            expected: how long each will take, by id.
            at_once: how many go side by side.
        """
        points = [point for wave in waves for point in wave]
        if not points:
            return
        self._pace = Pace(expected, at_once)
        order = f" in {len(waves)} waves: {', then '.join(str(len(wave)) for wave in waves)}" if waves[1:] else ""
        self.say(f"{len(points)} to make{order}; about {clock(self._pace.seconds_left)} in all")
        self._all = self._bars.add_task("all", total=self._pace.seconds_left, state="starting Ray Train")
        for point in points:
            label, epochs = _told(point), point.spec.epochs if point.kind == "train" else 1
            self._labels[point.id], self._epochs[point.id] = label, epochs
            self._tasks[point.id] = self._bars.add_task(f"  {label}", total=epochs, state="waiting", start=False)
        self._bars.start()

    def end(self) -> None:
        """Stop moving."""
        self._bars.stop()

    def callback(self) -> Any:
        """The Tune callback that feeds this display."""
        return tune_callback(
            on_trial_start=self._start,
            on_trial_result=self._show_epoch,
            on_trial_complete=self._end_trial,
            on_trial_error=partial(self._end_trial, failed=True),
        )

    def _start(self, trial: Any, **info: Any) -> None:
        point = trial.config["job"]["id"]
        self._begun[point] = time.monotonic()
        state = "starting its workers" if self._pace.expected[point].kind == "train" else "measuring"
        self._bars.start_task(self._tasks[point])
        self._bars.show(self._tasks[point], f"{self._labels[point]}: {state}", due=True, state=state)

    def _show_epoch(self, trial: Any, result: Mapping[str, Any], **info: Any) -> None:
        if "specimens_per_second" not in result:  # a measurement's
            return
        point, seconds, now = trial.config["job"]["id"], result["seconds"], time.monotonic()
        epoch, epochs = int(result["epoch"]) + 1, self._epochs[point]
        if point not in self._pace.done and point in self._begun:
            self._pace.starts.append(max(0.0, now - self._begun[point] - seconds))
            self._pace.done[point] = (epoch - 1) / epochs  # what an earlier attempt had done
        self._pace.trained(point, epoch / epochs, seconds)
        self._trained[point] = now
        state = f"epoch {epoch}/{epochs}  loss {result['loss']:.3f}  {result['specimens_per_second']:,.0f} specimens/s"
        self._show(point, state, state, due=epoch == epochs, completed=epoch)

    def _end_trial(self, trial: Any, failed: bool = False, **info: Any) -> None:
        """A trial that ended in order may stand for a run that failed for good."""
        job, now = trial.config["job"], time.monotonic()
        point, failed = job["id"], failed or RunFolder(Folder(job["run"])).state() != "finished"
        self._pace.ended.add(point)
        if not failed:
            self._pace.ends.setdefault(self._pace.expected[point].kind, []).append(
                now - self._trained.get(point, self._begun[point])
            )
        state = "failed" if failed else "finished"
        after = f"{state} after {clock(now - self._begun[point])}"
        self._show(point, state, after, due=True, completed=self._epochs[point])
        self._bars.stop_task(self._tasks[point])

    def lost(self, points: Set[str]) -> None:
        """Points that will not begin, because what they need has failed; or that have ended."""
        for point in points - self._pace.ended:
            self._pace.ended.add(point)
            self.say(f"{self._labels[point]}: not made, because what it needs failed")

    def _show(self, point: str, state: str, line: str, due: bool, completed: int) -> None:
        """One point's state, and with it that of all."""
        seconds, ended = self._pace.seconds_left, len(self._pace.ended)
        left = f"{ended}/{len(self._labels)} finished, about {clock(seconds)} left"
        line = f"{self._labels[point]}: {line}  |  all: {left}"
        self._bars.show(self._tasks[point], line, due, completed=completed, state=state)
        done = self._bars.tasks[self._all].elapsed or 0.0
        self._bars.update(self._all, completed=done, total=done + seconds, state=left)


def tune_callback(**told: Callable[..., None]) -> Any:
    """A callback of Tune that calls what it is given, by the names of Tune's own methods, such as `on_trial_result`."""
    from ray import tune

    class Feed(tune.Callback):  # type: ignore[misc] # Ray ships no types here
        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks; who is told belongs to this process

    feed = Feed()
    feed.__dict__.update(told)
    return feed


def _told(point: Point) -> str:
    """A point on a line of progress."""
    return point.label if point.kind == "train" else f"{point.label} ({point.kind.replace('_', ' ')})"
