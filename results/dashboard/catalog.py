"""What lies under a folder of runs, as pages need it: looked at again and again, read once, the last used ones kept.

Many viewers share it, and nothing of one is another's. What has not changed since the last look is not read again: a
listing of all names and times says what has. Nothing here ends because a run is damaged.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from results.dashboard.kept import Kept
from results.dashboard.look import Look
from results.dashboard.mirror import Mirror
from results.dashboard.page import NotThereError
from results.evaluated import EvaluatedFolder, read_evaluated
from results.paper.tables import NUMBERS, declared, table_sheets
from results.run import UNREADABLE, Run, read_run
from results.runs import Runs
from results.sheet import Sheet
from results.sweep_status import Standing, Statuses
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError, first_line
from workloads.record import EVALUATION, MEASUREMENTS
from workloads.seals import DATASET, STATUS
from workloads.storage import Folder
from workloads.tree import Tree

Made = TypeVar("Made")

_LOOK_AGAIN = 1.0
"""Seconds for which one look at the folder serves everybody."""
_KEPT_BYTES = 100_000_000


class Catalog:
    """A folder of runs, and the data set that they are of, if its place is known."""

    def __init__(self, runs: Folder, data: Folder | None = None) -> None:
        self.address = str(runs)
        """Of the runs, as a reader gives it to a command."""
        self._mirror = None if runs.is_local else Mirror(runs)
        self.folder = runs if self._mirror is None else self._mirror.folder
        """Where files of the runs are read; of a store a copy on this machine."""
        self.problem: str | None = None
        """Why the folder cannot be looked at now, where that is so; the last look is shown then."""
        self.dataset = None if data is None else PreparedDataset(data)
        """As it was at the last look: where it was prepared again, another one."""
        self._statuses = Statuses(self.folder)
        self._kept = Kept(_KEPT_BYTES)
        self._lock = threading.Lock()
        self._looked, self._look = -math.inf, Look(0, {}, ())

    # --- What is there now ----------------------------------------------------------------------------------------

    @property
    def now(self) -> Look:
        """The last look at the folder, which is about a second old at most."""
        is_old = time.monotonic() - self._looked > _LOOK_AGAIN
        # Where another thread looks just now, the look before will do; only for the first one all wait.
        if is_old and self._lock.acquire(blocking=self._look.number == 0):
            try:
                self._look_if_old()
            finally:
                self._lock.release()
        return self._look

    def look_again(self) -> Look:
        """A look at the folder as it is now."""
        with self._lock:
            self._look_if_old(0.0)
            return self._look

    def _look_if_old(self, age: float = _LOOK_AGAIN) -> None:
        if time.monotonic() - self._looked <= age:
            return
        try:
            self._look, self.problem = self._made(), None
        except OSError as error:  # a store that does not answer now
            self.problem = f"The runs cannot be looked at now: {first_line(error)}"
            self._look = self._look if self._look.number else Look(1, {}, ())
        self._looked = time.monotonic()

    def _made(self) -> Look:
        modified = None if self._mirror is None else self._mirror.renew()
        tree, standings = Tree(self.folder), list[Standing]()
        with suppress(MissingPathError):  # nobody has begun a run yet
            standings = self._statuses.read(tree)
        seen, prepared = tree.modified if modified is None else modified, self._prepared()
        look = Look(self._look.number + 1, seen, tuple(standings), prepared)
        if self._look.number and self.dataset is not None and prepared != self._look.prepared:
            # What was read of the earlier one, such as its pictures, is not this one's.
            self.dataset, self._kept = PreparedDataset(self.dataset.folder), Kept(_KEPT_BYTES)
        return self._look if self._look.number and self._look.shows_what(look) else look

    def _prepared(self) -> float | None:
        return None if self.dataset is None else self.dataset.folder.written(DATASET)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How far each point of each sweep is."""
        return self.now.standings

    def standing(self, run: str) -> Standing | None:
        """How far a run is, by its id."""
        return next((one for one in self.standings if one.run == run), None)

    # --- Runs and evaluations -------------------------------------------------------------------------------------

    def place(self, run: str) -> str:
        """The folder of a run below that of runs, SWEEP/ID; a finished one before others.

        Raises:
            NotThereError: there is none of this id.
        """
        places = self.now.places.get(run, [])
        if not places:
            raise NotThereError(f"There is no run '{run}' under {self.address}; the overview lists what is there.")
        return min(places, key=lambda place: (f"{place}/{STATUS}" not in self.now.modified, place))

    def run(self, run: str) -> Run:
        """A run by its id; of one that is damaged or not finished what can be read, with its `problem`.

        Raises:
            NotThereError: there is none of this id.
        """
        return self._run_at(self.folder / self.place(run))

    def _run_at(self, folder: Folder) -> Run:
        place = "/".join(folder.path.rsplit("/", 2)[1:])
        return self.kept(("run", place, self.now.version(place)), lambda: read_run(folder))

    def evaluations(self, run: str) -> list[str]:
        """Ids of the evaluations of a run: its own, which has the id of the run, and ID/NAME of others within it."""
        place = self.place(run)
        files = self.now.by_place.get(place, ())
        inside = (name.removeprefix(f"{place}/").rpartition("/") for name, _ in files)
        names = {folder for folder, _, file in inside if file == EVALUATION and folder.count("/") == 0}
        return [f"{run}/{name}" if name else run for name in sorted(names)]

    def evaluated(self, evaluation: str) -> EvaluatedFolder:
        """An evaluation by its id; its predictions are read when somebody asks for them, and kept.

        Raises:
            NotThereError: there is none of this id, or it cannot be read; it says why.
        """
        run, _, name = evaluation.partition("/")
        if evaluation not in self.evaluations(run):
            raise NotThereError(f"'{evaluation}' is not evaluated yet: `clibd evaluate RUN --data DIR` does that.")
        place = self.place(run)
        folder = self.folder / place / name if name else self.folder / place

        def read() -> EvaluatedFolder:
            if self._mirror is not None:
                self._mirror.bring(place)
            return read_evaluated(folder)

        try:
            return self.kept(("evaluated", str(folder), self.now.version(place)), read)
        except UNREADABLE as error:
            raise NotThereError(f"'{evaluation}' cannot be read: {error}") from error

    def finished(self) -> list[str]:
        """Ids of the runs that are finished and measured, in the order of their sweeps."""
        there = (one.run for one in self.standings if one.run and one.state == "finished" and one.folder)
        measured = (run for run in there if f"{self.place(run)}/{MEASUREMENTS}" in self.now.modified)
        return list(dict.fromkeys(measured))

    # --- Tables ---------------------------------------------------------------------------------------------------

    def known(self) -> Runs:
        """All that tables read, as it is now."""
        return self.kept(("runs", self.now.tables_version), lambda: Runs(self.folder, self._run_at))

    def sheets(self, number: int | str) -> list[Sheet]:
        """A table of the paper, or one of our own: a sheet for each data set, scale and recipe.

        Raises:
            NotThereError: there is no such table.
        """
        if number not in NUMBERS and number not in declared():
            raise NotThereError(f"There is no table {number}; there are 1 to 20 of the paper.")
        version = self.now.tables_version
        return self.kept(("sheets", number, version), lambda: table_sheets(number, self.known()))

    # --- What is kept ---------------------------------------------------------------------------------------------

    def kept(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What was made under a key, or is made now by one thread, for which others wait; the last used is kept."""
        return self._kept.get(key, make)
