"""People's own data: a table, a FASTA file, or a folder that holds one or both, with images and features beside them.

A folder's table is `specimens`, `pairs`, `labels` or `metadata` (.parquet, .tsv, .csv, also .gz), or else the only one.
A table without barcodes gets those of the FASTA file beside it, by the specimens' ids. Images are found by the ids if
no column says where they are. Features, row by row, may lie there as one `image_features*.npy` and one
`dna_features*.npy`.

Parquet is read batch by batch, and only the columns that are wanted. A file with Arrow extension types is refused from
its footer, before any Arrow schema is built: a process that knows such a type may unpickle what the file says of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from workloads.arrays import Floats
from workloads.data.sources.beside import with_barcodes, with_companions
from workloads.data.sources.columns import SAMPLE, choose_columns, passed_over, record_of
from workloads.data.sources.delimited import TableRow, read_delimited, read_fasta
from workloads.data.sources.reading import Reading, column_readings
from workloads.data.sources.source import RawRecord, Refused, Source, each
from workloads.data.specimens.schema import FEATURES
from workloads.errors import MissingPathError, SourceError
from workloads.storage import EXTENSION_REFUSAL, has_extension_types

_TABLE_NAMES = ("specimens", "pairs", "labels", "metadata")
# What GBIF calls CSV has tabs, and Excel writes semicolons.
_DELIMITERS = {".tsv": "\t", ".csv": ",\t;", ".txt": "\t,;"}
_TABLES = (".parquet", ".tsv.gz", ".csv.gz", ".tsv", ".csv")
_NAMED_TABLES = (".txt", ".txt.gz")  # read when named, but not looked for: a folder holds notes under such names
_HINTS = {
    ".zip": "name the folder in which it lies beside its table, or, for split lists, `clibd data partition --lists`",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as .csv"),
}
_FASTAS = tuple(suffix + packed for suffix in (".fasta", ".fas", ".fna", ".fa") for packed in ("", ".gz"))
_ROWS = 4096
_LARGEST_SAMPLE = 1 << 20  # letters; a line has that many at most
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


def table_source(path: Path, given: Mapping[str, str]) -> Source:
    """Specimens of a table, of a FASTA file, or of a folder that holds one or both.

    Args:
        path: the file or folder.
        given: field of a specimen and the column that holds it, from `--map`.

    Raises:
        MissingPathError: no such file or folder, or neither a table nor a FASTA file in it.
        SourceError: a file that is not what its name says, or several of them and no telling which is meant.
        UsageError: a column that is given does not exist.
    """
    source = _of_folder(path, given) if path.is_dir() else _open(_file(path), given)[0]
    return replace(with_companions(source), name=str(path))


def _file(path: Path) -> Path:
    known = (*_TABLES, *_NAMED_TABLES, *_FASTAS)
    if not path.exists():
        raise MissingPathError(path, "table or FASTA file", "Name a file, or a folder that holds one.")
    if not path.name.lower().endswith(known):
        hint = _HINTS.get(path.suffix.lower())
        raise SourceError(path, "", f"not one of {', '.join(known)}{f'; {hint}' if hint else ''}")
    return path


def _of_folder(folder: Path, given: Mapping[str, str]) -> Source:
    """The table of a folder, with the barcodes of a FASTA file if it has none itself."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    tables = [file for file in files if file.name.lower().endswith(_TABLES)]
    fastas = [file for file in files if file.name.lower().endswith(_FASTAS)]
    written = [file for file in tables if file.suffix.lower() == ".parquet" and _is_specimen_table(file)]
    if fastas or len(written) < len(tables):  # what an earlier import left here is no source of the next one
        tables = [file for file in tables if file not in written]
    known = [folder / (name + suffix) for name in _TABLE_NAMES for suffix in _TABLES]
    named = next((file for file in known if file in tables), None)
    if not tables and not fastas:
        hdf5 = [file.name for file in files if file.name.lower().endswith((".hdf5", ".h5"))]
        remedy = f"Name the file {hdf5[0]} itself." if hdf5 else "Name a file, or a folder that holds one."
        raise MissingPathError(folder, "table (.parquet, .tsv, .csv) or FASTA file", remedy)
    if not tables:
        return _open(_only(folder, fastas), given)[0]
    table = named or _only(folder, tables)
    source, columns = _open(table, given)
    if not fastas:
        return source
    if not {"barcode", "linked_sequences"} & {*columns, *given}:
        fasta = _only(folder, fastas)
        source.records = with_barcodes(source.records, read_fasta(fasta), fasta.name, source.notes)
    elif named is None and {_stem(fasta) for fasta in fastas} != {_stem(table)}:
        _only(folder, [table, *fastas])
    else:
        source.notes.append(f"{', '.join(file.name for file in fastas)}: not read, since {table.name} holds barcodes")
    return source


def _only(folder: Path, files: list[Path]) -> Path:
    """The first of several forms of one table; other tables beside it leave open which is meant."""
    if len({_stem(file) for file in files}) > 1:
        names = ", ".join(sorted(file.name for file in files))
        raise SourceError(folder, "", f"several tables ({names}); name one of them")
    return files[0]


def _stem(file: Path) -> str:
    name = file.name.lower()
    return next(name.removesuffix(suffix) for suffix in (*_TABLES, *_FASTAS) if name.endswith(suffix))


def _open(path: Path, given: Mapping[str, str]) -> tuple[Source, Mapping[str, str]]:
    """A file, by its ending, under its absolute path; and the column of each field, as `choose_columns` says."""
    source = Source(name=str(path.absolute()), records=(), root=str(path.absolute().parent))
    name = path.name.lower()
    if name.endswith(_FASTAS):
        return replace(source, records=read_fasta(path), reading=Reading(kind="FASTA")), {}
    if name.endswith(".parquet"):
        file, columns = _opened_parquet(path, given)
        source.reading = Reading(
            kind="Parquet", columns=column_readings(file.schema_arrow.names, columns, _rows_of(file))
        )
        source.notes += passed_over(file.schema_arrow.names, columns, given, _rows_of(file))
        source.records, source.total = _parquet_records(path, file, columns), file.metadata.num_rows
    else:
        delimiters = _DELIMITERS[Path(name.removesuffix(".gz")).suffix]
        header, rows = read_delimited(path, delimiters)
        first, rows = _peeked(rows)
        columns = choose_columns(header, given, first)
        source.reading = Reading(kind="table", columns=column_readings(header, columns, first))
        source.notes += passed_over(header, columns, given, first)
        for field_name, what in FEATURES.items():
            if field_name in columns:
                reason = f"{what} are read from Parquet or from an .npy file beside the table, not from text"
                raise SourceError(path, f"column '{columns[field_name]}'", reason)
        fields = columns.items()
        source.records = each(rows, lambda row: record_of({ours: row[1][name] for ours, name in fields}, row[0]))
    if "specimen_id" not in columns:
        if "image" not in columns:
            reason = "no column is known to hold the specimens' ids; say which with --map specimen_id=COLUMN"
            raise SourceError(path, "header", reason)
        source.notes.append(f"{path.name}: no column holds ids, and the names of the images are taken for them")
        source.records = each(source.records, lambda record: {**record, "specimen_id": record.get("image")})
    return source, columns


def _peeked(rows: Iterator[TableRow | Refused]) -> tuple[list[Mapping[str, str]], Iterator[TableRow | Refused]]:
    """The first rows, of some 2 MiB at most, and all of them."""
    first: list[TableRow | Refused] = []
    size = 0
    for row in islice(rows, SAMPLE):
        first.append(row)
        size += 0 if isinstance(row, Refused) else sum(map(len, row[1].values()))
        if size > _LARGEST_SAMPLE:
            break
    return [row[1] for row in first if not isinstance(row, Refused)], chain(first, rows)


def _opened_parquet(path: Path, given: Mapping[str, str]) -> tuple[pq.ParquetFile, Mapping[str, str]]:
    """A Parquet table, and the column of each field.

    Raises:
        SourceError: not Parquet, extension types, several columns of one name, or a column that holds neither text nor
            what can be written as text.
        UsageError: a given column does not exist.
    """
    try:
        with open(path, "rb") as stream:
            if has_extension_types(stream):
                raise SourceError(path, "", EXTENSION_REFUSAL)
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except _BROKEN as error:
        raise _unreadable(path, "", error) from error
    header = file.schema_arrow.names
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(path, "", f"several columns are called '{repeated[0]}'")
    columns = choose_columns(header, given, _rows_of(file))
    for field, name in columns.items():
        _check_type(path, field, file.schema_arrow.field(name))
    return file, columns


def _rows_of(file: pq.ParquetFile) -> list[dict[str, object]]:
    """The first rows of the columns of text and numbers."""
    kinds = (pat.is_string, pat.is_large_string, pat.is_integer, pat.is_floating, pat.is_boolean)
    texts = [column.name for column in file.schema_arrow if any(is_kind(column.type) for is_kind in kinds)]
    try:
        batches = file.iter_batches(SAMPLE, columns=texts) if texts else iter(())
        return [row for batch in islice(batches, 1) for row in batch.to_pylist()]
    except _BROKEN:  # said when it is read
        return []


def _is_specimen_table(path: Path) -> bool:
    """Whether `clibd data import` wrote this file; its footer says so."""
    try:
        return b"clibd" in (pq.read_metadata(path).metadata or {})
    except _BROKEN:
        return False


def _unreadable(path: Path, where: str, error: Exception) -> SourceError:
    return SourceError(path, where, f"not readable as Parquet ({' '.join(str(error).split())})")


def _check_type(path: Path, field: str, column: pa.Field) -> None:
    """Refuse what cannot be read as this field."""
    kind = column.type.value_type if pat.is_dictionary(column.type) else column.type
    if field in FEATURES:
        is_list = pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind)
        fits = is_list and (pat.is_floating(kind.value_type) or pat.is_integer(kind.value_type))
    else:
        texts = (pat.is_string, pat.is_large_string, pat.is_string_view, pat.is_integer, pat.is_floating, pat.is_null)
        fits = any(is_text(kind) for is_text in texts)
    if not fits:
        wanted = "lists of numbers" if field in FEATURES else "text"
        raise SourceError(path, f"column '{column.name}'", f"{column.type}, not {wanted}, as {field} needs")


def _parquet_records(path: Path, file: pq.ParquetFile, columns: Mapping[str, str]) -> Iterator[RawRecord | Refused]:
    number = 0
    with file:
        try:
            for batch in file.iter_batches(_ROWS, columns=list(dict.fromkeys(columns.values()))):
                fields = {
                    field: _features(batch.column(name)) if field in FEATURES else _text(batch.column(name)).to_pylist()
                    for field, name in columns.items()
                }
                for row in zip(*fields.values(), strict=True):
                    number += 1
                    yield record_of(dict(zip(fields, row, strict=True)), f"row {number}")
        except _BROKEN as error:
            raise _unreadable(path, f"after row {number}", error) from error


def _text(column: pa.Array) -> pa.Array:
    """A column as text; whole numbers without a decimal point, NaN as missing."""
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pat.is_floating(column.type):  # pandas makes a column of whole numbers floating when one is missing
        column = pc.if_else(pc.is_nan(column), None, column)
    return column.cast(pa.string())


def _features(column: pa.Array) -> list[Floats | None]:
    """Features of each row; null and empty lists are missing ones."""
    lists = column.cast(pa.list_(pa.float32()))
    return [row.values.to_numpy(zero_copy_only=False) if row.is_valid and len(row.values) else None for row in lists]
