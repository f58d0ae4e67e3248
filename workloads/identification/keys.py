"""Keys of a database: distinct embeddings, or counts of k-mers, mapped from a disk and read in blocks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.arrays import Bytes, Floats, Indices
from workloads.data.specimens.kmers import kmer_counts
from workloads.errors import DamagedError
from workloads.evaluation.embedded import unit

MOST_COUNTED = 255
"""How often a k-mer is counted at most, as counts are kept in bytes; in a barcode none occurs a tenth as often."""


class StoredRows:
    """`keys-*.npy`, as unit vectors (`workloads.identification.searching.Rows`).

    Raises:
        DamagedError: it is no matrix of its type.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stored: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DamagedError(str(path), f"no matrix of keys ({error})") from error
        if self._stored.ndim != 2 or self._stored.dtype not in (np.float32, np.uint8) or not self._stored.size:
            raise DamagedError(str(path), f"{self._stored.dtype} of shape {self._stored.shape}, which are no keys")

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
        rows = np.array(self._stored[start:stop])
        return hellinger(rows) if self.counts else rows


def counted(barcodes: Sequence[str]) -> Bytes:
    """How often each 5-mer occurs in cleaned barcodes, (barcodes, 1024); what contains none is all zeros."""
    return kmer_counts(barcodes).clip(0, MOST_COUNTED).astype(np.uint8)


def hellinger(counts: Bytes) -> Floats:
    """Square roots of counts in unit length, (barcodes, 1024): their products are one less the Hellinger distance.

    A k-mer that is common in all barcodes thereby weighs less than in proportion to its counts.
    """
    return unit(np.sqrt(counts.astype(np.float32)))
