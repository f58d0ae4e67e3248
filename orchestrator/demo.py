"""Data sets that a sweep prepares itself: the synthetic insects of `--demo`, and INSECT from its published files."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from orchestrator.prepare import run_on_ray
from orchestrator.progress import counting
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.prepared.preparation import Wanted, first_facts, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.insect import insect_source
from workloads.data.sources.synthetic_insect import write_synthetic_insect
from workloads.data.sources.synthetic_source import synthetic_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import SIDE
from workloads.errors import UsageError
from workloads.storage import Folder

NUM_SPECIMENS = 3000
SEED = 8


@dataclass(frozen=True, slots=True)
class OwnData:
    """A data set, and what it is prepared from."""

    wanted: Wanted
    folder: Folder
    draw: Callable[[Path], SpecimenTable]
    """Makes the specimen table, partitioned, in a folder that goes away."""

    @contextmanager
    def _specimens(self) -> Iterator[SpecimenTable]:
        with tempfile.TemporaryDirectory() as scratch:
            yield self.draw(Path(scratch))

    def facts(self) -> DatasetFacts:
        """What it holds, or will hold once it is prepared.

        Raises:
            UsageError: it was prepared from other specimens.
        """
        if self.folder.has("dataset.json") and self.wanted.name != INSECT:
            return PreparedDataset(self.folder).facts
        with self._specimens() as table:
            first = first_facts(table, self.wanted)
        if not self.folder.has("dataset.json"):
            return first
        facts = PreparedDataset(self.folder).facts
        if facts.fingerprint != first.fingerprint:
            raise UsageError(f"{self.folder} was prepared from another INSECT; move it away, or choose another --runs")
        return facts

    def prepare(self, console: Console) -> None:
        """Prepare it with Ray unless it is there."""
        if not self.folder.has("dataset.json"):
            with self._specimens() as table:
                what = f"Preparing {self.wanted.name}, {len(table):,} specimens"
                with counting(console, what, "shards") as told:
                    prepare(table, self.folder, self.wanted, run_on_ray, told)


NAME, SYNTHETIC_INSECT, INSECT = "synthetic-insects", "synthetic-insect", "insect"


def synthetic_insects(runs: Folder) -> OwnData:
    """The data set of `--demo`."""
    return OwnData(Wanted(name=NAME, image_size=SIDE), runs / NAME, _insects)


def insect(files: str | None, runs: Folder) -> OwnData:
    """INSECT from the folder of its published files, or a synthetic one in the same form."""
    if files is not None:
        return OwnData(Wanted(name=INSECT), runs / "insect-prepared", partial(_insect, Path(files)))
    wanted = Wanted(name=SYNTHETIC_INSECT, image_size=SIDE)
    return OwnData(wanted, runs / f"{SYNTHETIC_INSECT}-prepared", _synthetic_insect)


def _insects(scratch: Path) -> SpecimenTable:
    table = SpecimenTable.at(scratch / "specimens.parquet")
    collect(synthetic_source(NUM_SPECIMENS, SEED), table)
    table.with_splits(partition(table.column("species"), "paper"), "paper, seed 42", table)
    return table


def _insect(files: Path, scratch: Path) -> SpecimenTable:
    """With the partition that the files have."""
    table = SpecimenTable.at(scratch / "specimens.parquet")
    collect(insect_source(files, None), table)
    return table


def _synthetic_insect(scratch: Path) -> SpecimenTable:
    files = scratch / "files"
    write_synthetic_insect(files)
    return _insect(files, scratch)
