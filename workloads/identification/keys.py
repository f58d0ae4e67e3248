"""Keys of a database: distinct embeddings, or counts of k-mers; written as they come, mapped and read in blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.arrays import Bytes, Floats, Indices
from workloads.data.specimens.kmers import kmer_counts
from workloads.errors import AlteredError
from workloads.evaluation.candidates import pieces
from workloads.evaluation.embedded import unit

_AT_ONCE = 256
"""Rows, 1 MB of them, which stay in a cache from their roots to their lengths."""
MOST_COUNTED = 255
"""How often a k-mer is counted at most, as counts are kept in bytes; in a barcode none occurs a tenth as often."""


class StoredRows:
    """`keys-*.npy`, as unit vectors (`workloads.evaluation.candidates.Rows`).

    Raises:
        AlteredError: it is no matrix of its type.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stored: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise AlteredError(str(path), f"no matrix of keys ({error})", str(path.parent)) from error
        if self._stored.ndim != 2 or self._stored.dtype not in (np.float32, np.uint8) or not self._stored.size:
            reason = f"{self._stored.dtype} of shape {self._stored.shape}, which are no keys"
            raise AlteredError(str(path), reason, str(path.parent))

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def size(self) -> int:
        """Numbers of a key."""
        return int(self._stored.shape[1])

    @property
    def counts(self) -> bool:
        """Whether they are counts of k-mers."""
        return self._stored.dtype == np.uint8

    def stored(self, rows: Indices) -> npt.NDArray[Any]:
        """Some of them as they are stored, (rows, size)."""
        return self._stored[rows]

    def block(self, start: int, stop: int) -> Floats:
        """Some of them, fp32 (stop - start, size), of unit length."""
        return self._units(self._stored[start:stop])

    def take(self, numbers: Indices) -> Floats:
        """Any of them, fp32 (numbers, size), of unit length."""
        return self._units(self.stored(numbers))

    def _units(self, stored: npt.NDArray[Any]) -> Floats:
        return hellinger(stored) if self.counts else np.array(stored)


class KeyWriter:
    """Writes a matrix of unknown height: NumPy's header leaves room for a number of rows that is said in the end."""

    def __init__(self, path: Path) -> None:
        self._file, self.num_rows = path.open("wb"), 0
        self._size, self._dtype = 0, np.dtype(np.float32)

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write some rows, (rows, size); all of one type and size."""
        if not self._size:
            self._size, self._dtype = rows.shape[1], rows.dtype
            self._head()
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.num_rows += len(rows)

    def _head(self) -> None:
        shape = (self.num_rows, self._size)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Say how many there are."""
        with self._file:
            self._file.seek(0)
            self._head()


def counted(barcodes: Sequence[str]) -> Bytes:
    """How often each 5-mer occurs in cleaned barcodes, (barcodes, 1024); what contains none is all zeros."""
    return kmer_counts(barcodes).clip(0, MOST_COUNTED).astype(np.uint8)


def hellinger(counts: Bytes) -> Floats:
    """Square roots of counts in unit length, (barcodes, 1024): their products are one less the Hellinger distance.

    A k-mer that is common in all barcodes thereby weighs less than in proportion to its counts. Made in place, some at
    a time: where memory has to be found first, each copy of all keys takes longer than their roots.
    """
    rows = np.empty(counts.shape, dtype=np.float32)
    for start, stop in pieces(len(counts), _AT_ONCE):
        rows[start:stop] = unit(np.sqrt(counts[start:stop], dtype=np.float32))
    return rows
