"""The shards of a prepared data set as Arrow files on this machine's disk, mapped into memory.

Shuffled training asks for rows all over the data set, and Parquet gives whole row groups. So the first reader on a
machine copies a split once, in Arrow's own layout, and every process maps that file: any row is at hand, no process
holds a copy, and the operating system keeps what fits into memory.

A copy lies under what it holds, with its digest beside. Every process compares it once, when it opens the copy, and
one that was changed since is made again.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from workloads.data.specimens.barcode import NUM_TOKENS
from workloads.data.specimens.schema import PREPARED_SCHEMA, VIEWS, even_batches
from workloads.errors import DamagedError, UsageError
from workloads.seals import SealedFolder
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
    """What towers take of one split, mapped from its local copy, which is what was written.

    Args:
        folder: of the prepared data set; where it is sealed, the shards are compared as they are copied.
        content: says what the data set holds, so that one made anew gets a copy of its own.
        split: which one.

    Raises:
        AlteredError: a shard is not what was written.
        DamagedError: the disk of the cache changes what is written there.
        UsageError: it is too small.
    """
    path = cache_folder() / _place(folder, content, split) / f"{split}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: tuple[int, int] | None = None
    for _ in range(3):
        with alone(path.with_suffix(".lock")):
            if not _seal(path).is_file() or not path.is_file() or _identity(path) == seen:
                _seal(path).unlink(missing_ok=True)
                _copy(folder / f"split={split}", path)
            seen, stated = _identity(path), _seal(path).read_text()
            file = pa.memory_map(str(path))
        # Not under the lock: a process of this machine does not wait for another to read it all.
        if hashlib.sha256(file.read_buffer()).hexdigest() == stated:
            file.seek(0)
            return pa.ipc.open_file(file).read_all()
        print(f"{path}: this copy has changed since it was written, and is made again", file=sys.stderr)
    raise DamagedError(str(path), "it does not stay as it is written, so the disk may be failing")


def _place(folder: Folder, content: str, split: str) -> str:
    """Name of the folder of a copy: of what it holds where that is known, else of the data set's address."""
    shards = folder / f"split={split}"
    digests = sorted(shards.sealed.items()) if isinstance(shards, SealedFolder) else []
    held = str(digests) if digests else f"{folder}\0{content}"
    return hashlib.sha256(f"{held}\0{_SCHEMA}".encode()).hexdigest()[:16]


def _seal(path: Path) -> Path:
    """The digest beside a copy; written after it."""
    return path.with_suffix(".sha256")


def _identity(path: Path) -> tuple[int, int]:
    """Of the file that lies there now."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _copy(folder: Folder, path: Path) -> None:
    shards = [name for name in folder.files() if name.endswith(".parquet")]
    plain = Folder(folder.address)  # footers alone are read of these
    _check_space(plain, shards, path)
    schema, target = _schema_of(plain, shards), Folder(path.parent)
    with target.aside(path.name) as aside:
        with pa.ipc.new_file(aside, schema) as writer:
            for batch in even_batches(_rows(folder, shards, schema), _ROWS):
                writer.write_batch(batch)
        digest = target.digest(Path(aside).name)
    target.write(_seal(path).name, digest.encode())


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
