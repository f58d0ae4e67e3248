"""A progress bar for one run in a terminal, and a line now and then elsewhere; on stderr, with the time left."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workloads.training.report import EpochReport, StepReport

_LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class ProgressBar:
    """Shows how far a run is; a listener of the training loop."""

    def __init__(self, num_steps: int) -> None:
        self._console = Console(stderr=True)
        self._num_steps = num_steps
        self._first: int | None = None
        self._began = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} steps  {task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=num_steps, state="starting")

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_step(self, report: StepReport) -> None:
        """Move on."""
        done = report.step + 1
        if self._first is None:
            self._first = report.step  # a resumed run does not begin at 0
        state = f"epoch {report.epoch + 1}  loss {report.loss:.3f}  {report.specimens_per_second:,.0f} specimens/s"
        self._bar.update(self._task, completed=done, state=state)
        now = time.monotonic()
        if self._bar.disable and (now - self._last_line > _LINE_EVERY or done == self._num_steps):
            self._last_line = now
            self._console.print(f"step {done}/{self._num_steps}  {state}  {self._left(done)}", highlight=False)

    def on_epoch(self, report: EpochReport) -> None:
        """Say what was selected by, where something is."""
        if report.score is not None:
            self._console.print(f"epoch {report.epoch + 1}: validation score {report.score:.4f}", highlight=False)

    def _left(self, done: int) -> str:
        seconds = (time.monotonic() - self._began) / (done - (self._first or 0)) * (self._num_steps - done)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
