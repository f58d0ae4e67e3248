"""From files to queries: images, folders, archives, sequences and tables, by the readers and the rules of the import.

    photo.jpg · folder/ · photos.zip · 'plates/*.png' · barcodes.fasta.gz · reads.fastq · table.csv · synthetic · -

Whatever cannot be read is a query with its reason, and so is the rest of a file that breaks off.
"""

import glob
import gzip
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from workloads.data.files.image_index import image_files
from workloads.data.files.image_source import IMAGE_SUFFIXES, ImageSource, zip_reference
from workloads.data.files.images import shrink
from workloads.data.files.zip_members import zip_members
from workloads.data.prepared.shards import picture_at
from workloads.data.sources.cleaning import Cleaning
from workloads.data.sources.fasta import is_fastq
from workloads.data.sources.opening import SourceOptions, kind_of, open_source
from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source
from workloads.data.sources.table_files import NAMED_TABLES, SEQUENCES, TABLES, ending_of
from workloads.data.specimens.barcode_rule import (
    AMBIGUOUS,
    CUT,
    EMPTY,
    GAPS,
    NO_BASES,
    SHORT_KEPT,
    STOPS,
    TOO_LONG,
    TURNED,
    UNLIKE_COI,
)
from workloads.errors import ClibdError, MissingPathError, RecordError, SourceError
from workloads.identification.query import PICTURE_SIZE, Query

STDIN = "-"
_FIRST, _TOGETHER = 64, 512
"""Records that are cleaned at once: few of them first, so that the first answer is there soon."""
_POOR = "poor barcode: "
BARCODE_FLAGS: Mapping[str, str] = {
    TURNED: "barcode turned",
    CUT: "barcode cut",
    SHORT_KEPT: f"{_POOR}short",
    UNLIKE_COI: f"{_POOR}unlike COI",
    STOPS: f"{_POOR}stop codons",
    GAPS: f"{_POOR}gaps",
    AMBIGUOUS: f"{_POOR}ambiguous",
}
"""What is said of a barcode, by what the import's rule has found (`workloads.data.specimens.barcode_rule`)."""
_PACKED = ".gz"
_SAID = (EMPTY, NO_BASES, TOO_LONG)
"""What the reason says that stands beside it."""
_STARTS: Mapping[bytes, str] = {
    b">": ".fasta",
    b"@": ".fastq",
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
    b"PAR1": ".parquet",
    b"PK\3\4": ".zip",
    b"\x1f\x8b": _PACKED,
}
"""What comes on stdin, by its first bytes; everything else is a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """Files that are asked about, and how they are read."""

    names: Sequence[str]
    """Paths, patterns such as `plates/*.png`, `synthetic`, or `-` for stdin."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of a specimen and the column of a table that holds it."""
    images: Path | None = None
    """Folder or zip archive of a table's images."""
    recursive: bool = False
    """Whether the images of a folder's subfolders are meant too."""

    def paths(self) -> list[str]:
        """The files in their order, patterns filled in.

        Raises:
            MissingPathError: one is not there.
        """
        return [path for name in self.names for path in _matching(name)]


def queries_of(
    files: Sequence[str],
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    recursive: bool = False,
) -> Iterator[Query]:
    """The queries of some files, one after another, in bounded memory.

    Args:
        files: as `Files.names`.
        columns: as `Files.columns`.
        images: as `Files.images`.
        recursive: as `Files.recursive`.

    Raises:
        MissingPathError: one of them is not there; before the first query.
    """
    asked = Files(names=files, columns=columns or {}, images=images, recursive=recursive)
    return _queries(asked, asked.paths())


def _queries(asked: Files, paths: Sequence[str]) -> Iterator[Query]:
    for path in paths:
        with ExitStack() as held:
            lies = _from_stdin(held) if path == STDIN else path
            name = Path(lies).name if path == STDIN else path
            try:
                yield from source_queries(_opened(lies, asked), name)
            except (SourceError, MissingPathError) as error:  # one file costs itself alone
                if isinstance(error, MissingPathError) and len(paths) == 1:
                    raise
                why = " ".join(str(error).replace(lies, name).split())
                yield Query(Path(name).name or name, where=name, problem=why)


def num_queries(asked: Files) -> int | None:
    """How many queries there will be, where that is seen quickly; None where it is not."""
    total = 0
    for path in asked.paths():
        if (count := None if path == STDIN else _count(path, asked)) is None:
            return None
        total += count
    return total


def _count(path: str, asked: Files) -> int | None:
    if path.lower().endswith(IMAGE_SUFFIXES):
        return 1
    if ending_of(path, SEQUENCES) and not path.lower().endswith(".gz") and not is_fastq(path):
        with open(path, "rb") as file:
            return sum(block.count(b">") for block in iter(lambda: file.read(1 << 20), b""))
    try:
        return _opened(path, asked).total
    except ClibdError:
        return None


def _matching(name: str) -> list[str]:
    if name == STDIN or name == "synthetic" or os.path.exists(name):
        return [name]
    if any(mark in name for mark in "*?[") and (found := sorted(glob.glob(name, recursive=True))):
        return found
    raise MissingPathError(name, "file or folder", "Name an image, a folder, FASTA, FASTQ, a table, or - for stdin.")


def _from_stdin(held: ExitStack) -> str:
    """A file with what comes on stdin, which is gone with the stack; tables and archives are read twice."""
    stream: BinaryIO = sys.stdin.buffer
    start = stream.read(64)
    ending = next((ending for begin, ending in _STARTS.items() if start.lstrip().startswith(begin)), ".csv")
    folder = held.enter_context(TemporaryDirectory(prefix="clibd-stdin-"))
    path = Path(folder, f"stdin{ending}")
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(stream, file, 1 << 20)
    if ending == _PACKED:
        with gzip.open(path) as packed:
            first = packed.read(1)
        return str(path.rename(path.with_name(f"stdin{_STARTS.get(first, '.csv')}.gz")))
    return str(path)


def _opened(name: str, asked: Files) -> Source:
    """The records of one file or folder."""
    path = Path(name)
    if name.lower().endswith(IMAGE_SUFFIXES) and path.is_file():
        return _pictures(str(path.parent.absolute()), [path.name])
    if path.is_dir() and (source := _folder_of_images(path, asked.recursive)) is not None:
        return source
    if name.lower().endswith(".zip") and (source := _archive_of_images(path)) is not None:
        return source
    if path.is_file() and path.stat().st_size == 0:
        return Source(name=name, records=(), total=0)
    columns = {} if ending_of(name, SEQUENCES) else asked.columns  # whose labels stand in their headers
    return open_source(name, "auto", SourceOptions(columns=columns, images=asked.images))


def _folder_of_images(folder: Path, recursive: bool) -> Source | None:
    """The images of a folder; None where a table, sequences or a published data set lie there, which name them."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    if kind_of(folder) != "table" or any(
        ending_of(name, (*TABLES, *SEQUENCES)) or name.endswith(("datapackage.json", "meta.xml")) for name in names
    ):
        return None
    depth = None if recursive else 0
    count = sum(1 for _ in image_files(folder, depth))
    if not count:
        below = next(image_files(folder), None)
        remedy = "Add --recursive, to look into its folders." if below else "Name a folder of images or with a table."
        raise MissingPathError(folder, "image, table or FASTA file", remedy)
    source = _pictures(str(folder.absolute()), [])
    source.records = ReadAnew(lambda: (_picture(name, name) for name in image_files(folder, depth)))
    source.total = count
    return source


def _archive_of_images(path: Path) -> Source | None:
    """The images of an archive; None where a table or sequences lie in it."""
    total = 0
    for member in zip_members(path):
        if ending_of(member.name, (*TABLES, *NAMED_TABLES, *SEQUENCES)) or member.name.endswith("meta.xml"):
            return None
        total += member.name.lower().endswith(IMAGE_SUFFIXES)
    if not total:
        return None

    def records() -> Iterator[RawRecord]:
        for member in zip_members(path):
            if member.name.lower().endswith(IMAGE_SUFFIXES):
                yield _picture(member.name, zip_reference(path.name, member))

    source = _pictures(str(path.parent.absolute()), [])
    source.records, source.total = ReadAnew(records), total
    return source


def _pictures(root: str, names: Sequence[str]) -> Source:
    records = [_picture(name, name) for name in names]
    return Source(name=root, records=records, root=root, total=len(records), follow_links=True)


def _picture(name: str, reference: str) -> RawRecord:
    return {"specimen_id": name, "image": reference, "where": name}


def source_queries(source: Source, path: str) -> Iterator[Query]:
    """The queries of a source, cleaned as the import cleans, with their images read.

    Args:
        source: whose records are read once.
        path: the file, as answers give it.

    Raises:
        SourceError: it breaks off; what came before has been given.
    """
    cleaning, records, number = Cleaning(source), iter(source.records), 1
    with ImageSource(source.root, source.follow_links) as images:
        while some := _some(records, _FIRST if number == 1 else _TOGETHER):
            given = [record for record in some if not isinstance(record, SourceError)]
            for raw, row in zip(given, cleaning.rows(given, number), strict=True):
                yield _query(raw, row, images, path)
            number += len(given)
            if isinstance(some[-1], SourceError):
                raise some[-1]


def _some(records: Iterator[RawRecord | Refused], most: int) -> list[RawRecord | Refused | SourceError]:
    """The next records; where the source breaks off, its error comes after those before it."""
    some: list[RawRecord | Refused | SourceError] = []
    try:
        for record in islice(records, most):
            some.append(record)
    except SourceError as error:
        some.append(error)
    return some


def _query(raw: RawRecord | Refused, row: Mapping[str, Any] | Refused, images: ImageSource, path: str) -> Query:
    if isinstance(row, Refused):
        return Query(row.identifier, where=path, problem=row.reason)
    assert not isinstance(raw, Refused), "a refused record has no row"
    identifier, place = row["specimen_id"], raw.get("where") or ""
    remarks = [BARCODE_FLAGS.get(remark, f"{_POOR}{remark}") for remark in row["remarks"] if remark not in _SAID]
    is_file = place == row["image"] and Path(path).name != place
    where = f"{path}/{place}" if is_file else path if place in ("", row["image"]) else f"{path}, {place}"
    query = Query(identifier, row["image_features"], row["barcode"], where, tuple(dict.fromkeys(remarks)))
    if row["image"] is not None:
        return _with_image(query, row["image"], images)
    nothing = query.image is None and query.barcode is None
    return replace(query, problem="it has neither an image nor a barcode") if nothing else query


def _with_image(query: Query, reference: str, images: ImageSource) -> Query:
    """A query with its picture, as small as those of the keys; where it cannot be read, with what else it brought."""
    try:
        return replace(query, image=shrink(picture_at(reference, images), PICTURE_SIZE))
    except RecordError as error:
        return query if query.image is not None else query.without("image", str(error))
