"""Text files read line by line in bounded memory, and tables of delimited text with one record a line.

Repaired: a byte order mark is dropped, lines may end in LF, CRLF or CR, blank lines are skipped, quoted fields lose
their quotation marks, and the unnamed first column that pandas and R write for row numbers keeps an empty name.

Refused, each as one record with its line: a wrong number of columns, NUL bytes, bytes that are not UTF-8, quotation
marks that do not pair, and a line of more than 1 MiB. A quoted field ends on its line, so that one stray quotation mark
costs one record and never swallows the next.
"""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from workloads.data.files.zipped_text import READING_ERRORS, ZippedText
from workloads.data.sources.source import Refused
from workloads.errors import RecordError, SourceError

LONGEST_LINE = 1 << 20
"""In bytes. The longest real lines, of BIOSCAN-5M, have some 2,000."""
_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"

Line = tuple[int, list[str]]
"""Number of a line, from 1, and its fields."""


def bounded_lines(path: Path | ZippedText) -> Iterator[bytes | None]:
    """Lines of a text file, plain, gzipped or in a zip archive, without their ends.

    A line of more than 1 MiB is given as None.

    At most about 2 MiB of the file are held, however long its lines. All lines end as the first one does.

    Raises:
        SourceError: the file cannot be read to its end; the message names the last whole line.
    """
    done = 0
    try:
        with _opened(path) as stream:
            block = stream.read(_BLOCK).removeprefix(_BOM)
            end = b"\n" if b"\n" in block or b"\r" not in block else b"\r"
            rest, too_long = b"", False
            while block:
                *lines, rest = (rest + block).split(end)
                for line in lines:
                    yield None if too_long or len(line) > LONGEST_LINE else line.rstrip(b"\r")
                    too_long = False
                    done += 1
                if len(rest) > LONGEST_LINE:
                    rest, too_long = b"", True
                block = stream.read(_BLOCK)
            if rest or too_long:
                yield None if too_long else rest.rstrip(b"\r")
    except READING_ERRORS as error:
        raise SourceError(str(path), f"after line {done}", f"not readable ({' '.join(str(error).split())})") from error


def _opened(path: Path | ZippedText) -> gzip.GzipFile | IO[bytes]:
    if isinstance(path, ZippedText):
        return path.open()
    return gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb")


def read_delimited(path: Path | ZippedText, delimiters: str) -> tuple[list[str], Iterator[Line | Refused]]:
    """The header of a table of delimited text, and its records one after another.

    Each line that is not blank gives one record or one refusal, so that their order numbers the records.

    Args:
        path: the file, plain, gzipped or in a zip archive.
        delimiters: what may stand between fields; the first of them that the header holds does.

    Raises:
        SourceError: no header, one that is not text, or one with repeated or missing names; while reading, a file that
            breaks off.
    """
    lines = ((number, line) for number, line in enumerate(bounded_lines(path), start=1) if line != b"")
    number, first = next(lines, (1, b""))
    if first == b"":
        raise SourceError(str(path), "", "it is empty")
    delimiter = next((mark for mark in delimiters if first and mark.encode() in first), delimiters[0])
    try:
        header = [name.strip() for name in _fields(first, delimiter)]
    except RecordError as error:
        raise SourceError(str(path), f"line {number}", f"no header of a table: {error}") from error
    _check_header(path, f"line {number}", header)
    return header, _records(lines, delimiter, len(header))


def named(header: list[str], lines: Iterator[Line | Refused]) -> Iterator[dict[str, str] | Refused]:
    """The records of `read_delimited` by their column names; `where` says the line."""
    for line in lines:
        if isinstance(line, Refused):
            yield line
        else:
            yield {**dict(zip(header, line[1], strict=True)), "where": f"line {line[0]}"}


def _check_header(path: Path | ZippedText, where: str, header: list[str]) -> None:
    """Refuse names that would leave open which column is meant."""
    unnamed = [number for number, name in enumerate(header, start=1) if not name]
    if unnamed and (unnamed[-1] > 1 or len(header) == 1):
        raise SourceError(str(path), where, f"column {unnamed[-1]} has no name")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(str(path), where, f"several columns are called '{repeated[0]}'")


def _records(lines: Iterator[tuple[int, bytes | None]], delimiter: str, width: int) -> Iterator[Line | Refused]:
    for number, line in lines:
        try:
            fields = _fields(line, delimiter)
        except RecordError as error:
            yield Refused(f"line {number}", str(error))
            continue
        if len(fields) == width:
            yield number, fields
        elif line and not line.isspace():
            yield Refused(f"line {number}", f"{len(fields)} columns, and the header has {width}")


def _fields(line: bytes | None, delimiter: str) -> list[str]:
    """Fields of one line.

    Raises:
        RecordError: it is no line of a table.
    """
    if line is None:
        raise RecordError("the line is longer than 1 MiB")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"byte {error.start + 1} of the line is not UTF-8") from error
    if "\0" in text:
        raise RecordError("the line holds NUL bytes")
    if "\r" in text or "\n" in text:
        raise RecordError("a line end of another kind stands within the line")
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise RecordError(f"the quotation marks of the line do not pair ({error})") from error
