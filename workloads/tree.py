"""Everything below a folder, listed once, and files of it read by many threads at once: for looking at many runs."""

from typing import Any

from workloads.object_store import object_store, store_errors
from workloads.plain_values import parsed
from workloads.storage import Folder


class Tree:
    """The files below a folder of runs, as they were when it was made."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._store, self._prefix = object_store(folder)
        self.modified: dict[str, float] = {}
        """When each was last written, in seconds since 1970 by the clock of the disk or store; by its relative name."""
        with store_errors(str(folder)):
            for found in self._store.list(self._prefix, chunk_size=1000):
                for file in found:
                    self.modified[file["path"].removeprefix(f"{self._prefix}/")] = file["last_modified"].timestamp()

    def read(self, name: str) -> bytes | None:
        """A file as it is now; None where it is gone."""
        try:
            with store_errors(f"{self.folder}/{name}"):
                return bytes(self._store.get(f"{self._prefix}/{name}").bytes())
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where it is gone or something else."""
        try:
            content = parsed(self.read(name) or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}
