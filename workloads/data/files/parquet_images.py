"""Encoded images inside Parquet, as Hugging Face `datasets` writes them: a column of `{bytes, path}`, or of bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from workloads.errors import RecordError
from workloads.parquet_footer import EXTENSION_REFUSAL, footer_of, has_extension_types

_MOST_UNPACKED = 2**30  # bytes of the images of one row group, which are held together
_SMALL, _MAX_RATIO = 64 * 2**20, 200


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds files: bytes, or a struct of which one field is called `bytes`."""
    if pat.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and holds_bytes(kind.field(place).type) and not pat.is_struct(kind.field(place).type)
    return bool(pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_binary_view(kind))


class ParquetImages:
    """An open Parquet file; holds the images of the row group that was read last."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            RecordError: not Parquet, or extension types.
            OSError: the disk failed.
        """
        try:
            with path.open("rb") as stream:
                if has_extension_types(footer_of(stream)):
                    raise RecordError(EXTENSION_REFUSAL)
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise RecordError(f"not readable as Parquet ({' '.join(str(error).split())})") from error
        self._size = path.stat().st_size
        self._held: tuple[str, int] | None = None
        self._images = pa.chunked_array([], pa.binary())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, column: str, row: int) -> bytes:
        """The bytes of one row.

        Raises:
            RecordError: no such column or row, nothing there, or what is there is damaged or too large.
        """
        first = 0
        for group in range(self._file.metadata.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            if row < first + size:
                content = self._group(column, group)[row - first].as_py()
                if content is None:
                    raise RecordError(f"row {row + 1} of '{column}' holds no image")
                return bytes(content)
            first += size
        raise RecordError(f"there are {first:,} rows, none of number {row + 1}")

    def _group(self, column: str, group: int) -> pa.ChunkedArray:
        if self._held == (column, group):
            return self._images
        schema = self._file.schema_arrow
        if schema.names.count(column) != 1 or not holds_bytes(schema.field(column).type):
            raise RecordError(f"there is no column '{column}' of images")
        is_struct = pat.is_struct(schema.field(column).type)
        leaf = f"{column}.bytes" if is_struct else column
        self._check_size(group)
        try:
            images = self._file.read_row_group(group, columns=[leaf])[column]
        except (pa.ArrowException, OSError) as error:
            raise RecordError(f"not readable as Parquet ({' '.join(str(error).split())})") from error
        self._images = pa.chunked_array([chunk.field("bytes") for chunk in images.chunks]) if is_struct else images
        self._held = column, group
        return self._images

    def _check_size(self, group: int) -> None:
        """Refuse what would fill the memory."""
        size = self._file.metadata.row_group(group).total_byte_size
        most = min(_MOST_UNPACKED, max(_SMALL, _MAX_RATIO * self._size))
        if not 0 <= size <= most:
            raise RecordError(f"a row group of {size:,} bytes; {most:,} are allowed: write smaller ones")
