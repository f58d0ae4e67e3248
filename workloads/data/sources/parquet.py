"""Parquet tables read batch by batch, and only the columns that are wanted.

A file with Arrow extension types is refused from its footer, before any Arrow schema is built: a process that knows
such a type may unpickle what the file says of it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from workloads.arrays import Floats
from workloads.data.sources.columns import Columns, OpenedTable, choose_columns
from workloads.data.sources.source import RawRecord, Refused
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError
from workloads.parquet_footer import REFUSAL, has_extension_types

_ROWS = 4096
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


def read_parquet(path: Path, given: Mapping[str, str]) -> OpenedTable:
    """Open a Parquet table; its rows follow while iterating.

    Raises:
        SourceError: not Parquet, extension types, several columns of one name, or a column that holds neither text nor
            what can be written as text; while reading, pages that are damaged.
        UsageError: a given column does not exist.
    """
    file = _opened(path)
    header = file.schema_arrow.names
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(str(path), "", f"several columns are called '{repeated[0]}'")
    columns = choose_columns(header, given)
    for field, place in columns.places.items():
        _check_type(path, field, file.schema_arrow.field(place))
    return OpenedTable(path, columns, _records(path, file, header, columns), [], file.metadata.num_rows)


def is_specimen_table(path: Path) -> bool:
    """Whether `clibd data import` wrote this file; its footer says so."""
    try:
        return b"clibd" in (pq.read_metadata(path).metadata or {})
    except _BROKEN:
        return False


def _opened(path: Path) -> pq.ParquetFile:
    try:
        with open(path, "rb") as stream:
            if has_extension_types(stream):
                raise SourceError(str(path), "", REFUSAL)
        return pq.ParquetFile(path, page_checksum_verification=True)
    except _BROKEN as error:
        raise _unreadable(path, "", error) from error


def _unreadable(path: Path, where: str, error: Exception) -> SourceError:
    return SourceError(str(path), where, f"not readable as Parquet ({' '.join(str(error).split())})")


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
        raise SourceError(str(path), f"column '{column.name}'", f"{column.type}, not {wanted}, as {field} needs")


def _records(path: Path, file: pq.ParquetFile, header: list[str], columns: Columns) -> Iterator[RawRecord | Refused]:
    names = {field: header[place] for field, place in columns.places.items()}
    number, sizes = 0, dict[str, int]()
    with file:
        try:
            for batch in file.iter_batches(_ROWS, columns=list(dict.fromkeys(names.values()))):
                texts = {f: _text(batch.column(n)) for f, n in names.items() if f not in FEATURES}
                rows = pa.table(texts).to_pylist() if texts else [{} for _ in range(len(batch))]
                features = {f: _features(batch.column(n)) for f, n in names.items() if f in FEATURES}
                for offset, row in enumerate(rows):
                    number += 1
                    finished = columns.finished(row, f"row {number}")
                    if isinstance(finished, Refused):
                        yield finished
                        continue
                    own = {field: values[offset] for field, values in features.items()}
                    if misfit := _misfit(own, sizes):
                        identifier = finished.get("specimen_id") or f"row {number}"
                        yield Refused(identifier, f"row {number}: {misfit}")
                        continue
                    yield {**finished, **own}
        except _BROKEN as error:
            raise _unreadable(path, f"after row {number}", error) from error


def _misfit(features: Mapping[str, Floats | None], sizes: dict[str, int]) -> str | None:
    """Why the features of a row do not fit those of the first one, whose lengths are noted; None where they do."""
    for field, own in features.items():
        if own is not None and len(own) != sizes.setdefault(field, len(own)):
            return f"{len(own)} {FEATURES[field]}, and the first specimen has {sizes[field]}"
    return None


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
