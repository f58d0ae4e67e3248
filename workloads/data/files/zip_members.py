"""Members of a zip archive, listed and read in place, at once or as a stream; nothing is ever extracted to a disk.

The published packages hold more than a million members. The standard library keeps an object for each of them (690 MiB
for 1,128,313 members, where the walk over the central directory here takes 10), so the directory is streamed here,
ZIP64 included. Reading one member needs no directory at all, only its place.
"""

import gzip
import os
import re
import stat
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np

from workloads.errors import MissingPathError, RecordError, SourceError, some_of

MAX_IMAGE_SIZE = 64 * 2**20
"""Bytes of an encoded image, in an archive or not; the largest original of BIOSCAN has some 10 MB."""
TextFile = Path | zipfile.Path
"""A text file, plain or gzipped, or a member of an archive that is read like one; `str` of it is for messages."""
READING_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, struct.error, NotImplementedError)
"""What reading a text file that is cut off or damaged can raise, packed or not."""
_MOST_TEXTS = 1000  # members of archives that hold texts; those of images hold a million
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # in any of the three ways
_SMALL = 2**20
# Images do not shrink; lists of ids and tables of barcodes shrink tenfold; deflate itself ends at 1,032.
_MAX_RATIO = 200

_END = struct.Struct("<4s4H2LH")
_LOCATOR64 = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_IN_ZIP64 = 0xFFFFFFFF
_SIZES_FOLLOW = 0x8
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8
_DESCRIPTOR = 24
_DRIVE = re.compile(r"[A-Za-z]:")


class Member(NamedTuple):
    """Where a member lies in its archive."""

    name: str
    offset: int
    """Byte of its local header."""
    size: int
    """Bytes it takes in the archive."""


def zip_members(path: Path) -> Iterator[Member]:
    """Every file of a zip archive, in the order of its central directory, folders left out.

    Args:
        path: a local archive.

    Raises:
        MissingPathError: there is no such file.
        SourceError: not a zip archive, or not an honest package: a name with `..`, a backslash or a control character,
            an absolute name or one with a drive letter, a link or a device, or two members of one name. The last is
            known when all members have been seen. Encrypted members, unknown compression and sizes that make a bomb
            are found when such a member is read.
    """
    if not path.is_file():
        raise MissingPathError(path, "zip archive", "Name an archive.")
    with path.open("rb") as file:
        try:
            count, start, size, shift = _find_directory(file)
            names = array("q")
            for member in _walk(file, str(path), count, start, size, shift):
                names.append(hash(member.name))
                if not member.name.endswith("/"):
                    yield member
        except (struct.error, UnicodeDecodeError, EOFError) as error:
            raise SourceError(path, "", f"not readable as a zip archive ({error or 'it is cut off'})") from error
    hashes = np.frombuffer(names, dtype=np.int64)
    hashes.sort()  # in place: the names themselves would take ten times the memory
    if (hashes[1:] == hashes[:-1]).any():
        raise SourceError(path, "", "two members have one name")


def read_member(file: int, place: Member) -> bytes:
    """Content of one member, an image, checked against its local header and its checksum.

    Args:
        file: descriptor of the open archive; its position is neither used nor moved.
        place: the member.

    Raises:
        RecordError: there is no such member at this place, it is encrypted, compressed in an unknown way, too long, a
            bomb (more than 1 MiB, and 200 times its size in the archive), cut off or damaged.
    """
    name = place.name
    if place.size > MAX_IMAGE_SIZE:
        raise RecordError(f"the member {name!r} has {place.size:,} bytes; {MAX_IMAGE_SIZE:,} are allowed")
    head = os.pread(file, _LOCAL.size, place.offset)
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise RecordError(f"the archive has no member at byte {place.offset}, where {name!r} should be")
    _, _, flags, method, _, _, checksum, size, _, name_size, extra_size = _LOCAL.unpack(head)
    body = os.pread(file, name_size + extra_size + place.size + _DESCRIPTOR, place.offset + _LOCAL.size)
    if body[:name_size] not in (name.encode("utf-8"), name.encode("cp437", "replace")):
        raise RecordError(f"the archive has another member where {name!r} should be")
    if flags & _ENCRYPTED:
        raise RecordError(f"the member {name!r} is encrypted")
    if not flags & _SIZES_FOLLOW and size not in (place.size, _IN_ZIP64):
        raise RecordError(f"the member {name!r} has {size:,} bytes by its header, {place.size:,} by the directory")
    start = name_size + extra_size
    packed, after = body[start : start + place.size], body[start + place.size :]
    if len(packed) < place.size:
        raise RecordError(f"the member {name!r} is cut off")
    content = _unpack(packed, method, name)
    if zlib.crc32(content) not in (_checksums_after(after) if flags & _SIZES_FOLLOW else (checksum,)):
        raise RecordError(f"the member {name!r} is damaged: its checksum differs")
    return content


def zipped_texts(archive: Path, wanted: str) -> list[zipfile.Path]:
    """The files of an archive that holds a few texts, to be read where they lie.

    Args:
        archive: a zip archive.
        wanted: what is looked for in it, such as `BIOSCAN_5M_Insect_Dataset_metadata.csv`.

    Raises:
        MissingPathError: there is no such file.
        SourceError: not an honest zip archive (see `zip_members`), or one of more than 1,000 members.
    """
    names = [member.name for member in islice(zip_members(archive), _MOST_TEXTS + 1)]
    if len(names) > _MOST_TEXTS:
        reason = f"it has more than {_MOST_TEXTS:,} members; a package with {wanted} has a few"
        raise SourceError(archive, "", reason)
    try:
        opened = zipfile.ZipFile(archive)
    except READING_ERRORS as error:
        raise SourceError(archive, "", f"not readable as a zip archive ({error})") from error
    return [zipfile.Path(opened, name) for name in names]


def zipped_text(archive: Path, wanted: str) -> zipfile.Path:
    """The member of an archive that is called `wanted`, in whatever folder, or else the only one with its ending.

    Raises:
        MissingPathError: no member could be meant.
        SourceError: as `zipped_texts`, or several members could be meant.
    """
    texts = zipped_texts(archive, wanted)
    suffix = Path(wanted).suffix
    tables = [text for text in texts if text.name.endswith(suffix) and not text.name.startswith(".")]
    meant = [text for text in tables if text.name == wanted] or tables
    if not meant:
        raise MissingPathError(archive, wanted, f"It holds {_listed(texts)}.")
    if len(meant) > 1:
        raise SourceError(archive, "", f"several tables ({_listed(meant)}), and no telling which is meant")
    return meant[0]


def _listed(texts: list[zipfile.Path]) -> str:
    return some_of([text.at for text in texts], 3) or "nothing"


def open_text(file: TextFile) -> IO[bytes] | gzip.GzipFile:
    """Its content as a stream, inflated block by block, however large it is; checksums are tested at its end.

    Raises:
        SourceError: a member that is encrypted, compressed in an unknown way, or a bomb (200 times its size in the
            archive).
        READING_ERRORS: it is cut off or damaged.
    """
    if not isinstance(file, zipfile.Path):
        return gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb")
    member = file.root.getinfo(file.at)
    if member.flag_bits & _ENCRYPTED:
        raise SourceError(file, "", "it is encrypted")
    if member.compress_type not in (_STORED, _DEFLATED):
        raise SourceError(file, "", f"it is compressed in a way that is not read (method {member.compress_type})")
    if member.file_size > _most_inflated(member.compress_size):
        raise SourceError(file, "", f"{member.compress_size:,} bytes that inflate to {member.file_size:,} are no table")
    try:
        return file.open("rb")
    except UnicodeDecodeError as error:  # before its content its name stands a second time
        raise zipfile.BadZipFile(f"its name is not UTF-8 ({error})") from error


def _most_inflated(packed: int) -> int:
    """Bytes that a member of so many in the archive may inflate to; one that goes beyond is a bomb."""
    return max(_SMALL, _MAX_RATIO * packed)


def _unpack(packed: bytes, method: int, name: str) -> bytes:
    if method == _STORED:
        return packed
    if method != _DEFLATED:
        raise RecordError(f"the member {name!r} is compressed in a way that is not read (method {method})")
    limit = min(MAX_IMAGE_SIZE, _most_inflated(len(packed)))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed, limit + 1)
    except zlib.error as error:
        raise RecordError(f"the member {name!r} is damaged ({error})") from error
    if len(content) > limit:
        raise RecordError(f"the member {name!r} of {len(packed):,} bytes inflates to more than {limit:,}")
    if not inflate.eof or inflate.unused_data:
        raise RecordError(f"the member {name!r} is damaged: its content does not end where it should")
    return content


def _checksums_after(after: bytes) -> tuple[int, ...]:
    """The checksum that follows a member written as a stream; its signature is optional, so both readings count."""
    if len(after) < 8:
        return ()
    first, second = struct.unpack_from("<LL", after)
    return (second, first) if after[:4] == b"PK\x07\x08" else (first,)


def _find_directory(file: BinaryIO) -> tuple[int, int, int, int]:
    """Members, start and bytes of the central directory, and by how much all offsets are shifted."""
    total = file.seek(0, os.SEEK_END)
    tail_start = max(0, total - _END.size - 0xFFFF)
    file.seek(tail_start)
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise EOFError("it has no central directory")
    _, disk, _, _, count, size, offset, _ = _END.unpack_from(tail, place)
    end = tail_start + place
    file.seek(max(0, end - _LOCATOR64.size))
    locator = file.read(_LOCATOR64.size)
    if locator[:4] == b"PK\x06\x07":
        file.seek(_LOCATOR64.unpack(locator)[2])
        signature, _, _, _, disk, _, _, count, size, offset = _END64.unpack(file.read(_END64.size))
        if signature != b"PK\x06\x06":
            raise EOFError("its ZIP64 directory is not where it says")
        end = min(end, _LOCATOR64.unpack(locator)[2])
    shift = end - size - offset
    if disk or shift < 0:
        raise EOFError("it is one of several parts" if disk else "its directory does not fit in it")
    return count, offset + shift, size, shift


def _walk(file: BinaryIO, path: str, count: int, start: int, size: int, shift: int) -> Iterator[Member]:
    """Entries of the central directory, folders included, each checked."""
    file.seek(start)
    for number in range(count):
        fields = _ENTRY.unpack(file.read(_ENTRY.size))
        signature, made_by, _, flags, _, _, _, _, packed, full, name_size, extra_size, note_size = fields[:13]
        if signature != b"PK\x01\x02":
            raise EOFError(f"its directory breaks off at entry {number}")
        variable = file.read(name_size + extra_size + note_size)
        if len(variable) < name_size + extra_size + note_size:
            raise EOFError("its directory is cut off")
        name = variable[:name_size].decode("utf-8" if flags & _UTF8 else "cp437")
        _check_name(path, name)
        mode = (fields[15] >> 16) if made_by >> 8 == 3 else 0  # 3: written on Unix, with a file mode
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SourceError(path, f"member {name!r}", "a link or a device, not a file")
        extra = variable[name_size : name_size + extra_size]
        packed, offset = _wide(extra, full, packed, fields[16])
        yield Member(name, offset + shift, packed)
    if file.tell() > start + size:
        raise EOFError("its directory is longer than it says")


def _wide(extra: bytes, full: int, packed: int, offset: int) -> tuple[int, int]:
    """Packed size and offset, from the ZIP64 field where 32 bits do not hold them."""
    if _IN_ZIP64 not in (full, packed, offset):
        return packed, offset
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            numbers = iter(struct.unpack(f"<{length // 8}Q", extra[4 : 4 + length // 8 * 8]))
            try:
                _, packed, offset = (next(numbers) if value == _IN_ZIP64 else value for value in (full, packed, offset))
            except (StopIteration, RuntimeError, ValueError) as error:
                raise EOFError("a ZIP64 field is cut off") from error
            return packed, offset
        extra = extra[4 + length :]
    raise EOFError("a ZIP64 field is missing")


def _check_name(path: str, name: str) -> None:
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or ".." in parts or parts[0] == "" or _DRIVE.match(name):
        raise SourceError(path, f"member {name!r}", "a name that leads out of the archive, or that is no file name")
