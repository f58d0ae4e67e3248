"""Tables of delimited text, read line by line in bounded memory, as BOLD and GBIF, pandas, R and Excel write them.

Repaired: a byte order mark is dropped, UTF-16 is rewritten, lines may end in LF, CRLF or CR, blank lines are skipped,
Excel's first line `sep=;` is obeyed, and the first column that pandas and R write for row numbers, with an empty name
or with none at all, has an empty one. What is no UTF-8 is read by a guess, field by field, and said
(`workloads.data.sources.lines`).

Quotation marks. BOLD and GBIF write TSV without any quoting, so that between tabs a mark is a letter, but for a field
that stands wholly in them. Between commas it is quoting, as RFC 4180 has it. In both, the reading counts that gives as
many fields as the header has: a quoted field may go on over some lines where its own line has too few of them, and a
mark that does not pair stays a letter where the line is whole without it. So one stray mark never swallows a record.

Refused, each as one record with its line: a wrong number of columns, and a line of more than 1 MiB.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from workloads.data.files.zip_members import TextFile
from workloads.data.sources.findings import Findings
from workloads.data.sources.lines import LONGEST_LINE, Ahead, Encodings, bounded_lines
from workloads.data.sources.source import Refused
from workloads.errors import RecordError, SourceError

_MOST_LINES = 200  # that one quoted field may go on for; notes have a few
_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"')
_SEPARATOR = re.compile(rb'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)
_WORDS = re.compile(rb'"[^"]*"|[^\s"]+')
_LOOKED_AT = 5  # rows
_BLANKS = (
    "fields between blanks are not told apart, since names hold blanks too; write tabs or commas between them (in R: "
    'write.table(..., sep="\\t"))'
)
_MARK = "quotation marks that do not pair, read as letters"

TableRow = tuple[str, dict[str, str]]
"""Where it stands, such as `line 17`, and its fields by the names of their columns."""


class Delimited(NamedTuple):
    """A table of delimited text."""

    header: list[str]
    rows: Iterator[TableRow | Refused]
    delimiter: str


def read_delimited(path: TextFile, delimiters: str, findings: Findings | None = None) -> Delimited:
    """The header of a table of delimited text, and its rows one after another.

    Each row gives one record or one refusal, so that their order numbers the records.

    Args:
        path: the file, plain, gzipped or in a zip archive.
        delimiters: what may stand between fields; the one that the header holds most of does.
        findings: told what was read by a guess; without them nothing is, and what is not UTF-8 is refused.

    Raises:
        SourceError: no header, one that is not text, or one with repeated or missing names; while reading, a file that
            breaks off.
    """
    lines = Ahead((number, line) for number, line in enumerate(bounded_lines(path), start=1) if line != b"")
    number, first = next(lines, (1, b""))
    if first and (said := _SEPARATOR.fullmatch(first.strip(b" "))):
        delimiters, (number, first) = said[1].decode("latin-1"), next(lines, (number, b""))
    if first == b"":
        raise SourceError(path, "", "it is empty")
    delimiter = max(delimiters, key=lambda mark: _outside_quotes(first or b"", mark))  # the first of equals
    if _between_blanks(first or b"", lines.peek(0) or b"", delimiter):
        raise SourceError(path, f"line {number}", _BLANKS)
    reading = _Reading(delimiter, Encodings(path.name, findings), Findings() if findings is None else findings)
    try:
        header = [name.strip() for name in reading.header(first)]
    except RecordError as error:
        raise SourceError(path, f"line {number}", f"no header of a table: {error}") from error
    check_header(path, f"line {number}", header)
    header = ["", *header] if _has_row_names(lines, delimiter, header) else header
    return Delimited(header, reading.rows(lines, header), delimiter)


def read_described(
    path: TextFile, delimiter: str, names: Mapping[int, str], num_headers: int, findings: Findings
) -> Iterator[TableRow | Refused]:
    """The rows of a table whose columns are named elsewhere, as in a Darwin Core archive.

    Args:
        path: the file.
        delimiter: what stands between fields.
        names: of the columns that are wanted, by their numbers from 0.
        num_headers: lines to pass over.
        findings: told what was read by a guess.

    Raises:
        SourceError: it breaks off, or its first row has no column of a wanted number.
    """
    lines = Ahead((number, line) for number, line in enumerate(bounded_lines(path), start=1) if line != b"")
    first = b""
    for _ in range(num_headers):
        first = next(lines, (0, b""))[1] or first
    first = first or lines.peek(0) or b""
    width = len(first.split(delimiter.encode()))
    if first and names and max(names) >= width:
        raise SourceError(path, "first line", f"{width} columns, and meta.xml names one of number {max(names) + 1}")
    header = [names.get(number, f"#{number}") for number in range(width)]
    return _Reading(delimiter, Encodings(path.name, findings), findings).rows(lines, header)


def _outside_quotes(line: bytes, mark: str) -> int:
    return re.sub(rb'"[^"]*"', b"", line).count(mark.encode())


def _between_blanks(first: bytes, second: bytes, delimiter: str) -> bool:
    """Whether nothing but blanks stands between the fields of the first two lines, as R writes them by default."""
    words = len(_WORDS.findall(first))
    return not _outside_quotes(first, delimiter) and 1 < words <= len(_WORDS.findall(second))


def _has_row_names(lines: Ahead, delimiter: str, header: list[str]) -> bool:
    """Whether the first rows have a field more than the header, where R has written the names of rows without one."""
    rows = [row for row in map(lines.peek, range(_LOOKED_AT)) if row]
    ends_open = all(row.endswith(delimiter.encode()) for row in rows)  # a delimiter too many
    return len(rows) > 1 and not ends_open and all(_outside_quotes(row, delimiter) == len(header) for row in rows)


def check_header(path: TextFile, where: str, header: list[str]) -> None:
    """Refuse names that would leave open which column is meant."""
    unnamed = [number for number, name in enumerate(header, start=1) if not name]
    if unnamed and (unnamed[-1] > 1 or len(header) == 1):
        raise SourceError(path, where, f"column {unnamed[-1]} has no name")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(path, where, f"several columns are called '{repeated[0]}'")


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the fields of a table are told apart."""

    delimiter: str
    encodings: Encodings
    findings: Findings

    def header(self, line: bytes | None) -> list[str]:
        """Raises RecordError where it is no line of names."""
        if line is None:
            raise RecordError("the line is longer than 1 MiB")
        if b"\0" in line:
            raise RecordError("the line holds NUL bytes")
        names = [self.encodings.text(name, "header", "line 1") for name in line.split(self.delimiter.encode())]
        if b'"' not in line:
            return names
        try:
            return next(csv.reader([self.delimiter.join(names)], delimiter=self.delimiter, strict=True))
        except csv.Error as error:
            raise RecordError(f"the quotation marks of the line do not pair ({error})") from error

    def rows(self, lines: Ahead, header: list[str]) -> Iterator[TableRow | Refused]:
        """Records and refusals."""
        width, delimiter = len(header), self.delimiter
        for number, line in lines:
            if line is None:
                yield Refused(f"line {number}", "the line is longer than 1 MiB")
                continue
            try:
                fields = line.decode().split(delimiter)
            except UnicodeDecodeError:
                try:
                    fields = self._fields(line, header, number)
                except RecordError as error:
                    yield Refused(f"line {number}", str(error))
                    continue
            if b'"' in line:
                fields = self._unquoted(fields, lines, header, number)
            if len(fields) == width:
                yield f"line {number}", dict(zip(header, fields, strict=True))
            elif line and not line.isspace():
                yield Refused(f"line {number}", f"{len(fields)} columns, and the header has {width}")

    def _fields(self, line: bytes, header: list[str], number: int) -> list[str]:
        """Fields of a line that is not UTF-8; raises RecordError where nothing is guessed."""
        parts, names = line.split(self.delimiter.encode()), [*header]
        names += ["no column"] * (len(parts) - len(names))
        return [self.encodings.text(part, name, f"line {number}") for part, name in zip(parts, names, strict=False)]

    def _unquoted(self, fields: list[str], lines: Ahead, header: list[str], number: int) -> list[str]:
        """The fields of a line that holds quotation marks, or that goes on over the next ones."""
        width, whole = len(header), self.delimiter.join(fields)
        if self.delimiter == "\t" and len(fields) == width and not _is_open(fields[-1]):
            return [_bare(field) for field in fields]
        if (parsed := _parsed(whole, self.delimiter, width)) is not None:
            return parsed
        if (joined := self._joined(whole, lines, header, number)) is not None:
            return joined
        if len(fields) == width:
            self.findings.add(_MARK, f"line {number}")
            return [_bare(field) for field in fields]
        return fields

    def _joined(self, whole: str, lines: Ahead, header: list[str], number: int) -> list[str] | None:
        """The fields of a line together with those on which its quoted field goes on; None where that is no reading.

        It is none where each of the lines has all its fields by itself: then the marks are stray.
        """
        text, width = whole, len(header)
        all_whole = whole.count(self.delimiter) >= width - 1
        odd = whole.count('"') % 2
        if not odd:
            return None
        for count in range(_MOST_LINES):
            line = lines.peek(count)
            if line is None or len(text) + len(line) > LONGEST_LINE:
                return None
            all_whole = all_whole and line.count(self.delimiter.encode()) == width - 1
            if self.delimiter == "\t" and count == 0 and all_whole:
                return None
            try:
                text += "\n" + self.delimiter.join(self._fields(line, header, number + count + 1))
            except RecordError:
                return None
            odd ^= line.count(b'"') % 2
            if odd:
                continue
            parsed = None if all_whole else _parsed(text, self.delimiter, width)
            if parsed is not None:
                lines.skip(count + 1)
            return parsed
        return None


def _is_open(field: str) -> bool:
    """Whether a field begins with a quotation mark that nothing closes."""
    return field.startswith('"') and not _QUOTED.fullmatch(field) and field.count('"') % 2 == 1


def _bare(field: str) -> str:
    """A field without the quotation marks in which it stands wholly."""
    if field.startswith('"') and (match := _QUOTED.fullmatch(field)):
        return match[1].replace('""', '"')
    return field


def _parsed(text: str, delimiter: str, width: int) -> list[str] | None:
    """The fields as RFC 4180 has them, or None where they are not so many, or the marks do not pair."""
    if text.count(delimiter) < width - 1:
        return None
    lines = iter([f"{line}\n" for line in text.split("\n")] if "\n" in text else [text])
    try:
        fields = next(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return fields if len(fields) == width and next(lines, None) is None else None
