"""Text of variable length in HDF5 files, gone through once by a process that may never come back from it.

Where its heap is damaged, the HDF5 library takes gigabytes, ends the process, or goes round in it for ever. What one
process has read to the end, another reads as well.
"""

import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.data.files.hdf5_files import MAX_ROWS, dataset, datasets_of, groups_of, open_hdf5, slices
from workloads.errors import SourceError
from workloads.foreign_file import FACTS, REFUSAL, read_apart

if TYPE_CHECKING:
    import h5py

_MEMORY = 2 << 30
_SECONDS, _BYTES_A_SECOND = 4, 10_000_000
"""Of a processor, for any file, and beside its size; a sound one takes a hundredth."""


def check_texts(path: str) -> None:
    """Refuse a file whose texts of variable length cannot be read to their end.

    Raises:
        SourceError: the library dies of them, takes too much memory, or never comes back.
    """
    stat = Path(path).stat()
    if reason := _refusal(path, stat.st_size, stat.st_mtime_ns):
        raise SourceError(path, "", f"its texts of variable length are damaged: {reason}; fetch the file again")


@lru_cache(maxsize=16)
def _refusal(path: str, size: int, modified: int) -> str | None:
    """Why a file is refused, asked once of what lies there."""
    seconds = _SECONDS + size // _BYTES_A_SECOND
    with tempfile.TemporaryDirectory() as scratch:
        absolute = str(Path(path).absolute())
        reason = read_apart(__name__, Path(scratch), absolute, str(seconds), seconds=60.0 + 10 * seconds).get(REFUSAL)
    return None if reason is None else str(reason)


def read_texts(folder: Path, path: Path) -> None:
    """What the child does: read all of them, or say why one is not read. Its last word is which of them it reads.

    Datasets that are no such text, or that are refused where they are wanted, are let through.
    """
    facts = dict[str, str]()
    try:
        with open_hdf5(path) as file:
            for texts in _texts(file):
                print(texts.name, file=sys.stderr, flush=True)
                for _ in slices({"text": texts}, len(texts)):
                    pass
    except SourceError as error:
        facts = {REFUSAL: " ".join(error.args[1:])}
    (folder / FACTS).write_text(json.dumps(facts))


def _texts(file: "h5py.File") -> "Iterator[h5py.Dataset]":
    for group in groups_of(file):
        for name in datasets_of(file, group, own=True):
            try:
                found = dataset(file, f"{group}/{name}", floats=True)
            except SourceError:
                continue
            if found.dtype.kind == "O" and found.ndim == 1 and len(found) <= MAX_ROWS:
                yield found


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]), int(sys.argv[3])))
    with suppress(ValueError, OSError):  # a system that knows no such limit, or a stricter one
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    read_texts(Path(sys.argv[1]), Path(sys.argv[2]))
