"""The image files of a folder or an archive, by their names, and which of them some specimen uses."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from workloads.data.files.image_index import ImageIndex, files_below, image_files
from workloads.data.files.image_source import IMAGE_SUFFIXES, PACKED
from workloads.data.files.zip_members import Member, zip_members

_DEEPEST = 8  # parts of a path that are compared
_UNREAD = (".gif", ".heic", ".heif", ".avif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".psd")
_VIEW = re.compile(
    r"(.+?)[ _-](\d{1,2}|dorsal|ventral|lateral|frontal|head|face|side|left|right|top|habitus|wing|label)",
    re.IGNORECASE,
)


class PictureFiles:
    """Image files of a folder or an archive, by their stems, and which of them have been used."""

    def __init__(self, place: Path, depth: int | None) -> None:
        """List them.

        Args:
            place: a folder, or a zip archive.
            depth: how many folders further down; None for all of them, following links.
        """
        self.place, self._depth = place, depth
        self._is_archive = place.is_file()
        self.root = place.parent if self._is_archive else place
        self._by_stem = ImageIndex(self._files(), stem_of)
        views = ((archive, member) for archive, member in self._files() if view_of(stem_of(member.name)) is not None)
        self._views = ImageIndex(views, lambda name: view_of(stem_of(name)) or "")
        self._used = np.zeros(len(self._by_stem) + self._by_stem.num_repeated, dtype=bool)

    def __len__(self) -> int:
        return len(self._used)

    @property
    def num_repeated(self) -> int:
        """How many share their stem with another one."""
        return self._by_stem.num_repeated

    def _files(self) -> Iterator[tuple[str | None, Member]]:
        if self._is_archive:
            members = (member for member in zip_members(self.place) if member.name.lower().endswith(IMAGE_SUFFIXES))
            yield from ((self.place.name, member) for member in members)
        else:
            for name in image_files(self.place, self._depth, follow_links=self._depth is None):
                yield None, Member(name, 0, 0)

    def called(self, name: str, as_file: bool = False) -> list[str]:
        """The files of a stem, the first one counting most; with `as_file` those whose whole name it is."""
        key = stem_of(name) if as_file else name
        rows = self._by_stem.rows_of(key)
        if not rows:
            return []
        found = [(row, self._by_stem.named(key, row)) for row in rows]
        if as_file:
            found = [(row, file) for row, file in found if base_name(file) == name]
        for row, _ in found:
            self._used[row] = True
        return [file for _, file in found]

    def views(self, name: str) -> list[str]:
        """The files that are called like a specimen and a view of it, such as `A17_dorsal.jpg` or `A17_2.jpg`."""
        rows = self._views.rows_of(name)
        if not rows:
            return []
        files = sorted(self._views.named(name, row) for row in rows)
        for file in files:
            self._mark(file)
        return files

    def at(self, path: str) -> str | None:
        """The one file that ends like a path or an address; None where none has its last part, or several fit."""
        key, name = stem_of(path), base_name(path)
        rows = self._by_stem.rows_of(key)
        files = [file for row in rows if base_name(file := self._by_stem.named(key, row)) == name]
        parts = path.replace("\\", "/").split("/")
        for count in range(2, min(len(parts), _DEEPEST) + 1):
            alike = [file for file in files if file.endswith("/".join(parts[-count:]))] if len(files) > 1 else []
            files = alike or files
        if len(files) != 1:
            return None
        self._mark(files[0])
        return files[0]

    def mark(self, reference: str) -> None:
        """Say that a file is used, if it is one of these."""
        if not reference.startswith(PACKED) or self._is_archive:
            self._mark(os.path.normpath(reference) if not self._is_archive else reference)

    def _mark(self, file: str) -> None:
        key = stem_of(file)
        for row in self._by_stem.rows_of(key):
            if self._by_stem.named(key, row) == file:
                self._used[row] = True

    def left_over(self, most: int) -> tuple[int, list[str]]:
        """How many files no specimen uses, and the first of their names."""
        count, names = int((~self._used).sum()), dict[str, None]()
        if not count:
            return 0, []
        for _, member in self._files():
            key = stem_of(member.name)
            unused = (row for row in self._by_stem.rows_of(key) if not self._used[row])
            names |= dict.fromkeys(self._by_stem.named(key, row) for row in unused)
            if len(names) >= most:
                break
        return count, list(names)

    def unread(self) -> Counter[str]:
        """Pictures of kinds that are not read, by their endings."""
        if self._is_archive:
            return Counter()
        return Counter(Path(name).suffix.lower() for name in files_below(self.place, _UNREAD, self._depth))


def base_name(path: str) -> str:
    """The last part of a path of any system, of an address, or of a reference into an archive."""
    if "://" in path:
        path = unquote(re.split("[?#]", path)[0])
    name = re.split(r"[\\/]", path)[-1]
    return name.rpartition(":")[2] if path.startswith("zip:") else name


def stem_of(path: str) -> str:
    """The last part without its ending."""
    return os.path.splitext(base_name(path))[0]


def view_of(stem: str) -> str | None:
    """The specimen of a file that is named after one of its views."""
    match = _VIEW.fullmatch(stem)
    return match[1] if match else None
