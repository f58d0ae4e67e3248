"""Data sets prepared with Ray Data, and those that a sweep prepares itself.

A row of Ray's data set is a shard to make, and each task writes what it makes. Specimens are read, and images read or
drawn, only inside the tasks, a row group at a time, so that memory does not grow with the source; what travels is a
shard's number and its report.
"""

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from workloads.command_line import counting
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, first_facts, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.sources.collect import collect
from workloads.data.sources.insect import insect_source
from workloads.data.sources.opening import synthetic_source
from workloads.data.sources.synthetic_insect import write_synthetic_insect
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import SIDE
from workloads.disk_errors import named
from workloads.errors import ClibdError, UsageError
from workloads.storage import Folder

_NUM_SPECIMENS, _SEED = 3000, 8
_SYNTHETIC, _SYNTHETIC_INSECT = "synthetic-insects", "synthetic-insect"


def run_on_ray(work: Work, shards: Sequence[Shard], most: int | None = None, cpus: int = 1) -> Iterator[ShardReport]:
    """The work on every shard as tasks of Ray Data; reports come as the shards are made.

    Args:
        work: on a shard.
        shards: to make.
        most: at a time; None: as many as the cluster's CPUs allow.
        cpus: that each of them takes.

    Raises:
        ClibdError: what a task met, as it met it. Ray Data keeps only the text of an error's cause, so ours travel as
            rows.
        OSError: a disk that fails or is full.
    """
    import ray.data

    def make(item: dict[str, Any]) -> dict[str, bytes]:
        made: ShardReport | Exception
        try:
            made = work(shards[int(item["id"])])
        except ClibdError as error:
            made = error
        except OSError as error:  # of the disk or the store, not of a record
            made = named(error, shards[int(item["id"])].path)
        return {"made": pickle.dumps(made)}

    tasks = ray.data.TaskPoolStrategy(size=most)
    made = ray.data.range(len(shards), override_num_blocks=len(shards)).map(make, num_cpus=cpus, compute=tasks)
    # A task is a whole shard, and a shard of large photographs takes many minutes: that is no starved pipeline.
    made.context.execution_no_progress_timeout_s = -1
    # Reports are small, so that tasks may wait at their nodes for a CPU. Ray Data would send the next one only when it
    # has heard that one has ended, and the CPU would wait for it a fifth of a second each time.
    made.context.op_resource_reservation_enabled = most is not None
    for item in made.iter_rows():
        shard = pickle.loads(item["made"])
        if isinstance(shard, Exception):
            raise shard
        yield shard


class OwnDataset(PreparedDataset):
    """A data set that a sweep prepares itself, and that is known before.

    Args:
        folder: where it is, or will be.
        options: its name and the size of its images.
        draw: makes the specimen table, partitioned, in a folder that goes away.
        compared: whether what was prepared before has to be of the table that `draw` makes now.
    """

    def __init__(
        self, folder: Folder, options: DatasetOptions, draw: Callable[[Path], SpecimenTable], compared: bool = False
    ) -> None:
        super().__init__(folder)
        self._options, self._draw, self._compared = options, draw, compared

    @cached_property
    def facts(self) -> DatasetFacts:
        """What it holds, or will hold once it is prepared.

        Raises:
            UsageError: it was prepared from other specimens.
        """
        stored = PreparedDataset(self.folder).facts if self.folder.has("dataset.json") else None
        if stored and not self._compared:
            return stored
        with self._specimens() as table:
            first = first_facts(table, self._options)
        if stored and stored.fingerprint != first.fingerprint:
            raise UsageError(f"{self.folder} was prepared from another INSECT; move it away, or choose another --runs")
        return stored or first

    def prepare(self, console: Console) -> None:
        """Prepare it with Ray unless it is there."""
        if not self.folder.has("dataset.json"):
            with self._specimens() as table:
                what = f"Preparing {self._options.name}, {len(table):,} specimens"
                with counting(console, what, "shards") as told:
                    self.facts = prepare(table, self.folder, self._options, run_on_ray, told)

    @contextmanager
    def _specimens(self) -> Iterator[SpecimenTable]:
        with tempfile.TemporaryDirectory() as scratch:
            yield self._draw(Path(scratch))


def synthetic_insects(runs: Folder) -> OwnDataset:
    """The data set of `--demo`."""
    return OwnDataset(runs / _SYNTHETIC, DatasetOptions(name=_SYNTHETIC, image_size=SIDE), _insects)


def insect(files: str | None, runs: Folder) -> OwnDataset:
    """INSECT from the folder of its published files, or a synthetic one in the same form."""
    if files is not None:
        read, there = partial(_insect, Path(files)), Path(files).exists()
        return OwnDataset(runs / "insect-prepared", DatasetOptions(name="insect"), read, compared=there)
    options = DatasetOptions(name=_SYNTHETIC_INSECT, image_size=SIDE)
    return OwnDataset(runs / f"{_SYNTHETIC_INSECT}-prepared", options, _synthetic_insect)


def _insects(scratch: Path) -> SpecimenTable:
    table = SpecimenTable.at(scratch / "specimens.parquet")
    collect(synthetic_source(_NUM_SPECIMENS, _SEED), table)
    table.with_splits(partition(table.column("species"), "paper"), "paper, seed 42", table)
    return table


def _insect(files: Path, scratch: Path) -> SpecimenTable:
    """With the partition that the files have."""
    table = SpecimenTable.at(scratch / "specimens.parquet")
    collect(insect_source(files, None), table)
    return table


def _synthetic_insect(scratch: Path) -> SpecimenTable:
    write_synthetic_insect(scratch / "files")
    return _insect(scratch / "files", scratch)
