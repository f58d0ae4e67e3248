"""One file of a table, whatever its format, and the records that its columns give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from workloads.data.files.zip_members import TextFile
from workloads.data.sources.columns import (
    COLUMN_NAMES,
    SAMPLE,
    Sample,
    choose_columns,
    passed_over,
    plain_name,
    record_of,
)
from workloads.data.sources.delimited import TableRow, read_delimited
from workloads.data.sources.fasta import is_fastq, read_sequences
from workloads.data.sources.findings import Findings
from workloads.data.sources.json_lines import JsonLines
from workloads.data.sources.lineages import lineage_of
from workloads.data.sources.lines import encoding_of
from workloads.data.sources.naming import ROW
from workloads.data.sources.parquet_tables import ParquetTable
from workloads.data.sources.pictures import URLS
from workloads.data.sources.reading import ColumnReading, Reading, column_readings
from workloads.data.sources.source import RawRecord, ReadAnew, Records, Refused
from workloads.data.sources.workbooks import Workbook
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError, UsageError
from workloads.spec import RANKS

TEXTS = tuple(ending + packed for ending in (".tsv", ".csv") for packed in ("", ".gz"))
TABLES = (".parquet", *TEXTS, ".xlsx", ".jsonl", ".jsonl.gz")
"""Endings of tables, as they are looked for in a folder."""
NAMED_TABLES = (".txt", ".txt.gz", ".tab", ".tab.gz")
"""Endings of tables that are read when named, but not looked for: a folder holds notes under such names."""
SEQUENCES = tuple(
    ending + packed for ending in (".fasta", ".fas", ".fna", ".fa", ".fastq", ".fq") for packed in ("", ".gz")
)
# What GBIF calls CSV has tabs, and Excel writes semicolons.
_DELIMITERS = {".tsv": "\t,;|", ".csv": ",\t;|", ".txt": "\t,;|", ".tab": "\t,;|"}
_ADDRESSES = ("imageurls", "imageurl", "associatedmedia", "accessuri", "photourl", "photourls")
_LINEAGES = ("taxon", "taxonomy", "lineage", "taxonomicpath")
_OTHER_IDS = (*COLUMN_NAMES["specimen_id"], "fieldid", "museumid", "recordid", "voucher", "voucherid", "vouchernumber")
_OTHER_IDS += ("fieldnumber", "recordnumber", "accession", "gbifid", "sampleno", "imageid", "photoid")
_LARGEST_SAMPLE = 1 << 20  # letters; a line has that many at most


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table that is open, with the columns that were chosen."""

    path: TextFile
    header: Sequence[str]
    columns: Mapping[str, str]
    """The column of each field of a specimen."""
    records: Records
    reading: Reading
    notes: Sequence[str] = ()
    """Of columns that are not read although they look like barcodes or images."""
    total: int | None = None
    holds_pictures: bool = False
    """Whether the pictures themselves are in it."""


def ending_of(name: str, endings: Sequence[str]) -> str | None:
    """Which of some endings a file's name has."""
    return next((ending for ending in sorted(endings, key=len, reverse=True) if name.lower().endswith(ending)), None)


def open_table(path: TextFile, given: Mapping[str, str], findings: Findings, folder: str = "") -> TableFile:
    """A table by its ending, or a FASTA or FASTQ file.

    Args:
        path: the file, or a member of an archive.
        given: field of a specimen and the column that holds it, from `--map`.
        findings: told what was read by a guess.
        folder: in which the file lies, relative to the source's root, ending in `/`.

    Raises:
        SourceError: a file that is not what its name says, or features as text.
        UsageError: a column that is given does not exist, or the file has no columns.
    """
    name = path.name.lower()
    if ending_of(name, SEQUENCES):
        if given:
            raise UsageError(f"--map names columns of a table, and {path.name} has none: its labels stand in headers")
        records = ReadAnew(lambda: read_sequences(path, findings))
        reading = Reading(kind="FASTQ" if is_fastq(name) else "FASTA", encoding=encoding_of(path))
        return TableFile(path=path, header=(), columns={"barcode": ""}, records=records, reading=reading)
    if name.endswith(".parquet"):
        return _of_parquet(path, given, folder)
    if name.endswith(".xlsx"):
        book = Workbook(_on_disk(path), findings)
        return of_rows(path, book.header, book.rows(), given, Reading(kind="workbook"))
    if name.removesuffix(".gz").endswith(".jsonl"):
        lines = JsonLines(path)
        return of_rows(path, lines.header, lines.rows(), given, Reading(kind="JSON lines"))
    table = read_delimited(path, _DELIMITERS[Path(name.removesuffix(".gz")).suffix], findings)
    form = Reading(kind="table", encoding=encoding_of(path), delimiter=table.delimiter)
    return of_rows(path, table.header, table.rows, given, form)


def _on_disk(path: TextFile) -> Path:
    """Raises SourceError for a member of an archive, which only what is read as a stream can be."""
    if not isinstance(path, Path):
        raise SourceError(path, "", "a table of this kind is read from a folder, not from a zip archive; unpack it")
    return path


def of_rows(
    path: TextFile, header: Sequence[str], rows: Iterator[TableRow | Refused], given: Mapping[str, str], form: Reading
) -> TableFile:
    """The records of rows of text.

    Args:
        path: the file.
        header: names of its columns.
        rows: their values.
        given: field of a specimen and the column that holds it, from `--map`.
        form: how the file was taken apart; what its columns are taken for is added.

    Raises:
        SourceError: a column of features, which are no text.
        UsageError: a column that is given does not exist.
    """
    sample, rows = _peeked(rows)
    chosen = _Chosen(header, given, sample)
    for field_name, what in FEATURES.items():
        if field_name in chosen.columns:
            reason = f"{what} are read from Parquet or from an .npy file beside the table, not from text"
            raise SourceError(path, f"column '{chosen.columns[field_name]}'", reason)
    return TableFile(
        path=path,
        header=header,
        columns=chosen.columns,
        records=chosen.records(rows),
        reading=replace(form, columns=chosen.readings()),
        notes=chosen.passed_over(),
    )


def _peeked(rows: Iterator[TableRow | Refused]) -> tuple[Sample, Iterator[TableRow | Refused]]:
    """The first rows, of some 2 MiB at most, and all of them."""
    first: list[TableRow | Refused] = []
    size = 0
    for row in islice(rows, SAMPLE):
        first.append(row)
        size += 0 if isinstance(row, Refused) else sum(map(len, row[1].values()))
        if size > _LARGEST_SAMPLE:
            break
    return [row[1] for row in first if not isinstance(row, Refused)], chain(first, rows)


def _of_parquet(path: TextFile, given: Mapping[str, str], folder: str) -> TableFile:
    table = ParquetTable(_on_disk(path))
    picture = table.image_column
    if picture is not None and "image" not in given:
        given = {**given, "image": picture}
    chosen = _Chosen(table.header, given, table.sample(SAMPLE), table.is_text)
    table.check(chosen.columns)
    return TableFile(
        path=path,
        header=table.header,
        columns=chosen.columns,
        records=chosen.records(table.rows(chosen.wanted(), folder)),
        reading=Reading(kind="Parquet", columns=chosen.readings()),
        notes=chosen.passed_over(),
        total=table.total,
        holds_pictures=picture is not None and chosen.columns.get("image") == picture,
    )


class _Chosen:
    """What the columns of a table are taken for."""

    def __init__(
        self,
        header: Sequence[str],
        given: Mapping[str, str],
        sample: Sample,
        is_text: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """Choose them.

        Args:
            header: names of the columns.
            given: field of a specimen and the column that holds it, from `--map`.
            sample: the first rows.
            is_text: whether a column can be read as text.

        Raises:
            UsageError: a given field or column does not exist, or two columns could be meant.
        """
        names = {plain_name(name): name for name in header}
        columns = choose_columns(header, given, sample)
        self._header, self._given, self._sample = header, given, sample
        self.columns: dict[str, str] = columns
        self._urls = next((names[name] for name in _ADDRESSES if name in names and is_text(names[name])), None)
        ids = [names[name] for name in _OTHER_IDS if name in names and is_text(names[name])]
        self._others = [name for name in dict.fromkeys(ids) if name != columns.get("specimen_id")]
        has_ranks = bool(set(RANKS) & {*columns, *given})
        lineage = next((names[name] for name in _LINEAGES if name in names), None)
        self._lineage = None if has_ranks else lineage

    def wanted(self) -> dict[str, str]:
        """Every column that is read, by its field or a name that is none of a field."""
        others = {f"id {name}": name for name in self._others}
        more = {"urls": self._urls, "lineage": self._lineage}
        return {**self.columns, **others, **{key: name for key, name in more.items() if name is not None}}

    def readings(self) -> tuple[ColumnReading, ...]:
        """What each column is taken for, with examples."""
        others = [("another id", name) for name in self._others]
        more = [("addresses of images", self._urls), ("lineage", self._lineage)]
        taken = [*self.columns.items(), *others, *((field, name) for field, name in more if name is not None)]
        return column_readings(self._header, taken, self._sample)

    def passed_over(self) -> list[str]:
        """What is to be said of columns that are not read."""
        return list(passed_over(self._header, self.wanted(), self._given, self._sample))

    def records(self, rows: Iterator[tuple[str, dict[str, Any]] | Refused]) -> Iterator[RawRecord | Refused]:
        """The record of each row."""
        fields, others = tuple(self.columns.items()), tuple(self._others)
        for row in rows:
            if isinstance(row, Refused):
                yield row
                continue
            where, values = row
            raw: dict[str, Any] = {field: values[name] for field, name in fields}
            if self._lineage is not None:
                raw |= {"species": None, **(lineage_of(values[self._lineage] or "") or {})}
            if self._urls is not None and values[self._urls]:
                raw[URLS] = values[self._urls]
            raw[ROW] = others, values
            yield record_of(raw, where)


def with_places(table: TableFile, prefix: str, folder: str) -> TableFile:
    """The records of one of several tables, each saying which; its images are in its folder."""

    def placed() -> Iterator[RawRecord | Refused]:
        for record in table.records:
            if isinstance(record, Refused):
                yield Refused(f"{prefix}, {record.identifier}", record.reason)
                continue
            image = record.get("image")
            image = f"{folder}{image}" if folder and image and ":" not in image and not image.startswith("/") else image
            yield {**record, "where": f"{prefix}, {record.get('where')}", **({"image": image} if image else {})}

    return replace(table, records=placed())
