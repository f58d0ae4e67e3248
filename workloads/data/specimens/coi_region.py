"""Where in COI a sequence lies, by the words of eight bases that it shares with the region's consensus.

A word of the consensus says how far the sequence has to be moved to lie on it; the move that most words agree on is the
sequence's place. A barcode of an order that is not among the nineteen has 4 % of its words on one move at least, and
one of another gene, or the wrong strand, 2.6 % at most (18,578 public barcodes, docs/log.md); so 3 % tell them apart,
on either strand, in a part of the region or within a mitochondrion. It takes some 8 microseconds, without alignment,
where hundreds are looked at together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Bytes, Indices
from workloads.data.specimens.coi_consensus import CONSENSUS, FIRST_CODON, REGION_BASES

_WORD = 8
_LIKE_COI = 0.03
"""Share of a sequence's words, of the region's at most, that agree on its place."""
_FEWEST = 6
"""Words that agree, at least; below it a short text may do so by chance."""
_NO_WORD = -1
_UNKNOWN = 4
_CODES = bytes({"A": 0, "C": 1, "G": 2, "T": 3, "U": 3}.get(chr(byte), _UNKNOWN) for byte in range(256))
_COMPLEMENTS = bytes.maketrans(b"ACGTUKMRYBVDH", b"TGCAAMKYRVBHD")
"""S, W and N are their own."""
_TOGETHER = 1 << 17
"""Bases that are looked at together: some 2 MB, and 200 barcodes."""
_SPAN = 1 << 18
"""More than there are places for the longest sequence to begin at."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sequence lies."""

    start: int
    """Position in the region of its first base; negative where it begins before the region."""
    is_turned: bool
    """Whether the reverse complement of what was given lies there."""
    num_stops: int
    """Stop codons within the region, on the strand that lies there."""


def reverse_complement(bases: str) -> str:
    """The other strand, read in its own direction; IUPAC's letters included, U as T."""
    return bases.encode().translate(_COMPLEMENTS)[::-1].decode()


def places_of(barcodes: Sequence[str]) -> list[Place | None]:
    """Where cleaned sequences of any length lie in the barcode region; None for those that resemble it nowhere."""
    places: list[Place | None] = []
    for block in blocks_of_bases(barcodes):
        found = _laid(block, is_turned=False)
        others = [row for row, place in enumerate(found) if place is None]
        turned = _laid([reverse_complement(block[row]) for row in others], is_turned=True)
        for row, place in zip(others, turned, strict=True):
            found[row] = place
        places += found
    return places


def place_of(bases: str) -> Place | None:
    """The same for one sequence."""
    return places_of([bases])[0]


def num_stop_codons(barcodes: Sequence[str], starts: Sequence[int]) -> Indices:
    """Stop codons within the region by the invertebrate mitochondrial code (NCBI's table 5), in which only TAA and TAG
    are some, (barcodes,).

    Args:
        barcodes: sequences in the direction of the gene.
        starts: position in the region of the first base of each.
    """
    return _Laid(barcodes).num_stops(np.array(starts, dtype=np.int64))


def blocks_of_bases(barcodes: Sequence[str]) -> Iterator[Sequence[str]]:
    """The barcodes in turn, so many at once that memory stays small, however long they are."""
    start = bases = 0
    for stop, barcode in enumerate(barcodes):
        bases += len(barcode)
        if bases > _TOGETHER and stop > start:
            yield barcodes[start:stop]
            start, bases = stop, len(barcode)
    yield barcodes[start:]


def _laid(barcodes: Sequence[str], is_turned: bool) -> list[Place | None]:
    """The places of sequences on the strand that is given."""
    laid = _Laid(barcodes)
    num_agreed, starts = laid.votes()
    needed = np.maximum(_FEWEST, _LIKE_COI * np.minimum(laid.lengths, REGION_BASES))
    lies = (num_agreed >= needed) & (laid.lengths >= _WORD + _FEWEST)
    facts = zip(lies.tolist(), starts.tolist(), laid.num_stops(starts).tolist(), strict=True)
    return [Place(start, is_turned, num_stops) if own else None for own, start, num_stops in facts]


class _Laid:
    """Sequences one after another in one array, where numpy takes a hundredth of its time for each."""

    def __init__(self, barcodes: Sequence[str]) -> None:
        self._codes = np.frombuffer("".join(barcodes).encode().translate(_CODES), dtype=np.uint8)
        self.lengths = np.fromiter(map(len, barcodes), dtype=np.int64, count=len(barcodes))
        self._ends = self.lengths.cumsum()
        self._begins = self._ends - self.lengths

    def votes(self) -> tuple[Indices, Indices]:
        """How many words agree on the commonest place of each sequence, and the position of its first base there."""
        positions = _POSITIONS.take(_words(self._codes))
        across = (self._ends[:, None] - np.arange(1, _WORD)).ravel()  # words that begin in one and end in the next
        positions[across[(across >= 0) & (across < len(positions))]] = _NO_WORD
        hits = np.flatnonzero(positions != _NO_WORD)
        firsts = np.arange(len(self._ends)) * _SPAN  # a place of no sequence, so that each row has some
        base = firsts + _SPAN // 2 + self._begins
        moves = positions[hits] - hits + np.repeat(base, np.diff(np.searchsorted(hits, self._ends), prepend=0))
        keys, counts = np.unique(np.concatenate([moves, firsts]), return_counts=True)
        best = np.maximum.reduceat(counts * _SPAN - keys % _SPAN, np.searchsorted(keys, firsts))
        num_agreed = -(-best // _SPAN)  # of equal counts the smallest place is the largest sum
        return num_agreed, num_agreed * _SPAN - best - _SPAN // 2

    def num_stops(self, starts: Indices) -> Indices:
        """Stop codons within the region where each sequence begins at its position there."""
        first, second, third = self._codes[:-2], self._codes[1:-1], self._codes[2:]
        at = np.flatnonzero((first == 3) & (second == 0) & ((third == 0) | (third == 2)))
        rows = np.searchsorted(self._ends, at, side="right")
        places = at - self._begins[rows] + starts[rows]
        inside = (at + 3 <= self._ends[rows]) & (places >= 0) & (places + 3 <= REGION_BASES)
        return np.bincount(rows[inside & (places % 3 == FIRST_CODON)], minlength=len(starts))


def _words(codes: Bytes) -> Indices:
    """Number of the word that begins at each base, (bases - 7,); a letter that is no base counts as A."""
    wide = codes.astype(np.uint16) & 3
    twos = (wide[:-1] << 2) | wide[1:]
    fours = (twos[:-2] << 4) | twos[2:]
    return np.asarray((fours[:-4] << 8) | fours[4:])


def _positions() -> Indices:
    """Position in the region of each word of the consensus that has one alone, (65,536,)."""
    positions = np.full(4**_WORD, _NO_WORD, dtype=np.int16)
    repeated = np.zeros(4**_WORD, dtype=np.bool_)
    for bases in CONSENSUS.values():
        words = _words(np.frombuffer(bases.encode().translate(_CODES), dtype=np.uint8))
        words, own, counts = np.unique(words, return_index=True, return_counts=True)
        repeated[words] |= (counts > 1) | ((positions[words] != _NO_WORD) & (positions[words] != own))
        positions[words] = own
    positions[repeated] = _NO_WORD
    return positions


_POSITIONS = _positions()
