"""Where in COI a sequence lies, by the words of eight bases that it shares with the region's consensus.

A word of the consensus says how far the sequence has to be moved to lie on it; the move that most words agree on is the
sequence's place. A barcode of an order that is not among the nineteen has 4 % of its words on one move at least, and
one of another gene, or the wrong strand, 2.6 % at most (18,578 public barcodes, docs/log.md); so 3 % tell them apart,
on either strand, in a part of the region or within a mitochondrion. It takes some 20 microseconds, without alignment.
"""

from dataclasses import dataclass

import numpy as np

from workloads.arrays import Indices
from workloads.data.specimens.coi_consensus import CONSENSUS, FIRST_CODON, REGION_BASES

_WORD = 8
_LIKE_COI = 0.03
"""Share of a sequence's words, of the region's at most, that agree on its place."""
_FEWEST = 6
"""Words that agree, at least; below it a short text may do so by chance."""
_NO_WORD = -(1 << 20)
_LETTERS = bytes({"C": 1, "G": 2, "T": 3, "U": 3}.get(chr(byte), 0) for byte in range(256))
"""The two bits of a base in a word, where a letter that is no base counts as A."""
_CODES = bytes({"A": 0, "C": 1, "G": 2, "T": 3, "U": 3}.get(chr(byte), 4) for byte in range(256))
_COMPLEMENTS = bytes.maketrans(b"ACGTUKMRYBVDH", b"TGCAAMKYRVBHD")
"""S, W and N are their own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sequence lies."""

    start: int
    """Position in the region of its first base; negative where it begins before the region."""
    is_turned: bool
    """Whether the reverse complement of what was given lies there."""


def reverse_complement(bases: str) -> str:
    """The other strand, read in its own direction; IUPAC's letters included, U as T."""
    return bases.encode().translate(_COMPLEMENTS)[::-1].decode()


def place_of(bases: str) -> Place | None:
    """Where a cleaned sequence of any length lies in the barcode region, None where it resembles it nowhere."""
    letters = _letters(bases)
    if len(letters) < _WORD + _FEWEST:
        return None
    needed = max(_FEWEST, _LIKE_COI * min(len(letters), REGION_BASES))
    num_agreed, start = _votes(letters)
    if num_agreed >= needed:
        return Place(start, is_turned=False)
    num_agreed, start = _votes(3 - letters[::-1])
    return Place(start, is_turned=True) if num_agreed >= needed else None


def num_stop_codons(bases: str, start: int) -> int:
    """Stop codons within the region by the invertebrate mitochondrial code (NCBI's table 5), in which only TAA and TAG
    are some.

    Args:
        bases: a sequence in the direction of the gene.
        start: position in the region of its first base.
    """
    codes = np.frombuffer(bases.encode().translate(_CODES), dtype=np.uint8)
    first = max(0, -start)
    first += (FIRST_CODON - start - first) % 3
    inside = codes[first : max(first, REGION_BASES - start)]
    inside = inside[: len(inside) // 3 * 3]
    three = inside[2::3]
    is_stop = (inside[::3] == 3) & (inside[1::3] == 0) & ((three == 0) | (three == 2))
    return int(np.count_nonzero(is_stop))


def _letters(bases: str) -> Indices:
    return np.frombuffer(bases.encode().translate(_LETTERS), dtype=np.uint8).astype(np.uint16)


def _words(letters: Indices) -> Indices:
    """Number of the word that begins at each base, (bases - 7,)."""
    twos = (letters[:-1] << 2) | letters[1:]
    fours = (twos[:-2] << 4) | twos[2:]
    return np.asarray((fours[:-4] << 8) | fours[4:])


def _positions() -> Indices:
    """Position in the region of each word of the consensus that has one alone, (65,536,)."""
    positions = np.full(4**_WORD, _NO_WORD, dtype=np.int64)
    repeated = np.zeros(4**_WORD, dtype=np.bool_)
    for bases in CONSENSUS.values():
        words = _words(_letters(bases))
        own = np.arange(len(words))
        repeated[words] |= (positions[words] != _NO_WORD) & (positions[words] != own)
        positions[words] = own
    positions[repeated] = _NO_WORD
    return positions


_POSITIONS = _positions()


def _votes(letters: Indices) -> tuple[int, int]:
    """How many words agree on the commonest place, and the position of the first base there."""
    words = _words(letters)
    moves = _POSITIONS.take(words)
    moves += np.arange(len(words), 0, -1)  # so that none is negative but those of words that the region has not
    moves = moves[moves >= 0]
    if not len(moves):
        return 0, 0
    counts = np.bincount(moves)
    best = int(counts.argmax())
    return int(counts[best]), best - len(words)
