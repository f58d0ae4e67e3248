"""Images found by their names: the files of a folder, and which of them has which key."""

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from workloads.data.files.image_source import IMAGE_SUFFIXES, zip_reference
from workloads.data.files.zip_members import Member

_NONE = range(0)
_INDEXED = np.dtype([("key", np.int64), ("offset", np.int64), ("size", np.int64), ("place", np.int32)])


def image_files(folder: Path, depth: int | None = None, follow_links: bool = False) -> Iterator[str]:
    """Image files of a folder and those below it, relative to it, sorted in each; those of hidden folders left out.

    Args:
        folder: where to look.
        depth: how many folders further down.
        follow_links: also into folders that are links, each folder once.
    """
    yield from files_below(folder, IMAGE_SUFFIXES, depth, follow_links)


def files_below(
    folder: Path, suffixes: tuple[str, ...], depth: int | None = None, follow_links: bool = False
) -> Iterator[str]:
    """The same for files of any endings, in lower case."""
    seen: set[str] = set()
    for here, subfolders, names in os.walk(folder, followlinks=follow_links):
        parts = Path(here).relative_to(folder).parts
        if follow_links:
            if (real := os.path.realpath(here)) in seen:  # a link back
                subfolders.clear()
                continue
            seen.add(real)
        deeper = depth is None or len(parts) < depth
        subfolders[:] = sorted(name for name in subfolders if deeper and not name.startswith("."))
        yield from ("/".join((*parts, name)) for name in sorted(names) if name.lower().endswith(suffixes))


class ImageIndex:
    """References of images by their keys, in some 30 bytes an image."""

    def __init__(self, images: Iterable[tuple[str | None, Member]], key_of: Callable[[str], str]) -> None:
        """Read all images once.

        Args:
            images: name of the archive, or None for a file, and where the image lies in it; of several with one key,
                the first counts most.
            key_of: what identifies an image: a part of its name.
        """
        numbers: dict[tuple[str | None, str, str], int] = {}

        def _rows() -> Iterator[tuple[int, int, int, int]]:
            for archive, (name, offset, size) in images:
                key = key_of(name)
                before, _, after = name.rpartition(key)
                yield hash(key), offset, size, numbers.setdefault((archive, before, after), len(numbers))

        rows = np.fromiter(_rows(), _INDEXED)
        self._rows = rows[np.argsort(rows["key"], kind="stable")]
        keys = self._rows["key"].copy()
        self.num_repeated = int((keys[1:] == keys[:-1]).sum())
        self._keys, self._places = array("q", keys.tobytes()), list(numbers)

    def __len__(self) -> int:
        """How many images there are, of different keys."""
        return len(self._rows) - self.num_repeated

    def rows_of(self, key: str) -> range:
        """The numbers of the images of a key, first the one that counts most."""
        keys, wanted = self._keys, hash(key)
        start = bisect_left(keys, wanted)
        if start == len(keys) or keys[start] != wanted:
            return _NONE
        return range(start, bisect_right(keys, wanted) if self.num_repeated else start + 1)

    def named(self, key: str, row: int) -> str:
        """What an ImageSource reads an image of a key by."""
        _, offset, size, number = self._rows[row].tolist()
        archive, before, after = self._places[number]
        # Should two keys share a hash, the name made here is not the indexed one, and reading refuses it.
        member = Member(f"{before}{key}{after}", offset, size)
        return member.name if archive is None else zip_reference(archive, member)

    def reference(self, key: str) -> str | None:
        """What an ImageSource reads the first image of a key by, or None if there is none."""
        rows = self.rows_of(key)
        return self.named(key, rows[0]) if rows else None
