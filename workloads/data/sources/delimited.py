"""Text files read line by line in bounded memory: delimited tables with one record a line, and FASTA.

Repaired: a byte order mark is dropped, lines may end in LF, CRLF or CR, blank lines are skipped, quoted fields lose
their quotation marks, and the unnamed first column that pandas and R write for row numbers keeps an empty name.

Refused, each as one record with its line: a wrong number of columns, NUL bytes, bytes that are not UTF-8, quotation
marks that do not pair, and a line of more than 1 MiB. A quoted field ends on its line, so that one stray quotation mark
costs one record and never swallows the next.

A header of FASTA is `>id`, `>id|Phylum;Class;Order;Family;Genus;Species` as BarcodeBERT writes it, or, as BOLD does,
`>id|Species name|COI-5P|accession`. Lines that start with `#` or `;` are comments. Not read with dnaio: its FASTA
reader ends at the first byte that is not text and holds sequences of any length.
"""

import csv
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from workloads.data.files.zip_members import READING_ERRORS, TextFile, open_text
from workloads.data.sources.source import RawRecord, Refused
from workloads.errors import RecordError, SourceError

LONGEST_LINE = 1 << 20
"""In bytes. The longest real lines, of BIOSCAN-5M, have some 2,000."""
LONGEST_SEQUENCE = 100_000
"""In letters; the barcode region has 658 bases, a whole mitochondrion some 16,000."""
_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"
_LINEAGE = ("phylum", "class", "order", "family", "genus", "species")
_GENUS = re.compile(r"[A-Z][^\W\d_]+")
_OPEN_NAMES = {"sp.", "sp", "spp.", "spp", "gen.", "indet."}

TableRow = tuple[str, dict[str, str]]
"""Where it stands, such as `line 17`, and its fields by the names of their columns."""


def bounded_lines(path: TextFile) -> Iterator[bytes | None]:
    """Lines of a text file, plain, gzipped or in a zip archive, without their ends.

    A line of more than 1 MiB is given as None.

    At most about 2 MiB of the file are held, however long its lines. All lines end as the first one does.

    Raises:
        SourceError: the file cannot be read to its end; the message names the last whole line.
    """
    done = 0
    try:
        with open_text(path) as stream:
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
        raise SourceError(path, f"after line {done}", f"not readable ({' '.join(str(error).split())})") from error


def read_delimited(path: TextFile, delimiters: str) -> tuple[list[str], Iterator[TableRow | Refused]]:
    """The header of a table of delimited text, and its rows one after another.

    Each line that is not blank gives one row or one refusal, so that their order numbers the records.

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
        raise SourceError(path, "", "it is empty")
    delimiter = next((mark for mark in delimiters if first and mark.encode() in first), delimiters[0])
    try:
        header = [name.strip() for name in _fields(first, delimiter)]
    except RecordError as error:
        raise SourceError(path, f"line {number}", f"no header of a table: {error}") from error
    _check_header(path, f"line {number}", header)
    return header, _rows(lines, delimiter, header)


def _check_header(path: TextFile, where: str, header: list[str]) -> None:
    """Refuse names that would leave open which column is meant."""
    unnamed = [number for number, name in enumerate(header, start=1) if not name]
    if unnamed and (unnamed[-1] > 1 or len(header) == 1):
        raise SourceError(path, where, f"column {unnamed[-1]} has no name")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(path, where, f"several columns are called '{repeated[0]}'")


def _rows(lines: Iterator[tuple[int, bytes | None]], delimiter: str, header: list[str]) -> Iterator[TableRow | Refused]:
    for number, line in lines:
        try:
            fields = _fields(line, delimiter)
        except RecordError as error:
            yield Refused(f"line {number}", str(error))
            continue
        if len(fields) == len(header):
            yield f"line {number}", dict(zip(header, fields, strict=True))
        elif line and not line.isspace():
            yield Refused(f"line {number}", f"{len(fields)} columns, and the header has {len(header)}")


def _fields(line: bytes | None, delimiter: str) -> list[str]:
    """Fields of one line.

    Raises:
        RecordError: it is no line of a table.
    """
    if line is None:
        raise RecordError("the line is longer than 1 MiB")
    text = _decoded(line, "line")
    if "\0" in text:
        raise RecordError("the line holds NUL bytes")
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise RecordError(f"the quotation marks of the line do not pair ({error})") from error


def _decoded(line: bytes, what: str) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"byte {error.start + 1} of the {what} is not UTF-8") from error
    if "\r" in text or "\n" in text:
        raise RecordError(f"a line end of another kind stands within the {what}")
    return text


def read_fasta(path: Path) -> Iterator[RawRecord | Refused]:
    """Records with specimen_id, barcode, and the ranks that their headers name.

    Raises:
        SourceError: not FASTA, or it breaks off; the message names the line.
    """
    start, header, sequence = 0, b"", bytearray()
    for number, line in chain(enumerate(bounded_lines(path), start=1), [(-1, b">")]):  # which ends the last record
        if line is not None and (not line or line.isspace() or line[:1] in (b"#", b";")):
            continue
        if line is not None and line[:1] == b">":
            if start:
                yield _sequence_record(start, header, sequence)
            start, header, sequence = number, line, bytearray()
        elif not start:
            raise SourceError(path, f"line {number}", "not FASTA: no '>' at the start of the first record")
        elif len(sequence) <= LONGEST_SEQUENCE:
            sequence += bytes(LONGEST_SEQUENCE + 1) if line is None else line


def _sequence_record(line: int, header: bytes, sequence: bytearray) -> RawRecord | Refused:
    where = f"line {line}"
    try:
        record = _names(header)
    except RecordError as error:
        return Refused(where, str(error))
    if len(sequence) > LONGEST_SEQUENCE:
        reason = f"{where}: a sequence of more than {LONGEST_SEQUENCE:,} letters is longer than any barcode"
        return Refused(record["specimen_id"] or where, reason)
    # What is no ASCII is no nucleotide either, and is refused as such when the barcode is cleaned.
    return {**record, "barcode": sequence.decode("ascii", errors="replace"), "where": where}


def _names(header: bytes) -> dict[str, str]:
    """Id and ranks of a header.

    Raises:
        RecordError: it is not text on one line.
    """
    first, *others = _decoded(header, "header").removeprefix(">").split("|")
    record = {"specimen_id": first.split()[0] if first.strip() else ""}
    taxa = others[0].replace("_", " ") if others else ""
    if taxa.count(";") == len(_LINEAGE) - 1:
        record.update(zip(_LINEAGE, taxa.split(";"), strict=True))
    elif _is_species(taxa):
        record["species"] = taxa
    return record


def _is_species(name: str) -> bool:
    """Whether a name is a genus and something that is not merely a number or a confession not to know."""
    words = name.split()
    if len(words) < 2 or not _GENUS.fullmatch(words[0]) or any(word.isdigit() for word in words):
        return False
    return not (len(words) == 2 and words[1].lower() in _OPEN_NAMES)
