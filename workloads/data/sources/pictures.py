"""The images of specimens: which file each one is, by what the table says of it or by the specimen's names.

A specimen's images are, the first of these that leads to a file: what the table gives as its image; the last parts of
the addresses in a column such as `image_urls`, which are never fetched; files that are called like its id; files that
are called like another of its ids, such as its `sampleid`. Files are looked for beside the table, or in the folder or
zip archive of `--images`, there also under the last parts of a path that leads elsewhere (another disk, Windows).

Several files of one specimen give as many records of its id, one with each image.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from workloads.data.files.image_source import IMAGE_SUFFIXES, PACKED, ImageSource
from workloads.data.sources.naming import ROW, Naming
from workloads.data.sources.picture_files import PictureFiles, base_name, stem_of
from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source
from workloads.data.specimens.schema import stands_for_nothing
from workloads.errors import MissingPathError, UsageError, some_of

URLS = "image_urls"
"""Field of a raw record that only this file reads: addresses of images, as text."""
_DEPTH = 3  # such as images/part7/a.jpg; a table in somebody's home folder must not make us read all of it
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def with_pictures(source: Source, images: Path | None) -> Source:
    """The records of a table with the images of its specimens.

    Args:
        source: records as the table has them.
        images: the folder or zip archive of `--images`; references are then relative to it, and links are followed.

    Raises:
        MissingPathError: there are no such images.
        SourceError: an archive is not what it claims to be.
    """
    if images is None:
        files = PictureFiles(Path(source.root), _DEPTH)
    else:
        if not images.exists():
            raise MissingPathError(images, "folder or zip archive of images", "Name one with --images.")
        files = PictureFiles(images.absolute(), None)
        source = replace(source, root=str(files.root), follow_links=True)
    given = replace(source)
    return replace(source, records=ReadAnew(lambda: _Attached(given, files, named=images is not None).records()))


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
            if self._named and image.startswith("parquet:"):
                raise UsageError("--images names images elsewhere, and the table holds its own; leave it out")
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
            remedy = f"; name the folder in which they lie with --images {shlex.quote(where)}"
        self._source.notes.append(
            f"{count:,} of {total:,} specimens name an image that is not in {self._files.root} (such as "
            f"{self._absent[:200]!r}); they can be partitioned, but `clibd data prepare` will refuse them{remedy}"
        )

    def _say_left_over(self) -> None:
        count, names = self._files.left_over(500)
        if not count:
            return
        hint = self._naming.hint([stem_of(name) for name in names])
        shown = some_of([base_name(name) for name in names[:3]], 3)
        self._source.findings.add("image files belong to no specimen" + hint, shown, count)
