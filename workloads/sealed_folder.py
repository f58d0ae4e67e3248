"""Folders that are taken whole or not at all: a manifest with the size and SHA-256 of every file is written last.

What has no manifest was never finished, or its removal was interrupted. What does not agree with its manifest is
damaged.
"""

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from workloads.errors import DamagedError
from workloads.storage import Folder

MANIFEST = "manifest.json"

Content = bytes | memoryview


def is_sealed(folder: Folder) -> bool:
    """Whether the folder was written to its end."""
    return folder.has(MANIFEST)


def write_sealed(folder: Folder, files: Mapping[str, Content]) -> None:
    """Write files into a folder that has none, and seal it.

    Raises:
        OSError: it names the file; the folder is not sealed.
    """
    for name, content in {**files, MANIFEST: _manifest(files)}.items():
        with naming(f"{folder}/{name}"):
            folder.write(name, content)


def read_sealed(folder: Folder, names: Sequence[str]) -> dict[str, bytes]:
    """The files of a sealed folder, to the bit what was written.

    Raises:
        DamagedError: they are not.
        OSError: the store cannot be read now, which says nothing about what it holds.
    """
    stored = read_file(folder, MANIFEST)
    files = {name: read_file(folder, name) for name in names}
    try:
        stated = json.loads(stored)
        for name, content in files.items():
            _compare(f"{folder}/{name}", content, stated[name]["size"], stated[name]["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder}/{MANIFEST}", f"not a manifest ({error!r})") from error
    if stored != _manifest(files):
        raise DamagedError(f"{folder}/{MANIFEST}", "not what was written")
    return files


def remove_sealed(parent: Folder, name: str) -> None:
    """Remove a folder, its manifest first: what is left of an interrupted removal is then not taken for damaged.

    Raises:
        OSError: it names the folder.
    """
    with naming(f"{parent}/{name}"):
        (parent / name).remove(MANIFEST)
        parent.remove_folder(name)


def json_content(value: Any) -> bytes:
    """A value as JSON, readable and with sorted keys."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def read_file(folder: Folder, name: str) -> bytes:
    """A file that should be there.

    Raises:
        DamagedError: it is gone, or the disk cannot read it.
        OSError: the store cannot be read now.
    """
    with naming(f"{folder}/{name}"):
        try:
            return folder.read(name)
        except FileNotFoundError as error:
            raise DamagedError(f"{folder}/{name}", "it is gone") from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedError(f"{folder}/{name}", f"it cannot be read ({error})") from error


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file into an error of the disk or the store; those of a store have no number of their own."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), path) from error


def _manifest(files: Mapping[str, Content]) -> bytes:
    """One content, one manifest."""
    return json_content({name: {"size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()})


def _compare(path: str, content: bytes, size: int, sha256: str) -> None:
    if len(content) != size:
        raise DamagedError(path, f"{len(content)} bytes, where {size} were written")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(path, f"its SHA-256 is not that of {MANIFEST}")
