"""COI barcodes: what is accepted, 5-mer token ids for BarcodeBERT, and 5-mer counts for the floors.

Two tokenisations of a barcode cut after 660 bases and read in 132 steps of five, both 133 ids long:

    token_ids           1, then the 5-mers; 0 past the end; U is read as T
    authors_token_ids   0, then the 5-mers of the barcode padded with the letter N, so that past the end stands 2

In both the 1,024 5-mers over ACGT are 3 to 1026 in lexicographic order, and any other one is 2 (CLIBD, section 3;
BarcodeBERT). The authors' vocabulary calls 0 `<MASK>` and 1 `<CLS>`, yet their code begins with 0; mmlearn, which
re-implements it, begins with 1 and pads as they do. Our own padding is a token of its own, so that it can be masked.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from workloads.errors import RecordError

KMER = 5
MAX_BASES = 660
LONGEST_BARCODE = 100_000
"""Characters; a longer text is no barcode, of which the longest known have some 2,000."""
NUM_TOKENS = 1 + MAX_BASES // KMER
PAD_ID, START_ID, UNKNOWN_ID, FIRST_KMER_ID = 0, 1, 2, 3
_AUTHORS_START_ID = 0
VOCABULARY_SIZE = FIRST_KMER_ID + 4**KMER

_UNCERTAIN = 4  # the code of what is no known base
_IUPAC = b"ACGTURYSWKMBDHVN"
_BLOCK = 512  # barcodes worked on at once: 340 kB, which stays in the processor's cache
_POWERS = 4 ** np.arange(KMER - 1, -1, -1)


def _code_of_each_byte(codes: Mapping[str, int]) -> bytes:
    return bytes(codes.get(chr(byte), _UNCERTAIN) for byte in range(256))


_AUTHORS_CODES = _code_of_each_byte({"A": 0, "C": 1, "G": 2, "T": 3})
_CODES = _code_of_each_byte({"A": 0, "C": 1, "G": 2, "T": 3, "U": 3})
_CODE = np.frombuffer(_CODES, dtype=np.uint8).astype(np.int16)


def clean_barcode(raw: str) -> str:
    """Upper case, without gaps and white space, leading and trailing N trimmed.

    Raises:
        RecordError: a character is no nucleotide, nothing is left, or the text is longer than 100,000 characters.
    """
    if len(raw) > LONGEST_BARCODE:
        raise RecordError(f"the barcode has {len(raw):,} characters; {LONGEST_BARCODE:,} are allowed")
    barcode = "".join(raw.split()).replace("-", "").replace(".", "")
    if not barcode.isascii():  # before upper(), which turns some other letters into nucleotides
        foreign = next(letter for letter in barcode if not letter.isascii())
        raise RecordError(f"the barcode holds {foreign!r}, which is no nucleotide")
    barcode = barcode.upper().strip("N")
    if not barcode:
        raise RecordError("the barcode is empty")
    if strange := barcode.encode().translate(None, _IUPAC):
        letter = chr(strange[0])
        raise RecordError(f"the barcode holds {letter!r} at base {barcode.index(letter) + 1}, which is no nucleotide")
    return barcode


def token_ids(barcodes: Sequence[str]) -> npt.NDArray[np.int16]:
    """5-mer ids of cleaned barcodes, (len(barcodes), 133), padded with 0.

    A 5-mer with an ambiguous base, and an incomplete one at the end, is the unknown token.
    """
    ids = np.empty((len(barcodes), NUM_TOKENS), dtype=np.int16)
    ids[:, 0] = START_ID
    for rows, block in _blocks(barcodes):
        kmers = _kmer_ids(block, _CODES)
        lengths = np.fromiter(map(len, block), dtype=np.int64, count=len(block))
        kmers[lengths[:, None] <= np.arange(0, MAX_BASES, KMER)] = PAD_ID
        ids[rows, 1:] = kmers
    return ids


def authors_token_ids(barcodes: Sequence[str]) -> npt.NDArray[np.int16]:
    """The ids that the authors' code gives for the same texts, (len(barcodes), 133).

    Their code cleans nothing: to it lower case, U and gaps are unknown.
    """
    ids = np.empty((len(barcodes), NUM_TOKENS), dtype=np.int16)
    ids[:, 0] = _AUTHORS_START_ID
    for rows, block in _blocks(barcodes):
        ids[rows, 1:] = _kmer_ids(block, _AUTHORS_CODES)
    return ids


def _blocks(barcodes: Sequence[str]) -> Iterator[tuple[slice, Sequence[str]]]:
    for start in range(0, len(barcodes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, barcodes[rows]


def _kmer_ids(barcodes: Sequence[str], codes: bytes) -> npt.NDArray[np.int16]:
    """Ids of the 132 5-mers of barcodes cut or padded with N, (len(barcodes), 132)."""
    letters = "".join([barcode[:MAX_BASES].ljust(MAX_BASES, "N") for barcode in barcodes])
    coded = letters.encode("ascii", "replace").translate(codes)  # a foreign letter becomes one question mark
    first, *others = np.frombuffer(coded, dtype=np.uint8).reshape(-1, KMER).T.copy()  # (5, len(barcodes) * 132)
    ids, seen = first.astype(np.int16), first.copy()
    for code in others:
        ids <<= 2
        ids |= code
        seen |= code
    ids += FIRST_KMER_ID
    ids[seen >= _UNCERTAIN] = UNKNOWN_ID
    return ids.reshape(-1, NUM_TOKENS - 1)


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
