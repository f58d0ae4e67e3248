"""The layout of a MATLAB file, checked before anything in it is decoded.

A `.mat` file can hold objects and functions, sizes that its bytes do not back up, and cells nested without end. The
layout is that of "MAT-File Format" (MathWorks), chapter 1, for versions 5 to 7.2; version 7.3 is HDF5
and is refused.
"""

import math
import struct
import zlib
from collections.abc import Collection, Container, Iterator
from pathlib import Path
from typing import BinaryIO

from workloads.errors import SourceError

_MATRIX, _COMPRESSED = 14, 15
_UINT32 = 6
_CELL, _CHAR, _NUMBERS = 1, 4, range(6, 16)
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of a number, by the type of the element that holds it. scipy crashes on other types."""
_TEXTS, _INDICES, _NAMES = {1, 2, 4, 16, 17, 18}, {5, 6}, {1, 16}
_REFUSED = {
    2: "a struct",
    3: "an object",
    5: "a sparse matrix",
    16: "a function handle",
    17: "an object",
    18: "an object",
}
_RUNNABLE = {3, 16, 17, 18}
_UNSHAPED = {17}  # its layout is not published
_COMPLEX = 0x0800
_HEAD = 1 << 16  # every tag of an array of numbers lies within its first bytes
_LARGEST = 1 << 30  # INSECT's features, the largest variable we read, have 350 MB
DEEPEST = 8
_MOST_RANKS = 8
_ZLIB_RATIO = 1032  # deflate cannot do better
_RESAVE = "save it again with `save -v7`"


class _LayoutError(Exception):
    """What is wrong with the layout of a variable."""


def checked_names(path: Path, wanted: Collection[str]) -> Iterator[str]:
    """Names of all variables of a MATLAB file; those that are wanted can be decoded safely.

    Raises:
        SourceError: not a MATLAB file, version 7.3, broken, or with an object or a function in it.
    """
    seen: set[str] = set()
    with path.open("rb") as stream:
        try:
            for name in _names(stream, _byte_order(stream.read(128)), wanted):
                if name in seen and name in wanted:
                    raise _LayoutError(f"two variables are called '{name}'")
                seen.add(name)
                yield name
        except _LayoutError as error:
            raise SourceError(str(path), "", str(error)) from error


def _byte_order(header: bytes) -> str:
    """How a level 5 file writes its numbers, as `struct` calls it."""
    if header.startswith((b"\x89HDF", b"MATLAB 7.3")):
        raise _LayoutError(f"MATLAB version 7.3, which is HDF5; {_RESAVE}")
    if len(header) < 128:
        raise _LayoutError("not a MATLAB file, it is too short")
    order = {b"IM": "<", b"MI": ">"}.get(header[126:])
    if order is None:
        raise _LayoutError(f"not a MATLAB file of version 5 to 7; if it is of version 4, {_RESAVE}")
    major = struct.unpack(order + "H", header[124:126])[0] >> 8
    if major != 1:
        raise _LayoutError(f"MATLAB version 7.3, which is HDF5; {_RESAVE}" if major == 2 else "not a MATLAB file")
    return order


def _names(stream: BinaryIO, order: str, wanted: Collection[str]) -> Iterator[str]:
    file_size = stream.seek(0, 2)
    at = stream.seek(128)
    while at < file_size:
        tag = stream.read(8)
        if len(tag) < 8:
            raise _LayoutError("it breaks off")
        kind, size = struct.unpack(order + "II", tag)
        if size == 0 or at + 8 + size > file_size:
            raise _LayoutError("it breaks off, or a size in it is wrong")
        yield _check_variable(_Content(stream, at, kind, size, order), order, wanted)
        at = stream.seek(at + 8 + size)


class _Content:
    """The bytes of one variable, inflated where they are compressed."""

    def __init__(self, stream: BinaryIO, at: int, kind: int, size: int, order: str) -> None:
        self._stream, self._start, self._stored = stream, at + 8, size
        self._is_compressed = kind == _COMPRESSED
        self.size = size
        if self._is_compressed:
            kind, self.size = struct.unpack(order + "II", self._inflate(8))
            if self.size > size * _ZLIB_RATIO:
                raise _LayoutError("a compressed variable claims more bytes than it can have")
        if kind != _MATRIX:
            raise _LayoutError("a variable is no matrix")

    def first(self, count: int) -> bytes:
        """The first bytes of the matrix, after its tag."""
        if self._is_compressed:
            return self._inflate(8 + min(count, self.size))[8:]
        self._stream.seek(self._start)
        return self._stream.read(min(count, self.size))

    def _inflate(self, count: int) -> bytes:
        self._stream.seek(self._start)
        inflater, left, parts, have = zlib.decompressobj(), self._stored, [], 0
        try:
            while have < count and left and not inflater.eof:
                chunk = self._stream.read(min(left, 1 << 20))
                left -= len(chunk)
                parts.append(inflater.decompress(chunk, count - have))
                have += len(parts[-1])
                while have < count and inflater.unconsumed_tail:
                    parts.append(inflater.decompress(inflater.unconsumed_tail, count - have))
                    have += len(parts[-1])
        except zlib.error as error:
            raise _LayoutError(f"a compressed variable is broken ({error})") from error
        if have < count:
            raise _LayoutError("a compressed variable breaks off")
        return b"".join(parts)


def _check_variable(content: _Content, order: str, wanted: Collection[str]) -> str:
    """The name of a variable whose layout is sound, as far as it is wanted."""
    head = content.first(_HEAD)
    kind, _, _, name, _ = _header(head, 0, content.size, order)
    if kind in _RUNNABLE:
        raise _LayoutError(f"it holds {_REFUSED[kind]}, which is not read; clear it in MATLAB and {_RESAVE}")
    if name not in wanted:
        return name
    if content.size > _LARGEST:
        raise _LayoutError(f"'{name}' has {content.size:,} bytes, more than we read")
    try:
        data = content.first(content.size) if kind == _CELL else head
        _check_matrix(data, 0, content.size, order, depth=0)
    except _LayoutError as error:
        raise _LayoutError(f"'{name}': {error}") from error
    return name


def _check_matrix(data: bytes, at: int, end: int, order: str, depth: int) -> None:
    """Check that a matrix fills its bytes exactly, as scipy will read it, and that nothing in it can run.

    Args:
        data: the variable; of an array of numbers or a text the first bytes are enough.
        at: where the content of the matrix starts.
        end: where it ends.
        order: `<` or `>`.
        depth: in how many cells it lies.
    """
    kind, complex_numbers, count, _, at = _header(data, at, end, order)
    if kind in _REFUSED or complex_numbers or depth > DEEPEST:
        what = _REFUSED.get(kind, "complex numbers" if complex_numbers else "cells nested without end")
        raise _LayoutError(f"it holds {what}; only cells, texts and numbers are read")
    if kind == _CELL:
        if count > (end - at) // 8:
            raise _LayoutError(f"{count:,} cells in {end - at:,} bytes")
        for _ in range(count):
            tag, size = _full_tag(data, at, end, order)
            if tag != _MATRIX:
                raise _LayoutError("a cell is no matrix")
            if size:
                _check_matrix(data, at + 8, at + 8 + size, order, depth + 1)
            at += 8 + size
    elif kind == _CHAR or kind in _NUMBERS:
        tag, _, size, at = _element(data, at, end, order, _TEXTS if kind == _CHAR else _WIDTHS)
        if count > size or (kind != _CHAR and size != count * _WIDTHS[tag]):
            raise _LayoutError(f"{count:,} values in {size:,} bytes")
    else:
        raise _LayoutError(f"a matrix of the unknown class {kind}")
    if at != end:
        raise _LayoutError("sizes in it contradict one another")


def _header(data: bytes, at: int, end: int, order: str) -> tuple[int, bool, int, str, int]:
    """Class of a matrix, whether it is complex, number of its values, its name, and where they start."""
    if at + 16 > min(end, len(data)):
        raise _LayoutError("it breaks off")
    tag, length, flags = struct.unpack_from(order + "III", data, at)
    if (tag, length) != (_UINT32, 8):
        raise _LayoutError("a matrix without flags")
    kind = flags & 0xFF
    if kind in _UNSHAPED:
        return kind, False, 0, "", end
    _, start, size, at = _element(data, at + 16, end, order, _INDICES)
    if size % 4 or not 2 <= size // 4 <= _MOST_RANKS:
        raise _LayoutError("a matrix without dimensions")
    shape = struct.unpack_from(f"{order}{size // 4}i", data, start)
    if min(shape) < 0:
        raise _LayoutError(f"a matrix of shape {shape}")
    _, start, size, at = _element(data, at, end, order, _NAMES)
    return kind, bool(flags & _COMPLEX), math.prod(shape), data[start : start + size].decode("latin1"), at


def _element(data: bytes, at: int, end: int, order: str, types: Container[int]) -> tuple[int, int, int, int]:
    """Type, start and size of an element's data, and where the next element starts."""
    tag, size = _full_tag(data, at, end, order, check=False)
    start, after = at + 8, at + 8 + size + -size % 8
    if tag >> 16:  # up to four bytes of data within the tag
        tag, size, start, after = tag & 0xFFFF, tag >> 16, at + 4, at + 8
        after = after if size <= 4 else end + 1
    if after > end:
        raise _LayoutError("a size in it is wrong")
    if tag not in types:
        raise _LayoutError(f"an element of type {tag}, which does not belong there")
    return tag, start, size, after


def _full_tag(data: bytes, at: int, end: int, order: str, check: bool = True) -> tuple[int, int]:
    if at + 8 > min(end, len(data)):
        raise _LayoutError("it breaks off")
    tag, size = struct.unpack_from(order + "II", data, at)
    if check and at + 8 + size > end:
        raise _LayoutError("a size in it is wrong")
    return tag, size
