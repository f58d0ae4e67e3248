"""A specimen table on disk: one Parquet file that is written and read in pieces, however many specimens it holds."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA, SplitProtocol, even_batches
from workloads.disk_errors import naming
from workloads.errors import AlteredError, ClibdError, DamagedError, MissingPathError, UsageError
from workloads.leftovers import aside_of
from workloads.parquet_footer import SEAL, UNSEALED, seal_footer
from workloads.plain_values import parsed
from workloads.storage import Folder, cache_folder, parquet_into

ROWS_PER_GROUP = 4096
_METADATA = b"clibd"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What a specimen table remembers of its making."""

    source: str
    root: str = ""
    """Folder that image references are relative to."""
    follow_links: bool = False
    """Whether images are read behind links that lead out of that folder."""
    protocol: str = "clibd"
    """Which of the known protocols its splits follow."""
    partition: str | None = None
    """None before partition; `source`, `lists`, or the recipe and seed that drew it."""
    synthetic_seed: int | None = None
    """Seed of the synthetic insects; None for real specimens."""


class SpecimenTable:
    """A specimen table, by its place."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name

    @staticmethod
    def at(path: str | Path) -> "SpecimenTable":
        """The table of a path or an address."""
        text = str(path)
        parent, _, name = (text if "://" in text else str(Path(text).absolute())).rpartition("/")
        return SpecimenTable(Folder(parent or "/"), name)

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"

    @cached_property
    def _file(self) -> pq.ParquetFile:
        if not self.folder.has(self.name):
            raise MissingPathError(str(self), "specimen table", "Make one with `clibd data import SOURCE --to FILE`.")
        try:
            file = self.folder.open_parquet(self.name)
        except AlteredError:
            raise
        except DamagedError as error:  # it may be anybody's file, so that nobody is told to remove it
            remedy = f"A source becomes one by `clibd data import {self} --to FILE`."
            raise UsageError(f"{self} is no specimen table: {error.args[1]}. {remedy}") from error
        if file.schema_arrow.names != SPECIMEN_SCHEMA.names or _METADATA not in (file.metadata.metadata or {}):
            remedy = f"Make one with `clibd data import {self} --to FILE`."
            raise UsageError(f"{self} is not a specimen table of this version. {remedy}")
        return file

    def check_can_be_written(self) -> None:
        """Refuse a place that holds something else, before any work is done for it.

        Raises:
            UsageError: not a .parquet name, a folder, or a file that is not a specimen table.
        """
        if not self.name.endswith(".parquet"):
            raise UsageError(f"{self}: a specimen table is Parquet; name a file that ends in .parquet")
        if self.name in self.folder.folders():
            raise UsageError(f"{self} is a folder; name a file")
        if self.folder.has(self.name):
            try:
                _ = self.facts
            except ClibdError as error:
                raise UsageError(f"{self} is there and is no specimen table, so it is not overwritten") from error

    def check_not_partitioned(self) -> None:
        """Refuse to lose a partition that was drawn or taken from lists; one that came with the source comes again.

        Raises:
            UsageError: the table that is there has been partitioned.
        """
        if self.folder.has(self.name) and (by := self.facts.partition) not in (None, "source"):
            remedy = "Name another file, or import over it with --again, and partition anew"
            raise UsageError(f"{self} has been partitioned ({by}), which an import would undo. {remedy}")

    @property
    def facts(self) -> TableFacts:
        """What it remembers of its making.

        Raises:
            MissingPathError: there is no such file.
            UsageError: it is not a specimen table.
            DamagedError: it is not Parquet, or was changed.
        """
        try:
            told = parsed(self._file.metadata.metadata[_METADATA])  # not Arrow's copy, which is from before the seal
            return TableFacts(**{name: value for name, value in told.items() if name != SEAL})
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedError(str(self), f"not the metadata of a specimen table ({error})") from error

    @property
    def protocol(self) -> SplitProtocol:
        """Which of its splits train, answer and ask."""
        return PROTOCOLS[self.facts.protocol]

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in order, some 4,096 at a time."""
        yield from self._file.iter_batches(ROWS_PER_GROUP, columns=list(columns or SPECIMEN_SCHEMA.names))

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows."""
        return self._file.read(columns=[name])[name]

    def slices(self, start: int, stop: int, size: int) -> Iterator[pa.RecordBatch]:
        """A run of rows, some at a time; only the row groups that hold them are read, each once."""
        yield from even_batches(self._groups(start, stop), size)

    def _groups(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """A run of rows, as far as each row group holds them."""
        first = 0
        for number in range(self._file.metadata.num_row_groups):
            last = first + self._file.metadata.row_group(number).num_rows
            if first < stop and last > start:
                group = self._file.read_row_group(number)
                yield from group.slice(max(0, start - first), min(stop, last) - max(start, first)).to_batches()
            first = last

    def with_splits(self, splits: pa.Array, partition: str, target: "SpecimenTable", protocol: str = "clibd") -> None:
        """Write a copy in which every specimen has its split; the target may be this very table.

        Args:
            splits: split of every row, text, (rows,).
            partition: what drew them, for the record.
            target: the table to write.
            protocol: which of the known protocols the splits follow.
        """
        column, start = SPECIMEN_SCHEMA.get_field_index("split"), 0
        with target.writer(replace(self.facts, partition=partition, protocol=protocol)) as write:
            for batch in self.batches():
                share = splits.slice(start, len(batch)).cast(pa.string())
                write(batch.set_column(column, SPECIMEN_SCHEMA.field("split"), share))
                start += len(batch)
        self.__dict__.pop("_file", None)  # the target may be this very table

    def sorted_by_split(self, target: "SpecimenTable") -> None:
        """Write a copy of a partitioned table in which the specimens of a split follow one another, in the same order.

        Rows wait on the disk in one file a split, so that memory does not grow with the table: beside the target, or in
        the cache folder where the target is in an object store.
        """
        waiting_room = Path(target.folder.path) if target.folder.is_local else cache_folder()
        place = str(target if target.folder.is_local else waiting_room)
        with naming(place):
            scratch = aside_of(waiting_room / "sorting")
            scratch.mkdir()
        compressed = pa.ipc.IpcWriteOptions(compression="zstd")
        try:
            files = {split: f"{scratch}/{split}" for split in self.protocol.splits}
            with naming(place), ExitStack() as stack:
                waiting = {
                    split: stack.enter_context(pa.ipc.new_file(file, SPECIMEN_SCHEMA, options=compressed))
                    for split, file in files.items()
                }
                for batch in self.batches():
                    for split in pc.unique(batch["split"]).to_pylist():
                        rows = batch.filter(pc.equal(batch["split"], split))
                        waiting[split].write_batch(rows.replace_schema_metadata(None))
            with target.writer(self.facts) as write:
                for batch in even_batches(_stored(files.values()), ROWS_PER_GROUP):
                    write(batch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @contextmanager
    def writer(self, facts: TableFacts) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Writes batches of specimens; the file appears when all of them are written, and only then."""
        about = json.dumps({**asdict(facts), SEAL: UNSEALED}, sort_keys=True)
        schema = SPECIMEN_SCHEMA.with_metadata({_METADATA: about})
        with self.folder.aside(self.name) as aside:
            with parquet_into(aside, schema) as writer:
                yield lambda batch: writer.write_batch(batch.cast(schema), ROWS_PER_GROUP) if len(batch) else None
            seal_footer(aside)
        self.__dict__.pop("_file", None)


def _stored(files: Iterable[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pa.OSFile(path) as file:
            reader = pa.ipc.open_file(file)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
