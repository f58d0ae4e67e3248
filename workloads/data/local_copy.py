"""The shards of a prepared data set as Arrow files on this machine's disk, mapped into memory.

Shuffled training asks for rows all over the data set, and Parquet gives whole row groups. So the first reader on a
machine copies a split once, in Arrow's own layout, and every process maps that file: any row is at hand, no process
holds a copy, and the operating system keeps what fits into memory.
"""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from workloads.data.schema import even_batches
from workloads.data.shards import PREPARED_SCHEMA
from workloads.errors import UsageError
from workloads.storage import Folder

_ROWS = 4096
"""Rows of one batch of the copy; about 35 MB with images."""
_KEPT = "image", "image_features", "dna_ids", "authors_dna_ids", "text"
"""What towers take; labels are read from the shards."""


def cache_folder() -> Path:
    """Where copies are kept: $CLIBD_CACHE, or the user's cache folder. It may be removed at any time between runs."""
    given = os.environ.get("CLIBD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clibd"


def mapped(folder: Folder, fingerprint: str, split: str) -> pa.Table | None:
    """What towers take of one split, mapped from its local copy; None where the split has no shard.

    Args:
        folder: of the prepared data set.
        fingerprint: of the data set, so that a data set made anew gets a copy of its own.
        split: which one.

    Raises:
        UsageError: the disk of the cache is too small.
    """
    shards = [name for name in (folder / f"split={split}").files() if name.endswith(".parquet")]
    if not shards:
        return None
    place = hashlib.sha256(f"{folder}\0{fingerprint}".encode()).hexdigest()[:16]
    path = cache_folder() / place / f"{split}.arrow"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if not path.is_file():
                _copy(folder / f"split={split}", shards, path)
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Only one process of this machine at a time; the others wait."""
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _copy(folder: Folder, shards: Sequence[str], path: Path) -> None:
    _check_space(folder, shards, path)
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        writer: pa.ipc.RecordBatchFileWriter | None = None
        with pa.OSFile(str(aside), "wb") as file:
            for batch in even_batches(_rows(folder, shards), _ROWS):
                writer = writer or pa.ipc.new_file(file, batch.schema)
                writer.write_batch(batch)
            writer = writer or pa.ipc.new_file(file, pa.schema([PREPARED_SCHEMA.field(name) for name in _KEPT]))
            writer.close()
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _rows(folder: Folder, shards: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for name in shards:
        with folder.open_parquet(name) as file:
            yield from file.iter_batches(_ROWS, columns=list(_KEPT))


def _check_space(folder: Folder, shards: Sequence[str], path: Path) -> None:
    needed = sum(folder.size(name) for name in shards)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UsageError(
            f"{path.parent}: {free / 1e9:.1f} GB are free, and a local copy of {folder} needs about "
            f"{needed / 1e9:.1f} GB. Make room, or set CLIBD_CACHE to a folder on a larger disk."
        )
