"""The images of specimens: which file each one is, by what the table says of it or by the specimen's names.

A specimen's images are, the first of these that leads to a file: what the table gives as its image; the last parts of
the addresses in a column such as `image_urls`, which are never fetched; files that are called like its id; files that
are called like another of its ids, such as its `sampleid`. Files are looked for beside the table, or in the folder or
zip archive of `--images`, there also under the last parts of a path that leads elsewhere (another disk, Windows).

Several files of one specimen give as many records of its id, one with each image.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from workloads.data.files.image_index import ImageIndex, files_below, image_files
from workloads.data.files.image_source import IMAGE_SUFFIXES, PACKED, ImageSource
from workloads.data.files.zip_members import Member, zip_members
from workloads.data.sources.naming import ROW, Naming
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.schema import stands_for_nothing
from workloads.errors import MissingPathError, SourceError, some_of

URLS = "image_urls"
"""Field of a raw record that only this file reads: addresses of images, as text."""
_DEPTH = 3  # such as images/part7/a.jpg; a table in somebody's home folder must not make us read all of it
_UNREAD = (".gif", ".heic", ".heif", ".avif", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".psd")
_VIEW = re.compile(
    r"(.+?)[ _-](\d{1,2}|dorsal|ventral|lateral|frontal|head|face|side|left|right|top|habitus|wing|label)",
    re.IGNORECASE,
)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def with_pictures(source: Source, images: Path | None, beside: bool = True) -> Source:
    """The records of a table with the images of its specimens.

    Args:
        source: records as the table has them.
        images: the folder or zip archive of `--images`; references are then relative to it, and links are followed.
        beside: whether files may lie beside the table, which they do not where nothing was looked for.

    Raises:
        MissingPathError: there are no such images.
        SourceError: an archive is not what it claims to be.
    """
    if images is None:
        files = PictureFiles(Path(source.root), _DEPTH if beside else -1)
    else:
        if not images.exists():
            raise MissingPathError(images, "folder or zip archive of images", "Name one with --images.")
        files = PictureFiles(images.absolute(), None)
        source = replace(source, root=str(files.root), follow_links=True)
    reader = _Attached(source, files, named=images is not None)
    return replace(source, records=_Again(reader))


class _Again:
    """Records with images, read anew each time."""

    def __init__(self, reader: "_Attached") -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[RawRecord | Refused]:
        return self._reader.records()


class PictureFiles:
    """Image files of a folder or an archive, by their stems, and which of them have been used."""

    def __init__(self, place: Path, depth: int | None) -> None:
        """List them.

        Args:
            place: a folder, or a zip archive.
            depth: how many folders further down; None for all of them, following links, and -1 for no file at all.
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
        elif self._depth != -1:
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
        """The one file that ends in the last part of a path or of an address, None where there are several."""
        key, name = stem_of(path), base_name(path)
        rows = self._by_stem.rows_of(key)
        files = [file for row in rows if base_name(file := self._by_stem.named(key, row)) == name]
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
        count, names = int((~self._used).sum()), list[str]()
        if count:
            for _, member in self._files():
                key = stem_of(member.name)
                rows = self._by_stem.rows_of(key)
                if rows and not self._used[rows].any():
                    names.append(member.name)
                    if len(names) == most:
                        break
        return count, names

    def unread(self) -> Counter[str]:
        """Pictures of kinds that are not read, by their endings."""
        if self._is_archive or self._depth == -1:
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


class _Attached:
    """One reading of a source's records with images, and what is said of it at its end."""

    def __init__(self, source: Source, files: PictureFiles, named: bool) -> None:
        self._source, self._files, self._named = source, files, named
        self._reader = ImageSource(str(files.root), source.follow_links)
        self._counts: Counter[str] = Counter()
        self._absent, self._outside = "", ""
        self._naming = Naming()

    def records(self) -> Iterator[RawRecord | Refused]:
        """Each record once for each of its images, or once without one."""
        total, seek = 0, len(self._files) > 0
        for record in self._source.records:
            if isinstance(record, Refused):
                yield record
                continue
            total += 1
            images = self._images_of(record) if seek or record.get("image") or URLS in record else ()
            plain = record
            if URLS in record or ROW in record:
                plain = {key: value for key, value in record.items() if key not in (URLS, ROW)}
            if not images:
                yield plain
            for image in images:
                yield {**plain, "image": image}
        self._say(total)

    def _images_of(self, record: RawRecord) -> Sequence[str]:
        given, urls = record.get("image"), record.get(URLS)
        if given and not stands_for_nothing(given):
            return [self._given(given, record.get("image_features") is not None)]
        if not len(self._files):
            self._counts["urls alone"] += bool(urls)
            return ()
        if urls:
            found = [file for url in re.split(r"[|;,\s]+", urls) if url and (file := self._files.at(url)) is not None]
            self._counts["by address"] += bool(found)
            if found:
                return list(dict.fromkeys(found))
        self._naming.see(record)
        others, values = record.get(ROW, ((), {}))
        for column, name in (("", record.get("specimen_id")), *((other, values[other]) for other in others)):
            if name and (name := str(name).strip()) and (images := self._by_name(name)):
                self._counts["by name"] += 1
                if column:
                    self._counts[f"as {column}"] += 1
                return images
        self._counts["urls alone"] += bool(urls)
        return ()

    def _by_name(self, name: str) -> list[str]:
        exact = self._files.called(name)
        if not exact and name.lower().endswith(IMAGE_SUFFIXES):
            exact = self._files.called(name, as_file=True)
        views = self._files.views(name)
        if not exact:
            return views
        return exact[:1] + [view for view in views if not stem_of(view)[-1].isdigit()]

    def _given(self, image: str, has_features: bool) -> str:
        """The file that a table means; what leads to none is kept, since specimens can be partitioned without it."""
        if image.startswith(PACKED):
            return image
        is_bare = not re.search(r"[\\/:]", image)
        if is_bare and (named := self._files.called(image) or self._files.called(image, as_file=True)):
            return named[0]
        if not _DRIVE.match(image) and "://" not in image and self._reader.has(image):
            self._files.mark(self._relative(image))
            return image
        if (slashed := image.replace("\\", "/")) != image and self._reader.has(slashed):
            self._files.mark(relative := self._relative(slashed))
            return relative
        if (self._named or image.startswith("/") or "\\" in image or ":" in image) and (found := self._tail(slashed)):
            self._counts["by last part"] += 1
            return found
        if not has_features:
            self._counts["absent"] += 1
            self._absent = self._absent or image
            if not self._outside and os.path.isfile(place := os.path.join(self._files.root, image)):
                self._outside = os.path.dirname(os.path.normpath(place))
        return image

    def _relative(self, image: str) -> str:
        """A path without detours, relative to the folder of the images."""
        root = str(self._files.root)
        return os.path.relpath(os.path.join(root, image), root) if image.startswith("/") or ".." in image else image

    def _tail(self, image: str) -> str | None:
        """The file under the longest end of a path that there is."""
        parts = [part for part in image.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts) - 1):
            if "://" not in image and self._reader.has(end := "/".join(parts[start:])):
                self._files.mark(end)
                return end
        return self._files.at(image)

    def _say(self, total: int) -> None:
        notes, counts, files = self._source.notes, self._counts, self._files
        if counts["by name"]:
            ways = [f"{count:,} by their {name[3:]}" for name, count in counts.items() if name.startswith("as ")]
            how = f" ({', '.join(ways)})" if ways else ""
            notes.append(
                f"{counts['by name']:,} of {total:,} specimens have one of {len(files):,} images, by its name{how}"
            )
        if counts["by address"]:
            notes.append(
                f"{counts['by address']:,} of {total:,} specimens have an image by the last part of its address"
            )
        if counts["by last part"]:
            remark = "specimens name an image under another folder; the file of the same name is taken"
            notes.append(f"{counts['by last part']:,} of {total:,} {remark}")
        if counts["urls alone"]:
            remark = "have addresses of images, and no file of these names is there; images are not fetched"
            notes.append(f"{counts['urls alone']:,} of {total:,} specimens {remark}: add --images DIR where they lie")
        if counts["absent"]:
            self._say_absent(counts["absent"], total)
        if files.num_repeated:
            remark = "images share their name with another one; the first in the alphabet is taken"
            notes.append(f"{files.num_repeated:,} {remark}")
        self._say_left_over()
        for suffix, count in sorted(files.unread().items()):
            notes.append(f"{count:,} {suffix} files are passed over: {', '.join(IMAGE_SUFFIXES)} are read")

    def _say_absent(self, count: int, total: int) -> None:
        remedy = ""
        if not self._named:
            where = self._outside or "DIR"
            remedy = f"; name the folder in which they lie with --images {where}"
        self._source.notes.append(
            f"{count:,} of {total:,} specimens name an image that is not in {self._files.root} (such as "
            f"{self._absent[:200]!r}); they can be partitioned, but `clibd data prepare` will refuse them{remedy}"
        )

    def _say_left_over(self) -> None:
        count, names = self._files.left_over(500)
        count -= self._files.num_repeated
        if count <= 0 or not names:
            return
        hint = self._naming.hint([stem_of(name) for name in names])
        shown = some_of([base_name(name) for name in names[:3]], 3)
        self._source.findings.add("image files belong to no specimen" + hint, shown, count)


def check_readable(images: Path) -> None:
    """Refuse what is neither a folder nor a zip archive.

    Raises:
        SourceError: it is not.
    """
    if images.is_file() and images.suffix.lower() != ".zip":
        raise SourceError(images, "", "--images names a folder of images, or a .zip of them")
