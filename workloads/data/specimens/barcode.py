"""COI barcodes: what is accepted, 5-mer ids for BarcodeBERT, base codes for the CNN, and 5-mer counts for the floors.

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

UNCERTAIN_BASE, NO_BASE = 4, 5
"""Codes of a letter that is no known base, and of what lies past the end of a barcode; A, C, G, T are 0 to 3."""
_IUPAC = b"ACGTURYSWKMBDHVN"
_BLOCK = 512  # barcodes worked on at once: 340 kB, which stays in the processor's cache
_POWERS = 4 ** np.arange(KMER - 1, -1, -1)


def _code_of_each_byte(codes: Mapping[str, int]) -> bytes:
    return bytes(codes.get(chr(byte), UNCERTAIN_BASE) for byte in range(256))


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
        kmers[_lengths(block)[:, None] <= np.arange(0, MAX_BASES, KMER)] = PAD_ID
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


def base_codes(barcodes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Codes of the bases of cleaned barcodes, (len(barcodes), 660): A, C, G, T are 0 to 3, and U is read as T.

    Any other letter is 4, what lies past the end is 5, and what follows base 660 is cut off.
    """
    codes = np.empty((len(barcodes), MAX_BASES), dtype=np.uint8)
    for rows, block in _blocks(barcodes):
        codes[rows] = _coded(block, _CODES).reshape(-1, MAX_BASES)
        codes[rows][_lengths(block)[:, None] <= np.arange(MAX_BASES)] = NO_BASE
    return codes


def _blocks(barcodes: Sequence[str]) -> Iterator[tuple[slice, Sequence[str]]]:
    for start in range(0, len(barcodes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, barcodes[rows]


def _kmer_ids(barcodes: Sequence[str], codes: bytes) -> npt.NDArray[np.int16]:
    """Ids of the 132 5-mers of barcodes cut or padded with N, (len(barcodes), 132)."""
    first, *others = _coded(barcodes, codes).reshape(-1, KMER).T.copy()  # (5, len(barcodes) * 132)
    ids, seen = first.astype(np.int16), first.copy()
    for code in others:
        ids <<= 2
        ids |= code
        seen |= code
    ids += FIRST_KMER_ID
    ids[seen >= UNCERTAIN_BASE] = UNKNOWN_ID
    return ids.reshape(-1, NUM_TOKENS - 1)


def _coded(barcodes: Sequence[str], codes: bytes) -> npt.NDArray[np.uint8]:
    """Code of every letter of barcodes cut or padded with N, (len(barcodes) * 660,)."""
    letters = "".join([barcode[:MAX_BASES].ljust(MAX_BASES, "N") for barcode in barcodes])
    coded = letters.encode("ascii", "replace").translate(codes)  # a foreign letter becomes one question mark
    return np.frombuffer(coded, dtype=np.uint8)


def _lengths(barcodes: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, barcodes), dtype=np.int64, count=len(barcodes))


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
