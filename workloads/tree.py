"""Everything below a folder, listed once, and files of it read by many threads at once: for looking at many runs."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from workloads.naming import is_utf8
from workloads.object_store import object_store, store_errors
from workloads.plain_values import parsed
from workloads.storage import Folder


class Tree:
    """The files below a folder of runs, as they were when it was made."""

    def __init__(self, folder: Folder) -> None:
        """List it, empty where it is not there; names that are no UTF-8 are left out, other odd ones hinder nothing.

        Raises:
            OSError: the store does not answer.
        """
        self.folder = folder
        self.modified: dict[str, float] = {}
        """When each was last written, in seconds since 1970 by the clock of the disk or store; by its relative name."""
        self.sizes: dict[str, int] = {}
        """Bytes of each."""
        for name, modified, size in _on_disk(Path(folder.path)) if folder.is_local else _in_store(folder):
            self.modified[name], self.sizes[name] = modified, size

    def read(self, name: str) -> bytes | None:
        """A file as it is now; None where it is gone, or a disk does not give it."""
        if self.folder.is_local:
            with suppress(OSError):
                return Path(self.folder.path, name).read_bytes()
            return None
        store, prefix = object_store(self.folder)
        try:
            with store_errors(f"{self.folder}/{name}"):
                return bytes(store.get(f"{prefix}/{name}").bytes())
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where it is gone or something else."""
        try:
            content = parsed(self.read(name) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


def _in_store(folder: Folder) -> Iterator[tuple[str, float, int]]:
    """Names, times and sizes of all objects."""
    store, prefix = object_store(folder)
    with store_errors(str(folder)):
        for found in store.list(prefix, chunk_size=1000):
            for file in found:
                name = file["path"].removeprefix(f"{prefix}/")
                yield name, file["last_modified"].timestamp(), file["size"]


def _on_disk(top: Path) -> Iterator[tuple[str, float, int]]:
    """The same of files, links followed; one that leads back into what it lies in is left out."""
    real = os.path.realpath(top)
    waiting = [("", real, frozenset({real}))]
    while waiting:
        below, within, inside = waiting.pop()
        for entry in _entries(os.path.join(top, below)):
            name = os.path.join(below, entry.name)
            with suppress(OSError):  # it is gone, or a link to nothing
                if not entry.is_dir():
                    found = entry.stat()
                    yield name, found.st_mtime, found.st_size
                    continue
                # Where no link is, the disk is not asked for the real place: a look is taken every second.
                real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(within, entry.name)
                if real not in inside:
                    waiting.append((name, real, inside | {real}))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as found:
        return [entry for entry in found if is_utf8(entry.name)]
    return []
