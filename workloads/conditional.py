"""A small file that several may want to change: each change says what it replaces, and one of two wins.

Object stores have conditional writes. On disks it is created by a link, which is atomic on network disks too, and
changed under a lock of the very file that is replaced, so that nothing lies beside it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from obstore.exceptions import AlreadyExistsError, PreconditionError

from workloads.object_store import object_store, store_errors
from workloads.storage import Folder


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file was at a moment."""

    content: bytes
    version: Any
    """Equal as long as nobody has changed it."""
    modified: float
    """Seconds since 1970, by the clock of the disk or store."""


class ConditionalFile:
    """A file, in a folder that need not be there yet, that changes only from what its writer knows."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Open it.

        Raises:
            UsageError: the store has no conditional writes.
        """
        self._store, prefix = object_store(folder)
        self._path, self._address, self._is_local = f"{prefix}/{name}", f"{folder}/{name}", folder.is_local

    def read(self) -> Reading | None:
        """What it is now; None where it is not there."""
        try:
            with store_errors(self._address):
                got = self._store.get(self._path)
                return Reading(bytes(got.bytes()), _version(got.meta), got.meta["last_modified"].timestamp())
        except FileNotFoundError:
            return None

    def create(self, content: bytes) -> Any:
        """Make it; its version, or None where it was there already."""
        return self._put(content, "create")

    def replace(self, content: bytes, version: Any) -> Any:
        """Change it; its new version, or None where it is no longer of this one."""
        with suppress(FileNotFoundError):
            if not self._is_local:
                return self._put(content, dict(version))
            with self._locked():
                if (found := self.read()) and found.version == version:
                    return self._put(content, "overwrite")
        return None

    def remove(self, version: Any) -> None:
        """Remove it, if it is of this version.

        In a store by a last change first: whoever waits for it to stand still begins anew, and leaves time to remove.
        """
        with suppress(FileNotFoundError), store_errors(self._address):
            if self._is_local:
                with self._locked():
                    if (found := self.read()) and found.version == version:
                        self._store.delete(self._path)
            elif (found := self.read()) and self.replace(found.content + b"\n", version) is not None:
                self._store.delete(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """While nobody else changes a file on a disk."""
        while True:
            with open(f"/{self._path}", "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                    yield
                    return
                # another one was put there while this one waited

    def _put(self, content: bytes, mode: Any) -> Any:
        try:
            with store_errors(self._address):
                return _version(self._store.put(self._path, content, mode=mode, use_multipart=False))
        except OSError as error:
            if isinstance(error.__cause__, AlreadyExistsError | PreconditionError):
                return None
            raise


def _version(meta: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, meta[name]) for name in ("e_tag", "version") if meta.get(name) is not None)
