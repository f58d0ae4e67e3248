"""What a sweep shows while it works: on stderr, moving bars on a terminal and plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID
from rich.progress import TimeElapsedColumn as Elapsed

from orchestrator.plan import Effort, Pace
from orchestrator.trials import tune_callback
from sweeps.point import Point
from workloads.command_line import Bars, Words, clock, progress_words
from workloads.lease import read_lease
from workloads.record import RunFolder

_LOOK_EVERY = 2.0
"""Seconds between two looks at what drivers say."""


class SweepDisplay:
    """Which points are made, how far each is, and how long the rest will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        label, state = (Words(text) for text in ("{task.description:<24}", "{task.fields[state]}"))
        self._bars = Bars(console, label, BarColumn(bar_width=24), state, Elapsed())
        self._all = TaskID(0)
        self._tasks: dict[str, TaskID] = {}
        self._labels: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._begun: dict[str, float] = {}
        self._trained: dict[str, float] = {}
        self._pace = Pace({})
        self._folders: Mapping[str, RunFolder] = {}
        self._looked = 0.0
        self._said: dict[str, str] = {}

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line)

    def begin(
        self,
        waves: Sequence[Sequence[Point]],
        expected: Mapping[str, Effort],
        folders: Mapping[str, RunFolder],
        at_once: int,
    ) -> None:
        """Show the points that are about to be made.

        Args:
            waves: in which order.
            expected: how long each will take, by id.
            folders: of their runs, by id.
            at_once: how many go side by side.
        """
        points = [point for wave in waves for point in wave]
        if not points:
            return
        self._pace, self._folders = Pace(expected, at_once), folders
        order = f" in {len(waves)} waves: {', then '.join(str(len(wave)) for wave in waves)}" if waves[1:] else ""
        self.say(f"{len(points)} to make{order}; about {clock(self._pace.seconds_left)} in all")
        self._all = self._bars.add_task("all", total=self._pace.seconds_left, state="")
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
            on_step_begin=self._look,
            on_trial_start=self._start,
            on_trial_result=self._show_epoch,
            on_trial_complete=self._end_trial,
            on_trial_error=partial(self._end_trial, failed=True),
        )

    def follow(self, point: str, words: str) -> None:
        """Show what becomes of a point that another command makes."""
        self._bars.show(self._tasks[point], f"{self._labels[point]}: made on {words}", state=f"on {words}")

    def _look(self, trials: Sequence[Any], **info: Any) -> None:
        """Show what the drivers of those runs that do not train yet, or no longer, say of themselves."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        for trial in trials:
            point = trial.config["job"]["id"]
            if trial.status != "RUNNING" or now - self._trained.get(point, self._begun.get(point, now)) < _LOOK_EVERY:
                continue
            found = read_lease(self._folders[point].folder)
            state = found.holder.facts.get("state") if found else None
            if found is None or state in (None, "training"):
                continue
            due, self._said[point] = self._said.get(point) != state, str(state)
            words = _words(found.holder.facts)
            if due or state == "waiting" or not self._bars.disable:
                self._bars.show(self._tasks[point], f"{self._labels[point]}: {words}", due, state=words)

    def _start(self, trial: Any, **info: Any) -> None:
        point = trial.config["job"]["id"]
        self._begun[point] = time.monotonic()
        self._bars.start_task(self._tasks[point])
        self._bars.show(self._tasks[point], f"{self._labels[point]}: begins", due=True, state="begins")

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
        self._show(point, state, due=epoch == epochs, completed=epoch)

    def _end_trial(self, trial: Any, failed: bool = False, **info: Any) -> None:
        """A trial that ended in order may stand for a run that failed for good, or was stopped, or left to others."""
        point, now = trial.config["job"]["id"], time.monotonic()
        begun = self._begun.get(point, now)  # a driver whose process never came up has not begun
        found = "failed" if failed else self._folders[point].state()
        if found == "missing":
            elsewhere = "made" in (trial.last_result or {})
            self._show(point, "left to another command" if elsewhere else "stopped", due=True)
            return
        self._pace.ended.add(point)
        if found == "finished":
            ends = self._pace.ends.setdefault(self._pace.expected[point].kind, [])
            ends.append(now - self._trained.get(point, begun))
        after = f"{found} after {clock(now - begun)}"
        self._show(point, found, after, due=True, completed=self._epochs[point])
        self._bars.stop_task(self._tasks[point])

    def lost(self, points: Set[str]) -> None:
        """Points that will not begin, because what they need has failed; or that have ended."""
        for point in points - self._pace.ended:
            self._pace.ended.add(point)
            self.say(f"{self._labels[point]}: not made, because what it needs failed")

    def _show(self, point: str, state: str, line: str = "", *, due: bool, completed: int | None = None) -> None:
        """One point's state, where a line says it in other words, and with it that of all."""
        seconds, ended = self._pace.seconds_left, len(self._pace.ended)
        left = f"{ended}/{len(self._labels)} finished, about {clock(seconds)} left"
        line = f"{self._labels[point]}: {line or state}  |  all: {left}"
        self._bars.show(self._tasks[point], line, due, completed=completed, state=state)
        done = self._bars.tasks[self._all].elapsed or 0.0
        self._bars.update(self._all, completed=done, total=done + seconds, state=left)


def _words(facts: Mapping[str, Any]) -> str:
    """What a driver says that it does, and where it waits for how long it has."""
    waits = facts["state"] == "waiting" and "since" in facts
    waited = f", {clock(max(0.0, time.time() - facts['since']))}" if waits else ""
    return progress_words({name: facts[name] for name in ("state", "waiting_for") if name in facts}) + waited


def _told(point: Point) -> str:
    """A point on a line of progress."""
    return point.label if point.kind == "train" else f"{point.label} ({point.kind.replace('_', ' ')})"
