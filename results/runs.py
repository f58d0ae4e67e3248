"""What lies under a folder of runs: which rows sweeps have asked for, and what each run folder says, read once.

Where folders lie is of no importance: RUNS/*/ID is found under any sweep's name. What is damaged never stops a table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.run import UNREADABLE, Measured, Run, read_run
from sweeps.table import Value
from workloads.record import RunFolder
from workloads.run_files import POINTS, read_points
from workloads.storage import Folder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AskedRow:
    """A row of a table that a sweep has asked for, or a folder that was named, and the run that stands for it."""

    sweep: str
    id: str | None
    """None where the row is impossible."""
    row: Mapping[str, Value]
    label: str
    kind: str = "train"
    scale: str = "paper"
    recipe: str = ""
    dataset: str = ""
    fingerprint: str = ""
    synthetic: bool = False
    seed: int = 42
    impossible: str | None = None
    run: Run | None = None

    @property
    def has_numbers(self) -> bool:
        """Whether a run stands for it that was measured."""
        return self.run is not None and self.run.problem is None


class Runs:
    """A folder of runs. Folders are read when a table wants them, each once, many at a time."""

    def __init__(self, folder: Folder, read: Callable[[Folder], Run] = read_run) -> None:
        """What lies there.

        Args:
            folder: of runs.
            read: reads the folder of one; a server keeps those that it has read before.
        """
        self.folder = folder
        self._read_one = read
        self._read: dict[str, Run] = {}
        self.unreadable: list[Run] = []
        """Folders of earlier versions that do not say any more what they stand for."""
        self.damaged: dict[str, str] = {}
        """What else under the folder cannot be read, by its address, with the reason."""

    @cached_property
    def places(self) -> dict[str, Folder]:
        """Every folder RUNS/*/ID by its id; of several the first finished one."""
        kept: dict[str, Folder] = {}
        for sweep in self.folder.folders():
            for name in (self.folder / sweep).folders():
                place = self.folder / sweep / name
                if name not in kept or (place.has("status.json") and not kept[name].has("status.json")):
                    kept[name] = place
        return kept

    @cached_property
    def asked(self) -> tuple[AskedRow, ...]:
        """What sweeps have asked for, in their order; runs of earlier versions say by themselves what they are."""
        return tuple(asked for sweep in self.folder.folders() for asked in self._asked(sweep))

    def read(self, ids: Sequence[str]) -> dict[str, Run]:
        """Runs by their id; those that have no folder are not there."""
        missing = [name for name in dict.fromkeys(ids) if name in self.places and name not in self._read]
        with ThreadPoolExecutor(16) as readers:
            found = readers.map(self._read_one, [self.places[name] for name in missing])
            self._read |= zip(missing, found, strict=True)
        return {name: self._read[name] for name in ids if name in self._read}

    def _asked(self, sweep: str) -> Iterator[AskedRow]:
        folder = self.folder / sweep
        listed = [_asked_for(sweep, entry) for entry in self._listed(folder)]
        yield from listed
        known = {asked.id for asked in listed}
        unknown = [name for name in folder.folders() if name not in known and (folder / name).has("point.json")]
        for run in self.read(unknown).values():
            if legacy := _of_itself(sweep, run):
                yield legacy
            elif run.spec is None and run.problem:
                self.unreadable.append(run)

    def _listed(self, sweep: Folder) -> list[dict[str, Any]]:
        """What a sweep has noted; of what cannot be read the folders below say themselves what they are."""
        try:
            return read_points(sweep)
        except UNREADABLE as error:
            self.damaged[f"{sweep}/{POINTS}"] = str(error)
            return []

    def floors(self, dataset: str, fingerprint: str) -> Measured | None:
        """The floors that a sweep of an earlier version has left of a data set."""
        name = f"floors-{dataset}-{fingerprint}.parquet"
        for sweep in self.folder.folders():
            if (self.folder / sweep).has(name):
                try:
                    return Measured(RunFolder(self.folder / sweep).measurement_table(name))
                except UNREADABLE as error:  # they are missing in the table; the runs are not
                    self.damaged[f"{self.folder}/{sweep}/{name}"] = str(error)
        return None


def _asked_for(sweep: str, entry: Mapping[str, Any]) -> AskedRow:
    row = {name: tuple(v) if isinstance(v, list) else v for name, v in (entry.get("row") or {}).items()}
    label = str(entry.get("label") or entry.get("id"))
    renamed = {"id": None, **entry, "label": label, "row": row, "sweep": sweep, "run": None}
    renamed["fingerprint"] = entry.get("data_fingerprint", "")
    return AskedRow(**{name: renamed[name] for name in AskedRow.__dataclass_fields__ if name in renamed})


def _of_itself(sweep: str, run: Run) -> AskedRow | None:
    """What a run folder of an earlier version stands for; None for one that no sweep has made."""
    if run.spec is None or not run.point.get("row"):
        return None
    spec = run.spec
    entry = {"id": run.name, "label": run.name, "kind": "train", "scale": "paper", **run.point, "recipe": spec.recipe}
    about = {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "synthetic": spec.synthetic}
    return _asked_for(sweep, {**entry, **about, "seed": spec.seed, "impossible": None})
