"""The shards of a prepared data set as Arrow files on this machine's disk, mapped into memory.

Shuffled training asks for rows all over the data set, and Parquet gives whole row groups. So the first reader on a
machine copies a split once, in Arrow's own layout, and every process maps that file: any row is at hand, no process
holds a copy, and the operating system keeps what fits into memory.
"""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from workloads.data.specimens.barcode import NUM_TOKENS
from workloads.data.specimens.schema import PREPARED_SCHEMA, VIEWS, even_batches
from workloads.errors import UsageError
from workloads.storage import Folder, alone, cache_folder

_ROWS = 4096
"""Rows of one batch of the copy; about 35 MB with images."""
_SCHEMA = pa.schema(
    [
        PREPARED_SCHEMA.field(name)
        for name in ("image", "image_features", "barcode", "dna_ids", "authors_dna_ids", "dna_features", "text")
    ]
)
"""What towers take; names at the ranks are read from the shards."""
_IDS_BYTES = 2 * 2 * NUM_TOKENS
"""Ids of a row as they lie in a copy; in the shards they are packed."""


def mapped(folder: Folder, content: str, split: str) -> pa.Table:
    """What towers take of one split, mapped from its local copy.

    Args:
        folder: of the prepared data set.
        content: says what the data set holds, so that one made anew gets a copy of its own.
        split: which one.

    Raises:
        UsageError: the disk of the cache is too small.
    """
    place = hashlib.sha256(f"{folder}\0{content}\0{_SCHEMA}".encode()).hexdigest()[:16]
    path = cache_folder() / place / f"{split}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_suffix(".lock")):
        if path.is_file():
            try:
                return _map(path)
            except pa.ArrowInvalid:  # the machine stopped while it was written, or someone changed it
                path.unlink()
        _copy(folder / f"split={split}", path)
    return _map(path)


def _map(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _copy(folder: Folder, path: Path) -> None:
    shards = [name for name in folder.files() if name.endswith(".parquet")]
    _check_space(folder, shards, path)
    schema = _schema_of(folder, shards)
    with Folder(path.parent).aside(path.name) as aside, pa.ipc.new_file(aside, schema) as writer:
        for batch in even_batches(_rows(folder, shards, schema), _ROWS):
            writer.write_batch(batch)


def _schema_of(folder: Folder, shards: Sequence[str]) -> pa.Schema:
    """With the further views of specimens, where the data set has any."""
    if not shards:
        return _SCHEMA
    with folder.open_parquet(shards[0]) as file:
        return _SCHEMA.append(VIEWS) if VIEWS.name in file.schema_arrow.names else _SCHEMA


def _rows(folder: Folder, shards: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for name in shards:
        with folder.open_parquet(name) as file:
            yield from (batch.cast(schema) for batch in file.iter_batches(_ROWS, columns=schema.names))


def _check_space(folder: Folder, shards: Sequence[str], path: Path) -> None:
    needed = 0
    for name in shards:
        with folder.open_parquet(name) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            needed += sum(group.total_byte_size for group in groups) + _IDS_BYTES * file.metadata.num_rows
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UsageError(
            f"{path.parent}: {free / 1e9:.1f} GB are free, and a local copy of {folder} needs about "
            f"{needed / 1e9:.1f} GB. Make room, or set CLIBD_CACHE to a folder on a larger disk."
        )
