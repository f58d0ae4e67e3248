"""COI barcodes: what is accepted, 5-mer ids for BarcodeBERT, base codes for the CNN, and the common frame into
which barcodes are laid.

Two tokenisations of a barcode cut after 660 bases and read in 132 steps of five, both 133 ids long:

    token_ids           1, then the 5-mers; 0 past the end; U is read as T
    authors_token_ids   0, then the 5-mers of the barcode padded with the letter N, so that past the end stands 2

In both the 1,024 5-mers over ACGT are 3 to 1026 in lexicographic order, and any other one is 2 (CLIBD, section 3;
BarcodeBERT). The authors' vocabulary calls 0 `<MASK>` and 1 `<CLS>`, yet their code begins with 0; mmlearn, which
re-implements it, begins with 1 and pads as they do. Our own padding is a token of its own, so that it can be masked.

Non-overlapping 5-mers of two copies of one barcode have nothing in common when one copy begins a base later, and about
one public barcode in seven does not begin where the others do. So every barcode is laid beside the consensus of the
data set's barcodes and moved, without gaps, to where most bases agree; what lies before its first base is unknown.
With it a small DNA tower tells seen species apart for 99.7 % of the queries instead of 91 % (docs/log.md).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from workloads.arrays import Bytes, Indices, KmerIds
from workloads.errors import RecordError, UsageError

KMER = 5
MAX_BASES = 660
LONGEST_BARCODE = 100_000
"""Characters; a longer text is no barcode, of which the longest known have some 2,000."""
NUM_TOKENS = 1 + MAX_BASES // KMER
PAD_ID, START_ID, UNKNOWN_ID, FIRST_KMER_ID = 0, 1, 2, 3
_AUTHORS_START_ID = 0
NUM_KMERS = 4**KMER
VOCABULARY_SIZE = FIRST_KMER_ID + NUM_KMERS

UNCERTAIN_BASE, NO_BASE = 4, 5
"""Codes of a letter that is no known base, and of what lies past the end of a barcode; A, C, G, T are 0 to 3."""
_IUPAC = b"ACGTURYSWKMBDHVN"
_GAPS = str.maketrans("-.?", "NNN")
_BLOCK = 512  # barcodes worked on at once: 340 kB, which stays in the processor's cache


def _code_of_each_byte(codes: Mapping[str, int]) -> bytes:
    return bytes(codes.get(chr(byte), UNCERTAIN_BASE) for byte in range(256))


_AUTHORS_CODES = _code_of_each_byte({"A": 0, "C": 1, "G": 2, "T": 3})
_CODES = _code_of_each_byte({"A": 0, "C": 1, "G": 2, "T": 3, "U": 3})


def clean_barcode(raw: str) -> str:
    """Upper case, without white space; gaps within are N, which keeps the frame, and both ends lose gaps and N.

    Raises:
        RecordError: a character is no nucleotide, nothing is left, or the text is longer than 100,000 characters.
    """
    if len(raw) > LONGEST_BARCODE:
        raise RecordError(f"the barcode has {len(raw):,} characters; {LONGEST_BARCODE:,} are allowed")
    barcode = "".join(raw.split())
    if not barcode.isascii():  # before upper(), which turns some other letters into nucleotides
        foreign = next(letter for letter in barcode if not letter.isascii())
        raise RecordError(f"the barcode holds {foreign!r}, which is no nucleotide")
    barcode = barcode.upper().translate(_GAPS).strip("N")
    if not barcode:
        raise RecordError("the barcode is empty")
    if strange := barcode.encode().translate(None, _IUPAC):
        letter = chr(strange[0])
        raise RecordError(f"the barcode holds {letter!r} at base {barcode.index(letter) + 1}, which is no nucleotide")
    return barcode


def token_ids(barcodes: Sequence[str]) -> KmerIds:
    """5-mer ids of cleaned barcodes, (len(barcodes), 133), padded with 0.

    A 5-mer with an ambiguous base, and an incomplete one at the end, is the unknown token.
    """
    ids = _ids(barcodes, START_ID, _CODES)
    ids[:, 1:][_lengths(barcodes)[:, None] <= np.arange(0, MAX_BASES, KMER)] = PAD_ID
    return ids


def authors_token_ids(barcodes: Sequence[str]) -> KmerIds:
    """The ids that the authors' code gives for the same texts, (len(barcodes), 133).

    Their code cleans nothing: to it lower case, U and gaps are unknown.
    """
    return _ids(barcodes, _AUTHORS_START_ID, _AUTHORS_CODES)


def _ids(barcodes: Sequence[str], start: int, codes: bytes) -> KmerIds:
    """A first id and the 5-mers of barcodes cut or padded with N, (len(barcodes), 133)."""
    check_several(barcodes)
    ids = np.empty((len(barcodes), NUM_TOKENS), dtype=np.int16)
    ids[:, 0] = start
    for rows, block in _blocks(barcodes):
        ids[rows, 1:] = _kmer_ids(block, codes)
    return ids


def base_codes(barcodes: Sequence[str]) -> Bytes:
    """Codes of the bases of cleaned barcodes, (len(barcodes), 660): A, C, G, T are 0 to 3, and U is read as T.

    Any other letter is 4, what lies past the end is 5, and what follows base 660 is cut off.
    """
    check_several(barcodes)
    codes = np.empty((len(barcodes), MAX_BASES), dtype=np.uint8)
    for rows, block in _blocks(barcodes):
        codes[rows] = _coded(block, _CODES).reshape(-1, MAX_BASES)
        codes[rows][_lengths(block)[:, None] <= np.arange(MAX_BASES)] = NO_BASE
    return codes


def check_several(barcodes: Sequence[str]) -> None:
    """Refuse one text, whose letters would be taken for barcodes.

    Raises:
        UsageError: it is one.
    """
    if isinstance(barcodes, str):
        raise UsageError(f"barcodes is the text {barcodes[:20]!r}; it is a list of texts, [{barcodes[:20]!r}] for one")


def code_letters(letters: str) -> Bytes:
    """Codes of letters in upper case, (len(letters),): A, C, G, T are 0 to 3, U is read as T, any other is 4."""
    return np.frombuffer(letters.encode("ascii", "replace").translate(_CODES), dtype=np.uint8)


def _blocks(barcodes: Sequence[str]) -> Iterator[tuple[slice, Sequence[str]]]:
    for start in range(0, len(barcodes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, barcodes[rows]


def _kmer_ids(barcodes: Sequence[str], codes: bytes) -> KmerIds:
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


def _coded(barcodes: Sequence[str], codes: bytes) -> Bytes:
    """Code of every letter of barcodes cut or padded with N, (len(barcodes) * 660,)."""
    letters = "".join([barcode[:MAX_BASES].ljust(MAX_BASES, "N") for barcode in barcodes])
    coded = letters.encode("ascii", "replace").translate(codes)  # a foreign letter becomes one question mark
    return np.frombuffer(coded, dtype=np.uint8)


def _lengths(barcodes: Sequence[str]) -> Indices:
    return np.fromiter(map(len, barcodes), dtype=np.int64, count=len(barcodes))


# --- A common frame -----------------------------------------------------------------------------------------------

MAX_CUT = 60
"""Bases that a barcode may begin before the consensus."""
_MAX_LATE = 250
"""Bases that a barcode may begin after the consensus."""
_MIN_OVERLAP = 150
_CLEAR = 0.65
"""Share of equal bases from which on a barcode lies right; by chance about 0.3 agree, within insects 0.7 to 1."""
_CELLS = 1_000_000
"""Positions of barcodes that are looked at together, some 16 MB."""


def consensus(barcodes: Sequence[str]) -> str:
    """The commonest base at every position, over barcodes of the commonest length; empty without barcodes."""
    check_several(barcodes)
    if not barcodes:
        return ""
    length = Counter(map(len, barcodes)).most_common(1)[0][0]
    rows = np.stack([_letters(barcode) for barcode in barcodes if len(barcode) == length])
    counts = np.stack([(rows == base).sum(axis=0) for base in b"ACGT"])
    commonest = np.frombuffer(b"ACGT", dtype=np.uint8)[counts.argmax(axis=0)]
    return bytes(commonest).decode()


def placed(barcodes: Sequence[str], reference: str) -> list[str]:
    """Barcodes as they continue the reference's frame: cut, or with N before their first base.

    The smallest move wins among equally good ones; a barcode too short to be laid anywhere stays as it is. Most lie
    right already; one that does not is tried at 311 places, some 0.1 ms of matrix product.
    """
    check_several(barcodes)
    target = _letters(reference)
    moves = np.zeros(len(barcodes), dtype=np.int64)
    codes = [_letters(barcode) for barcode in barcodes]
    astray = [row for row, own in enumerate(codes) if len(target) and _agreement(own, target) < _CLEAR]
    if astray:
        moves[astray] = _best_moves(target, [codes[row] for row in astray])
    return [
        "N" * move + barcode if move >= 0 else barcode[-move:]
        for barcode, move in zip(barcodes, moves.tolist(), strict=True)
    ]


def _letters(barcode: str) -> Bytes:
    return np.frombuffer(barcode.encode("ascii"), dtype=np.uint8)


def _agreement(codes: Bytes, target: Bytes) -> float:
    """Share of equal bases where the two overlap, both beginning together."""
    overlap = min(len(target), len(codes))
    return float((codes[:overlap] == target[:overlap]).mean()) if overlap >= _MIN_OVERLAP else 0.0


def _best_moves(target: Bytes, barcodes: Sequence[Bytes]) -> Indices:
    """The place where most bases of each barcode agree with a reference, by one matrix product, bases, (barcodes,).

    Which letter a barcode has at a position, as ones and zeros, times which letter the reference has so many bases
    further: the sum over letters and positions is the number of equal bases.
    """
    length, width = len(target), len(target) + MAX_CUT  # what lies further on meets no base
    shifts = np.array(sorted(range(-MAX_CUT, _MAX_LATE + 1), key=abs))
    meets = np.arange(width)[:, None] + shifts  # (positions, shifts)
    inside = (meets >= 0) & (meets < length)
    reference = np.where(inside, target[meets.clip(0, length - 1)], 0)
    letters = np.unique(target)
    equal = np.concatenate([reference == letter for letter in letters]).astype(np.float32)  # (letters * positions, ...)
    moves, step = np.empty(len(barcodes), dtype=np.int64), max(1, _CELLS // width)
    for start in range(0, len(barcodes), step):
        block = barcodes[start : start + step]
        rows = np.zeros((len(block), width), dtype=np.uint8)
        for row, codes in zip(rows, block, strict=True):
            row[: len(codes)] = codes[:width]
        ones = np.concatenate([rows == letter for letter in letters], axis=1).astype(np.float32)
        ends = shifts + np.array([len(codes) for codes in block])[:, None]
        overlap = np.minimum(length, ends) - shifts.clip(0)  # (barcodes, shifts)
        # Whole numbers below 2^24, so that the products are exact in fp32 and equal shares are ties.
        shares = np.where(overlap >= _MIN_OVERLAP, (ones @ equal) / np.maximum(overlap, 1), 0)
        moves[start : start + step] = shifts[shares.argmax(axis=1)]
    return moves
