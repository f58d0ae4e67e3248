"""How often each k-mer occurs in a barcode, at any offset, on the strand that is given or on either.

Counts know no places: a base more or fewer in front changes nothing but the k-mers that it is in. On both strands a
k-mer and its reverse complement are one, so that a barcode and its reverse complement have the same counts.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from workloads.arrays import Floats, Indices
from workloads.barcode_views import Strand
from workloads.data.specimens.barcode import KMER, UNCERTAIN_BASE, check_several, code_letters
from workloads.data.specimens.coi_region import blocks_of_bases


def num_kmers(size: int, strand: Strand = "forward") -> int:
    """How many k-mers of a size are told apart; on both strands those of an even size may be their own complement."""
    whole = 1 << 2 * size
    if strand == "forward":
        return whole
    own_complements = 1 << size if size % 2 == 0 else 0
    return (whole + own_complements) // 2


def kmer_counts(barcodes: Sequence[str], sizes: Sequence[int] = (KMER,), strand: Strand = "forward") -> Floats:
    """How often each k-mer occurs, (len(barcodes), sum of `num_kmers` over the sizes).

    One with a letter other than A, C, G, T or U is not counted. So a barcode shorter than the k-mers, or of N alone,
    counts nothing at all. The whole of a barcode is counted, however long it is.

    Args:
        barcodes: in upper case.
        sizes: bases of the k-mers, whose counts stand one after another. The k-mers of a size are in lexicographic
            order; on both strands each stands where the lesser one of the two would.
        strand: whether a k-mer is counted as it is, or as one with its reverse complement.

    Raises:
        UsageError: a text was given in place of a list of texts.
    """
    check_several(barcodes)
    counts = np.zeros((len(barcodes), sum(num_kmers(size, strand) for size in sizes)), dtype=np.float32)
    done = 0
    for block in blocks_of_bases(barcodes):
        rows, column = slice(done, done + len(block)), 0
        # A letter that is no base between the barcodes, so that no k-mer reaches from one into the next.
        codes = code_letters("N".join(block)).astype(np.int64)
        row_of = np.repeat(np.arange(len(block)), [len(barcode) + 1 for barcode in block])[: len(codes)]
        for size in sizes:
            width = num_kmers(size, strand)
            counts[rows, column : column + width] = _counts(codes, row_of, len(block), size, strand)
            column += width
        done += len(block)
    return counts


def _counts(codes: Indices, row_of: Indices, num_rows: int, size: int, strand: Strand) -> Indices:
    """The same for one size, of barcodes that lie one after another, (num_rows, num_kmers(size, strand))."""
    width, num_windows = num_kmers(size, strand), max(0, len(codes) - size + 1)
    ids, uncertain = np.zeros(num_windows, dtype=np.int64), np.zeros(num_windows, dtype=np.bool_)
    for offset in range(size):
        letters = codes[offset : offset + num_windows]
        ids = ids * 4 + letters
        uncertain |= letters >= UNCERTAIN_BASE
    ids = ids[~uncertain]
    if strand == "both":
        ids = _either_strand(size)[ids]
    places = row_of[:num_windows][~uncertain] * width + ids
    return np.bincount(places, minlength=num_rows * width).reshape(num_rows, width)


@cache
def _either_strand(size: int) -> Indices:
    """The place of each k-mer among those of both strands, (4**size,)."""
    ids = rest = np.arange(4**size)
    complements = np.zeros_like(ids)
    for _ in range(size):
        complements, rest = complements * 4 + (3 - rest % 4), rest // 4
    _, places = np.unique(np.minimum(ids, complements), return_inverse=True)
    return places
