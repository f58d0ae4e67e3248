"""What training says of itself: steps and epochs, to the log and a terminal; and its result."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from shlex import quote
from typing import Literal

from rich.progress import BarColumn, TimeElapsedColumn, TimeRemainingColumn

from workloads.command_line import Bars, Tell, Words, stderr_console
from workloads.lease import Lease
from workloads.masked_facts import masked_words
from workloads.predictions import PAPERS_PAIRS
from workloads.record import EVALUATION, Measurement, RunFolder
from workloads.run_files import Evaluation, read_object


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One logged step."""

    event: Literal["step"] = "step"
    epoch: int
    step: int
    """Counted from the beginning of the run."""
    loss: float
    temperature: float
    learning_rate: float
    gradient_norm: float
    specimens_per_second: float
    """All workers together, since the last logged step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """What one epoch came to."""

    event: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    """The epoch's last, counted from the beginning of the run."""
    loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    """The last step's."""
    temperature: float
    gradient_norm: float
    """The last step's."""
    seconds: float
    specimens_per_second: float
    """All workers together."""
    waited: float
    """Share of the time that was spent waiting for batches."""
    allocated_gb: float
    """torch.cuda.max_memory_allocated, GB; 0 without a GPU."""
    reserved_gb: float
    """torch.cuda.max_memory_reserved, GB; 0 without a GPU."""
    papers_memory_gb: float
    """memory_allocated + memory_reserved as the epoch is reported, GB: what the paper calls CUDA memory, though the
    second holds the first already."""
    score: float | None
    """By the spec's rule of selection, on validation; None where it is not looked at."""


Report = StepReport | EpochReport
"""`asdict` of it is a line of events.jsonl."""
Listener = Callable[[Report], None]
"""Hears of every logged step, and of every epoch before its checkpoint is written, on each worker alike."""


def event_log(run: RunFolder, first_step: int) -> Listener:
    """Writes events.jsonl, whole at every report, so that no checkpoint is ever ahead of it.

    Args:
        run: whose log it is.
        first_step: that is yet to be trained. A resumed run repeats the steps since its checkpoint: what those had
            logged is dropped.
    """
    lines = bytearray(b"".join(_line(event) for event in run.events() if event["step"] < first_step))
    return partial(_log, run, lines)


def _log(run: RunFolder, lines: bytearray, report: Report) -> None:
    lines += _line(asdict(report))
    run.folder.write("events.jsonl", bytes(lines))


def _line(event: Mapping[str, object]) -> bytes:
    return f"{json.dumps(event)}\n".encode()


class _Pace:
    """How long the steps that are left will take, at the pace of those before."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps, self._began = num_steps, time.monotonic()
        self._first: int | None = None

    def seconds_left(self, step: int) -> float:
        """After this step is done."""
        if self._first is None:
            self._first = step  # a resumed run does not begin at 0
        done = step + 1
        return (time.monotonic() - self._began) / (done - self._first) * (self._num_steps - done)


class LeaseTeller:
    """A listener that says in the lease how far a run is, and ends it when another process has taken it over."""

    def __init__(self, lease: Lease, num_epochs: int, num_steps: int) -> None:
        self._lease, self._num_epochs, self._pace = lease, num_epochs, _Pace(num_steps)

    def __call__(self, report: Report) -> None:
        """Tell of a step, and that measuring comes after the last epoch.

        Raises:
            LeaseLostError: another process has taken the run over.
        """
        facts = {"epoch": report.epoch + 1, "epochs": self._num_epochs}
        if isinstance(report, StepReport):
            left = round(self._pace.seconds_left(report.step), 1)
            rate = round(report.specimens_per_second, 3)
            self._lease.tell(state="training", specimens_per_second=rate, seconds_left=left, **facts)
        elif report.epoch + 1 == self._num_epochs:
            self._lease.tell(state="measuring", specimens_per_second=None, seconds_left=None, **facts)


class ProgressBar(Bars):
    """A listener that shows how far a run is, with the time left, on stderr: a bar, or a line now and then."""

    def __init__(self, num_steps: int) -> None:
        super().__init__(
            stderr_console(),
            Words("{task.description}"),
            BarColumn(bar_width=24),
            Words("{task.completed}/{task.total} {task.fields[unit]}  {task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            line_every=30.0,
        )
        self._num_steps, self._pace = num_steps, _Pace(num_steps)
        self._training = self.add_task("training", total=num_steps, unit="steps", state="starting")

    def __call__(self, report: Report) -> None:
        """Move on; at the end of an epoch say what was selected by, where something is."""
        if isinstance(report, StepReport):
            done = report.step + 1
            state = f"epoch {report.epoch + 1}  loss {report.loss:.3f}  {report.specimens_per_second:,.0f} specimens/s"
            seconds = self._pace.seconds_left(report.step)
            left = f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
            line = f"step {done}/{self._num_steps}  {state}  {left}"
            self.show(self._training, line, due=done == self._num_steps, completed=done, state=state)
        elif report.score is not None:
            self.console.print(f"epoch {report.epoch + 1}: validation score {report.score:.4f}")

    def counting(self, what: str, unit: str) -> Tell:
        """A further bar, for work after the last step; gives what is told how much of how much is done."""
        task = self.add_task(what, total=None, unit=unit, state="")
        return lambda done, total: self.show(
            task, f"{what}: {done:,} of {total or 0:,} {unit}", due=done == total, completed=done, total=total
        )


_FIRST = (("image", "dna"), ("image", "text"), *PAPERS_PAIRS)
_SUBSETS = {"seen": "seen", "unseen": "unseen", "harmonic_mean": "harmonic mean"}
_BESIDE = {
    "random_key": "chance",
    "majority": "the commonest name",
    "kmer_nearest_neighbour": "nearest 5-mers",
    "linear_cca": "linear CCA",
}
_PARTITIONS = {"val": "validation", "test": "test"}


def result_words(run: RunFolder, data: str = "DIR") -> str:
    """What a finished run reached, what needs no training beside it, whether it has collapsed, and what to do next.

    Its first retrieval of a table is told, at species, macro, with 95 % intervals.

    Args:
        run: finished.
        data: the prepared data set, as the next command names it.
    """
    rows = [row for row in run.measurements() if row.metric.endswith("top1") and row.level == "species"]
    rows = [row for row in rows if (row.average, row.keys, row.queries) == ("macro", "all", "all")]
    pairs = {(row.query, row.key) for row in rows if row.method == "clibd"}
    pair = next((pair for pair in _FIRST if pair in pairs), min(pairs, default=("", "")))
    partition = next((name for name in _PARTITIONS if any(row.partition == name for row in rows)), "")
    rows = [row for row in rows if (row.query, row.key) == pair and row.partition == partition]
    what = f"{pair[0]} to {pair[1]}, species, macro, {_PARTITIONS.get(partition, '')}"
    by_method = {
        method: [row for subset in _SUBSETS for row in rows if (row.method, row.species) == (method, subset)]
        for method in {row.method for row in rows}
    }
    own = (f"{_SUBSETS[row.species]} {100 * row.value:.1f} %{_interval(row)}" for row in by_method.get("clibd", ()))
    others = [
        f"{name} {', '.join(f'{100 * row.value:.1f}' for row in by_method[method])} %"
        for method, name in _BESIDE.items()
        if by_method.get(method)
    ]
    lines = [f"{what}: {', '.join(own)}"] if rows else []
    lines += [f"beside it: {'; '.join(others)}"] if others else []
    if run.folder.has(EVALUATION):
        about = read_object(run.folder, EVALUATION, Evaluation)
        lines = [*(masked_words(about["masked"]) if "masked" in about else ()), *lines]
    place = quote(str(run.folder))
    see = f"clibd evaluate {place} --data {quote(data)}, or clibd-results table 1 --run {place}"
    if run.spec().objective == "masked":
        see = (
            f"clibd train image-dna --data DIR --from {place}, with images; clibd evaluate {place} --data {quote(data)}"
        )
    return "\n".join([*lines, *collapse_words(run), f"next: {see}"])


_NOTHING_LEARNT = 0.97
"""Share of the loss of equal embeddings from which on a run has told next to nothing apart."""


def collapse_words(run: RunFolder) -> list[str]:
    """That all embeddings are alike, or nearly, if the last epoch's loss says so.

    Of equal embeddings it is the logarithm of the number of specimens to choose from, or what the run says itself,
    where some of them lacked modalities.
    """
    spec = run.spec()
    losses = [event["loss"] for event in run.events() if event["event"] == "epoch"]
    choices = {"align": spec.batch_size, "simclr": 2 * spec.batch_size - 1}.get(spec.objective)
    if not losses or choices is None:
        return []
    status = run.status() if run.state() == "finished" else {}
    alike = status.get("loss_of_alike", math.log(choices))
    if losses[-1] < _NOTHING_LEARNT * alike:
        return []
    return [
        f"its loss, {losses[-1]:.2f}, is that of embeddings that are all alike ({alike:.2f}): it has "
        f"collapsed, or learnt next to nothing. Try --set max_learning_rate={spec.max_learning_rate / 10:.2g}, or "
        f"--epochs {2 * spec.epochs}"
    ]


def _interval(row: Measurement) -> str:
    """Behind a value: its interval, and of how many species it is the mean."""
    span = "" if row.low is None or row.high is None else f"{100 * row.low:.1f} to {100 * row.high:.1f}; "
    return f" ({span}{row.count:,} species)"
