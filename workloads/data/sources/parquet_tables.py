"""Tables in Parquet, read batch by batch, and only the columns that are wanted.

A file with Arrow extension types is refused from its footer, before any Arrow schema is built: a process that knows
such a type may unpickle what the file says of it. Hugging Face `datasets` writes numbers for classes, with
their names in the footer, and pictures as `{bytes, path}`: the names are read, and pictures stay where they are.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from workloads.arrays import Floats
from workloads.data.files.parquet_images import holds_bytes
from workloads.data.sources.source import Refused
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError
from workloads.parquet_footer import EXTENSION_REFUSAL, footer_of, has_extension_types
from workloads.plain_values import parsed

_ROWS = 4096
_LOOKED_AT = 8  # pictures
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


class ParquetTable:
    """An opened Parquet table."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SourceError: not Parquet, extension types, or several columns of one name.
        """
        self.path = path
        try:
            with open(path, "rb") as stream:
                if has_extension_types(footer_of(stream)):
                    raise SourceError(path, "", EXTENSION_REFUSAL)
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self._schema = self._file.schema_arrow
        except BROKEN as error:
            raise _unreadable(path, "", error) from error
        self.header: list[str] = self._schema.names
        self.total: int | None = self._file.metadata.num_rows
        repeated = sorted({name for name in self.header if self.header.count(name) > 1})
        if repeated:
            raise SourceError(path, "", f"several columns are called '{repeated[0]}'")
        self._classes = _class_names(self._schema.metadata or {})

    @property
    def image_column(self) -> str | None:
        """The one column that holds pictures, if there is one."""
        names = [name for name in self.header if holds_bytes(self._schema.field(name).type)]
        return names[0] if len(names) == 1 else None

    def check(self, columns: Mapping[str, str]) -> None:
        """Refuse columns that cannot be read as the fields that they shall be.

        Raises:
            SourceError: a column of features holds no lists of numbers, or another one nothing that is text.
        """
        for field, name in columns.items():
            _check_type(self.path, field, self._schema.field(name))

    def is_text(self, name: str) -> bool:
        """Whether a column can be read as text."""
        return _is_text(self._schema.field(name).type)

    def sample(self, num_rows: int) -> list[dict[str, Any]]:
        """The first rows of the columns that are text; none where they cannot be read, which is said in `rows`."""
        readers = {name: self._reader("", name, "") for name in self.header if self.is_text(name)}
        try:
            for batch in self._file.iter_batches(num_rows, columns=list(readers)) if readers else ():
                values = [read(batch.column(name), 0) for name, read in readers.items()]
                return [dict(zip(readers, row, strict=True)) for row in zip(*values, strict=True)]
        except BROKEN:
            pass
        return []

    def rows(self, columns: Mapping[str, str], folder: str = "") -> Iterator[tuple[str, dict[str, Any]] | Refused]:
        """Where each row stands, and the wanted values by the names of their columns.

        Args:
            columns: the column of each field.
            folder: in which the file lies, relative to the source's root, for references to its pictures.
        """
        readers = {name: self._reader(field, name, folder) for field, name in columns.items()}
        number = 0
        with self._file:
            try:
                wanted = [self._leaf(name) for name in readers]
                for batch in self._file.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted))):
                    values = {name: read(batch.column(name), number) for name, read in readers.items()}
                    for row in zip(*values.values(), strict=True):
                        number += 1
                        yield f"row {number}", dict(zip(values, row, strict=True))
            except BROKEN as error:
                raise _unreadable(self.path, f"after row {number}", error) from error

    def _leaf(self, name: str) -> str:
        """What is read of a column: of pictures only their names, as far as all of them have bytes."""
        kind = self._schema.field(name).type
        if (
            pat.is_struct(kind)
            and holds_bytes(kind)
            and kind.get_field_index("path") >= 0
            and self.total
            and self._all_held(name)
        ):
            return f"{name}.path"
        return name

    def _all_held(self, name: str) -> bool:
        """Whether the first pictures have their bytes here: then all have, as `datasets` puts in all of them or none.

        The footer would say it of all, but asking it of a damaged one ends the process.
        """
        for batch in self._file.iter_batches(_LOOKED_AT, row_groups=[0], columns=[f"{name}.bytes"]):
            return bool(batch.column(0).field("bytes").null_count == 0)
        return False

    def _reader(self, field: str, name: str, folder: str) -> Callable[[pa.Array, int], list[Any]]:
        kind = self._schema.field(name).type
        if field in FEATURES:
            return lambda column, start: _features(column)
        if holds_bytes(kind):
            place = f"{folder}{self.path.name}"
            return lambda column, start: _references(column, f"parquet:{place}#{name}", start)
        classes = self._classes.get(name)
        if classes is not None and pat.is_integer(kind):
            return lambda column, start: [_class_name(classes, value) for value in column.to_pylist()]
        return lambda column, start: _text(column).to_pylist()


def is_specimen_table(path: Path) -> bool:
    """Whether `clibd data import` wrote this file; its footer says so."""
    try:
        return b"clibd" in (pq.read_metadata(path).metadata or {})
    except BROKEN:
        return False


def _unreadable(path: Path, where: str, error: Exception) -> SourceError:
    return SourceError(path, where, f"not readable as Parquet ({' '.join(str(error).split())})")


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes of columns, as Hugging Face `datasets` notes them; damaged notes say nothing."""
    try:
        features = parsed(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in said["names"]]
            for column, said in features.items()
            if isinstance(said, dict) and said.get("_type") == "ClassLabel" and isinstance(said.get("names"), list)
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _class_name(classes: list[str], value: int | None) -> str | None:
    return classes[value] if value is not None and 0 <= value < len(classes) else None


def _check_type(path: Path, field: str, column: pa.Field) -> None:
    """Refuse what cannot be read as this field."""
    if field in FEATURES:
        kind = column.type.value_type if pat.is_dictionary(column.type) else column.type
        is_list = pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind)
        fits = is_list and (pat.is_floating(kind.value_type) or pat.is_integer(kind.value_type))
    else:
        fits = _is_text(column.type) or (field == "image" and holds_bytes(column.type))
    if not fits:
        wanted = "lists of numbers" if field in FEATURES else "text"
        raise SourceError(path, f"column '{column.name}'", f"{column.type}, not {wanted}, as {field} needs")


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pat.is_dictionary(kind) else kind
    texts = (pat.is_string, pat.is_large_string, pat.is_string_view, pat.is_integer, pat.is_floating, pat.is_null)
    return any(is_text(kind) for is_text in texts)


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


def _references(column: pa.Array, place: str, start: int) -> list[str | None]:
    """References to the pictures of a batch whose first row has this number; the path where there are no bytes."""
    there = pc.is_valid(column).to_pylist()
    paths: list[str | None] = [None] * len(column)
    if pat.is_struct(column.type):
        if column.type.get_field_index("path") >= 0:
            paths = column.field("path").to_pylist()
        if column.type.get_field_index("bytes") >= 0:
            there = pc.is_valid(column.field("bytes")).to_pylist()
    return [
        f"{place}#{start + row}" if is_there else path
        for row, (is_there, path) in enumerate(zip(there, paths, strict=True))
    ]
