"""A run's training log as columns: read once, and of a run that goes on only what has come since."""

import hashlib
import math
import threading
from typing import Any

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.charts import Axis, Chart, Drawn, More, Series, lines
from results.run import UNREADABLE
from workloads.arrays import Doubles
from workloads.run_files import read_events
from workloads.seals import sealed_folder
from workloads.storage import Folder

_EVERY = ("loss", "temperature", "learning_rate", "gradient_norm", "specimens_per_second")
_OF_EPOCHS = ("loss", "score", "allocated_gb", "reserved_gb", "seconds", "waited", "papers_memory_gb")
STEP, EPOCH = "step", "epoch"
CURVES = (
    ("Training loss", "Contrastive loss", (("loss", "each logged step"), ("epoch_loss", "mean of the epoch"))),
    ("Score of selection, on validation queries", "Score (%)", (("epoch_score", "score"),)),
    ("Temperature", "Temperature", (("temperature", "temperature"),)),
    ("Learning rate", "Learning rate", (("learning_rate", "learning rate"),)),
    ("Gradient norm", "Gradient norm", (("gradient_norm", "gradient norm"),)),
    ("Speed", "Specimens/s, all workers", (("specimens_per_second", "specimens per second"),)),
    (
        "Memory of the fullest GPU",
        "Memory (GB)",
        (("epoch_allocated_gb", "allocated, peak"), ("epoch_reserved_gb", "reserved, peak")),
    ),
)
"""Charts of a training: title, what is measured, and the columns with the name of each."""


class TrainingLog:
    """The log of one run, a row a line; a number that a line does not say is NaN."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._version: int | None = None
        self._last: dict[str, Any] = {}
        names = (STEP, EPOCH, *_EVERY, *(f"epoch_{name}" for name in _OF_EPOCHS))
        self._values: dict[str, list[float]] = {name: [] for name in names}
        self._marks: list[str] = []
        self.problem: str | None = None
        """Why its end, or all of it, cannot be read."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, roughly."""
        return 32 * len(self) * len(self._values)

    def __len__(self) -> int:
        return len(self._values[STEP])

    def look(self, version: int) -> "TrainingLog":
        """Read what has come since, where the version is another."""
        with self._lock:
            if version != self._version:
                try:
                    self._add(self._new_events())
                    self.problem = None
                except UNREADABLE as error:
                    self.problem = str(error)
                self._version = version
        return self

    def _new_events(self) -> list[dict[str, Any]]:
        """What has come since; all of it where a run that goes on from a checkpoint has cut what came after that."""
        folder, known = sealed_folder(self._folder), len(self)
        events = read_events(folder, known=max(0, known - 1))
        if not known or (events and events[0] == self._last):
            return events[1:] if known else events
        for values in self._values.values():
            values.clear()
        self._marks.clear()
        return read_events(folder)

    def _add(self, events: list[dict[str, Any]]) -> None:
        self._last = events[-1] if events else self._last
        for event in events:
            is_epoch = event["event"] == "epoch"
            told = {f"epoch_{name}": event.get(name) for name in _OF_EPOCHS} if is_epoch else {}
            if not is_epoch:
                told = {name: event.get(name) for name in _EVERY}
            told |= {STEP: event["step"], EPOCH: event["epoch"] + 1}
            for name, values in self._values.items():
                value = told.get(name)
                values.append(math.nan if value is None else float(value))
            self._marks.append(hashlib.blake2b(f"{self.mark}{told}".encode(), digest_size=8).hexdigest())

    @property
    def mark(self) -> str:
        """Of all its rows, in 16 digits: another one where any of them is another."""
        return self._marks[-1] if self._marks else ""

    def columns(self) -> dict[str, Doubles]:
        """All of its rows, by column; epochs count from 1."""
        return self.since(0, "")[0]

    def since(self, after: int, mark: str) -> tuple[dict[str, Doubles], int, str]:
        """Its rows for whoever knows the first ones: by column, from which row on, and the mark of all.

        They are all of its rows where it went on from a checkpoint meanwhile, so that others stand among these.

        Args:
            after: how many are known.
            mark: that they had.
        """
        with self._lock:
            known = bool(after) and self._marks[after - 1 : after] == [mark]
            start = after if known else 0
            return {name: np.array(values[start:]) for name, values in self._values.items()}, start, self.mark

    def last(self, column: str) -> float | None:
        """The last number in a column."""
        return next((value for value in reversed(self._values[column]) if not math.isnan(value)), None)


def training_log(catalog: Catalog, run: str) -> TrainingLog:
    """The log of a run, as it is now.

    Raises:
        NotThereError: there is no such run.
    """
    place = catalog.place(run)
    log = catalog.kept(("log", place), lambda: TrainingLog(catalog.folder / place))
    return log.look(catalog.now.version(place, passing=True))


def curves(logs: dict[str, TrainingLog], live: str | None = None) -> list[Chart]:
    """The charts of one training, or of several in the same ones.

    Args:
        logs: by what each is called; empty where there is one.
        live: the run that goes on, of one.
    """
    read = {name: log.since(0, "") for name, log in logs.items()}
    known = {name: columns for name, (columns, _, _) in read.items()}
    mark = next((mark for _, _, mark in read.values()), "")
    return [chart for each in CURVES if (chart := _curve(known, (live, mark) if live else None, *each)).series]


def _curve(
    known: dict[str, dict[str, Doubles]],
    live: tuple[str, str] | None,
    title: str,
    measured: str,
    columns: tuple[tuple[str, str], ...],
) -> Chart:
    series = []
    for (name, values), (column, words) in ((one, column) for one in known.items() for column in columns):
        there = np.isfinite(values[column])
        if column.endswith("_gb") and there.any() and not values[column][there].any():
            continue  # without a GPU there is none of its memory
        if there.any() or (live and column != "epoch_score"):
            x, y = values[STEP][there].astype(int).tolist(), values[column][there].tolist()
            called = ", ".join(filter(None, (name, words if len(columns) > 1 or not name else "")))
            drawn: Drawn = "both" if column.startswith("epoch_") else "line"
            series.append(Series(name=called, x=x, y=y, drawn=drawn, column=column))
    rows = max((len(values[STEP]) for values in known.values()), default=0)
    more = More(run=live[0], name=f"run-log-{live[0]}", after=rows, mark=live[1], x=STEP) if live else None
    share = "(%)" in measured
    return lines(title, Axis(title="Step"), Axis(title=measured, share=share), series, more=more)
