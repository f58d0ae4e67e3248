"""Two barcodes laid side by side, and the share of bases that agree.

The shorter one is aligned whole with a part of the longer one by the fewest changes, whose ends are free (edlib's
infix alignment; Šošić and Šikić 2017). Where barcodes overlap in part, bases beyond the other one's end are not
counted. An ambiguous letter agrees with any base while the two are laid out, and its column is not counted:

    identity = columns of two equal bases / columns of two bases, or of a base and a gap
"""

import math
import re
from dataclasses import dataclass

import edlib

_STEP = re.compile(r"(\d+)([=XID])")
_BASES = "ACGT"
_UNCERTAIN = re.compile(f"[^{_BASES}]")
_ANY = [(letter, base) for letter in "RYSWKMBDHVN" for base in _BASES]
# Of blastn for a match of 1 and a change of -2 (Karlin and Altschul 1990).
_LAMBDA, _K, _MATCH, _CHANGE, _GAP = 1.28, 0.46, 1.0, -2.0, -2.5


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a query lies beside another barcode; places count from 1 and include both ends, as BLAST's do."""

    num_equal: int
    num_different: int
    num_gaps: int
    """Bases beside a gap."""
    num_openings: int
    """Runs of gaps."""
    query_start: int
    query_end: int
    key_start: int
    key_end: int
    query_size: int
    """Letters of the whole query."""

    @property
    def length(self) -> int:
        """Columns that are counted."""
        return self.num_equal + self.num_different + self.num_gaps

    @property
    def identity(self) -> float:
        """Share of columns that agree, 0 to 1; NaN where none is counted."""
        return self.num_equal / self.length if self.length else math.nan

    @property
    def bits(self) -> float:
        """Score in bits as blastn has it for match 1, change -2 and 2.5 a gap."""
        raw = _MATCH * self.num_equal + _CHANGE * self.num_different + _GAP * self.num_gaps
        return (_LAMBDA * raw - math.log(_K)) / math.log(2)

    def expected(self, database_size: int) -> float:
        """How many alignments of so many bits chance gives, among so many bases."""
        return float(self.query_size * database_size * 2.0 ** -max(self.bits, -900.0))


def aligned(query: str, key: str) -> Alignment:
    """Lay two cleaned barcodes side by side, neither of them empty."""
    query, key = query.replace("U", "T"), key.replace("U", "T")
    swapped = len(query) > len(key)
    short, long = (key, query) if swapped else (query, key)
    found = edlib.align(short, long, mode="HW", task="path", additionalEqualities=_ANY)
    steps = [(int(count), kind) for count, kind in _STEP.findall(found["cigar"] or "")]
    at_short, at_long = 0, int(found["locations"][0][0] or 0)
    while steps and steps[0][1] in "ID":  # a gap at an end is where the other barcode has not begun, or has ended
        count, kind = steps.pop(0)
        at_short, at_long = at_short + count * (kind == "I"), at_long + count * (kind == "D")
    while steps and steps[-1][1] in "ID":
        steps.pop()
    starts, counts = (at_short, at_long), {"=": 0, "X": 0, "I": 0, "D": 0}
    for count, kind in steps:
        one, other = short[at_short : at_short + count], long[at_long : at_long + count]
        counts[kind] += _certain(other if kind == "D" else one, one if kind == "I" else other)
        at_short, at_long = at_short + count * (kind != "D"), at_long + count * (kind != "I")
    openings = sum(kind in "ID" for _, kind in steps)
    first, second = (starts[0] + 1, at_short), (starts[1] + 1, at_long)
    (query_start, query_end), (key_start, key_end) = (second, first) if swapped else (first, second)
    return Alignment(
        num_equal=counts["="],
        num_different=counts["X"],
        num_gaps=counts["I"] + counts["D"],
        num_openings=openings,
        query_start=query_start,
        query_end=query_end,
        key_start=key_start,
        key_end=key_end,
        query_size=len(query),
    )


def _certain(one: str, other: str) -> int:
    """In how many columns of two letters both are bases."""
    if not _UNCERTAIN.search(one) and not _UNCERTAIN.search(other):
        return len(one)
    return sum(first in _BASES and second in _BASES for first, second in zip(one, other, strict=True))
