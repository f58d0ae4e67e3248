"""COI barcodes: what is accepted, 5-mer token ids for BarcodeBERT, and 5-mer counts for the floors.

Vocabulary (CLIBD, section 3; BarcodeBERT): 0 padding, 1 start, 2 unknown, then the 1,024 5-mers over ACGT in
lexicographic order. A barcode is cut after 660 bases and read in 132 steps of five; with the start token that is
133 ids. The authors pad with the letter N instead, which makes padding and unknown one token; here padding is a
token of its own, so that it can be masked.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workloads.errors import RecordError

KMER = 5
MAX_BASES = 660
NUM_TOKENS = 1 + MAX_BASES // KMER
PAD_ID, START_ID, UNKNOWN_ID, FIRST_KMER_ID = 0, 1, 2, 3
VOCABULARY_SIZE = FIRST_KMER_ID + 4**KMER

_IUPAC = b"ACGTURYSWKMBDHVN"
_CODE = np.full(256, 4, dtype=np.int16)  # 4: a base that is not known for certain
for _index, _base in enumerate(b"ACGT"):
    _CODE[_base] = _index
_CODE[ord("U")] = 3
_ALLOWED = np.zeros(256, dtype=bool)
_ALLOWED[list(_IUPAC)] = True
_POWERS = 4 ** np.arange(KMER - 1, -1, -1)


def clean_barcode(raw: str) -> str:
    """Upper case, without gaps and white space, leading and trailing N trimmed.

    Raises:
        RecordError: a character is no nucleotide, or nothing is left.
    """
    barcode = "".join(raw.split()).upper().replace("-", "").replace(".", "").strip("N")
    if not barcode:
        raise RecordError("the barcode is empty")
    try:
        letters = np.frombuffer(barcode.encode("ascii"), dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise RecordError(f"the barcode holds {barcode[error.start]!r}, which is no nucleotide") from error
    if len(bad := np.flatnonzero(~_ALLOWED[letters])):
        raise RecordError(f"the barcode holds {barcode[bad[0]]!r} at base {bad[0] + 1}, which is no nucleotide")
    return barcode


def token_ids(barcodes: Sequence[str]) -> npt.NDArray[np.int16]:
    """5-mer ids of cleaned barcodes, (len(barcodes), 133), padded with 0.

    A 5-mer with an ambiguous base, and an incomplete one at the end, is the unknown token.
    """
    codes = np.full((len(barcodes), MAX_BASES), 5, dtype=np.int16)  # 5: past the end
    for row, barcode in enumerate(barcodes):
        letters = np.frombuffer(barcode[:MAX_BASES].encode("ascii"), dtype=np.uint8)
        codes[row, : len(letters)] = _CODE[letters]
    kmers = codes.reshape(len(barcodes), NUM_TOKENS - 1, KMER)
    ids = np.where((kmers > 3).any(axis=2), UNKNOWN_ID, FIRST_KMER_ID + kmers @ _POWERS)
    ids[(kmers == 5).all(axis=2)] = PAD_ID
    start = np.full((len(barcodes), 1), START_ID)
    return np.concatenate([start, ids], axis=1).astype(np.int16)


def kmer_counts(barcodes: Sequence[str]) -> npt.NDArray[np.float32]:
    """How often each of the 1,024 5-mers occurs at any offset, (len(barcodes), 1024)."""
    counts = np.zeros((len(barcodes), 4**KMER), dtype=np.float32)
    for row, barcode in enumerate(barcodes):
        codes = _CODE[np.frombuffer(barcode.encode("ascii"), dtype=np.uint8)]
        if len(codes) < KMER:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(codes, KMER)
        certain = windows[(windows < 4).all(axis=1)] @ _POWERS
        counts[row] = np.bincount(certain, minlength=4**KMER)
    return counts
