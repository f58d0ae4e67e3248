"""A specimen table on disk: one Parquet file that is written and read in pieces, however many specimens it holds."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA, Protocol, even_batches
from workloads.errors import ClibdError, DamagedError, MissingPathError, UsageError
from workloads.storage import Folder, cache_folder

ROWS_PER_GROUP = 4096
_METADATA = b"clibd"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What a specimen table remembers of its making."""

    source: str
    root: str = ""
    """Folder that image references are relative to."""
    protocol: str = "clibd"
    """Which of the known protocols its splits follow."""
    partition: str | None = None
    """None before partition; `source`, `lists`, or the recipe and seed that drew it."""
    synthetic_seed: int | None = None
    """Of the synthetic insects; None for real specimens."""


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
        file = self.folder.open_parquet(self.name)
        if file.schema_arrow.names != SPECIMEN_SCHEMA.names or _METADATA not in (file.schema_arrow.metadata or {}):
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

    @cached_property
    def facts(self) -> TableFacts:
        """What it remembers of its making.

        Raises:
            MissingPathError: there is no such file.
            UsageError: it is not a specimen table.
            DamagedError: it is not Parquet, or was changed.
        """
        try:
            return TableFacts(**json.loads(self._file.schema_arrow.metadata[_METADATA]))
        except (ValueError, TypeError) as error:
            raise DamagedError(str(self), f"not the metadata of a specimen table ({error})") from error

    @property
    def protocol(self) -> Protocol:
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

    def rows(self, start: int, stop: int) -> pa.Table:
        """A run of rows; only the row groups that hold them are read."""
        return pa.Table.from_batches(self.slices(start, stop, ROWS_PER_GROUP), schema=SPECIMEN_SCHEMA)

    def slices(self, start: int, stop: int, size: int) -> Iterator[pa.RecordBatch]:
        """A run of rows, some at a time; each row group that holds them is read once."""
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        begins = [0, *accumulate(sizes)]
        wanted = [group for group, size in enumerate(sizes) if begins[group] < stop and begins[group] + size > start]
        if wanted:
            first = begins[wanted[0]]
            batches = self._file.iter_batches(ROWS_PER_GROUP, row_groups=wanted)
            yield from even_batches(_cut(batches, start - first, stop - first), size)

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
        self._forget()

    def sorted_by_split(self, target: "SpecimenTable") -> None:
        """Write a copy in which the specimens of a split follow one another, otherwise in the same order.

        Rows wait on the disk in one file a split, so that memory does not grow with the table: beside the target, or in
        the cache folder where the target is in an object store.
        """
        waiting_room = Path(target.folder.path) if target.folder.is_local else cache_folder()
        waiting_room.mkdir(parents=True, exist_ok=True)
        compressed = pa.ipc.IpcWriteOptions(compression="zstd")
        with tempfile.TemporaryDirectory(prefix="sorting-", dir=waiting_room) as scratch:
            with ExitStack() as stack:
                waiting: dict[str, pa.ipc.RecordBatchFileWriter] = {}
                for batch in self.batches():
                    for split in pc.unique(batch["split"]).to_pylist():
                        if split not in waiting:
                            waiting[split] = stack.enter_context(
                                pa.ipc.new_file(f"{scratch}/{split}", SPECIMEN_SCHEMA, options=compressed)
                            )
                        rows = batch.filter(pc.equal(batch["split"], split))
                        waiting[split].write_batch(rows.replace_schema_metadata(None))
            with target.writer(self.facts) as write:
                for batch in even_batches(_spilled(scratch, self.protocol.splits), ROWS_PER_GROUP):
                    write(batch)

    def count_by_split(self) -> dict[str | None, int]:
        """Specimens of each split, in the order of the protocol; None for those without one."""
        counts: Counter[str | None] = Counter()
        for batch in self.batches(["split"]):
            counts.update({item["values"]: item["counts"] for item in pc.value_counts(batch["split"]).to_pylist()})
        order = [*self.protocol.splits, *sorted(set(filter(None, counts)) - set(self.protocol.splits)), None]
        return {split: counts[split] for split in order if counts[split]}

    def _forget(self) -> None:
        for name in ("_file", "facts"):
            self.__dict__.pop(name, None)

    @contextmanager
    def writer(self, facts: TableFacts) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Writes batches of specimens; the file appears when all of them are written, and only then."""
        schema = SPECIMEN_SCHEMA.with_metadata({_METADATA: json.dumps(asdict(facts), sort_keys=True)})
        with self.folder.parquet_writer(self.name, schema) as writer:

            def write(batch: pa.RecordBatch) -> None:
                if len(batch):
                    writer.write_batch(batch.cast(schema) if batch.schema != schema else batch, ROWS_PER_GROUP)

            yield write
        self._forget()


def _cut(batches: Iterable[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Rows from start to stop of a stream."""
    offset = 0
    for batch in batches:
        yield batch.slice(max(0, start - offset), max(0, min(stop - offset, len(batch)) - max(0, start - offset)))
        offset += len(batch)


def _spilled(scratch: str, splits: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for split in splits:
        if Path(scratch, split).is_file():
            with pa.OSFile(f"{scratch}/{split}") as file:
                reader = pa.ipc.open_file(file)
                yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
