"""Runs in an object store as a folder of this machine: each file is fetched once, and again when it is another.

What pages read of every run is fetched at each look; what is large waits until somebody asks for its run. Weights,
checkpoints and embeddings are never fetched.
"""

import errno
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from workloads.naming import is_inside, is_utf8, slug
from workloads.storage import Folder, cache_folder
from workloads.tree import Tree

_AT_ONCE = 32
_NEVER = ("/checkpoints/", "/embeddings/", ".safetensors")
_LARGE = tuple(
    f"/{name}.parquet" for name in ("predictions", "specimens", "classifier", "trained_on", "shown", "map", "floors")
)
_NO_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""An object may be called as if it lay in another one, or longer than a disk allows: it is none of ours."""
_SAME = 0.01
"""Seconds by which a file's time may differ from its object's: disks round."""


class Mirror:
    """A folder in the cache that follows a folder of a store."""

    def __init__(self, runs: Folder) -> None:
        self._runs = runs
        self.folder = Folder(cache_folder() / "mirrors" / slug(runs.address), runs.address)
        """Where the copies lie, by their names in the store; what is said of them names the store."""
        self._tree: Tree | None = None

    def renew(self) -> Mapping[str, float]:
        """Fetch what is new and remove what is gone; gives the names of all objects, and when each was last written.

        Raises:
            OSError: the store does not answer, or there is no room.
        """
        tree, here = Tree(self._runs), Tree(self.folder)
        names = [name for name in tree.modified if is_inside(name) and is_utf8(name)]
        for name in here.modified:
            if name not in tree.modified or (_has_any(name, _LARGE) and not _is_same(tree, here, name)):
                self.folder.remove(name)
        self._fetch(tree, here, (name for name in names if not _has_any(name, _LARGE)))
        self._tree = tree
        return {name: tree.modified[name] for name in names}

    def bring(self, place: str) -> None:
        """Fetch also what is large of a run, SWEEP/ID, as it was at the last look."""
        if (tree := self._tree) is not None:
            inside = (name for name in tree.modified if name.startswith(f"{place}/") and is_inside(name))
            self._fetch(tree, Tree(self.folder), inside)

    def _fetch(self, tree: Tree, here: Tree, names: Iterable[str]) -> None:
        wanted = [name for name in names if not _has_any(name, _NEVER) and not _is_same(tree, here, name)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(partial(self._copy, tree), wanted))

    def _copy(self, tree: Tree, name: str) -> None:
        if (content := tree.read(name)) is None:
            return
        try:
            with self.folder.aside(name, len(content)) as aside:
                Path(aside).write_bytes(content)
                os.utime(aside, (tree.modified[name], tree.modified[name]))
        except OSError as error:
            if error.errno not in _NO_NAME:
                raise


def _is_same(tree: Tree, here: Tree, name: str) -> bool:
    """Whether the copy of an object is what the object is now."""
    when = here.modified.get(name)
    return when is not None and abs(when - tree.modified[name]) < _SAME and here.sizes[name] == tree.sizes[name]


def _has_any(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name for part in parts)
