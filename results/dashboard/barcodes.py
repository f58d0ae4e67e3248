"""Barcodes as pages show them: bases as coloured stripes, and where two of them differ.

They are laid into one frame first, so that the same place of the gene stands at the same position of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from workloads.arrays import Bytes, Mask
from workloads.data.specimens.barcode import placed

BASES = "ACGT"
A_LINE = 110
"""Bases a line of stripes: six lines hold the 660 that the DNA tower reads, as in Figure 3."""
_LINE, _HIGH, _MARK = 14, 9, 4
"""Heights of a line with its gap, of its bases, and of a mark below a base, in units of which a base is one wide."""
_LETTERS = 60
"""Bases a line of an alignment."""


@dataclass(frozen=True, slots=True)
class Strip:
    """A barcode as paths of an SVG drawing."""

    width: int
    height: int
    paths: tuple[tuple[str, str], ...]
    """Names of classes of the page's style, and what is painted with each."""


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of an alignment: runs of letters, and whether they differ from the query's."""

    begins: int
    """Position of its first base, from 1."""
    query: tuple[tuple[str, bool], ...]
    key: tuple[tuple[str, bool], ...]
    """A dot where the base is the query's."""


@dataclass(frozen=True, slots=True)
class Differences:
    """How a key's barcode differs from that of a query."""

    num: int
    of: int
    """Positions at which both have a certain base."""
    lines: tuple[Line, ...]
    marks: str
    """Marks below the bases that differ, a path over the key's stripes."""


def in_frame(barcode: str | None, frame: str) -> str | None:
    """A barcode as it continues a frame; None of one that is none."""
    if not barcode or not barcode.isascii():
        return None
    return placed([barcode.upper()], frame)[0] if frame else barcode.upper()


def strip(barcode: str) -> Strip:
    """A barcode as stripes: a path a base, and one of what is uncertain."""
    lines = max(1, -(-len(barcode) // A_LINE))
    drawn: dict[str, list[str]] = {}
    for line in range(lines):
        begins = 0
        for letter, run in groupby(barcode[line * A_LINE : (line + 1) * A_LINE]):
            length = len(list(run))
            name = f"base-{letter.lower()}" if letter in BASES else "base-n"
            drawn.setdefault(name, []).append(_box(begins, line, length))
            begins += length
    return Strip(A_LINE, lines * _LINE, tuple((name, "".join(boxes)) for name, boxes in sorted(drawn.items())))


def differences(query: str, key: str) -> Differences:
    """Where a key's barcode has another base than a query's, both in one frame; what is uncertain never differs."""
    length = min(len(query), len(key))
    one, other = _letters(query[:length]), _letters(key[:length])
    certain = _certain(one) & _certain(other)
    differs = certain & (one != other)
    places = np.flatnonzero(differs).tolist()
    marks = "".join(f"M{place % A_LINE} {place // A_LINE * _LINE + _HIGH}h1v{_MARK}h-1z" for place in places)
    lines = tuple(_line(query[:length], key[:length], differs, begins) for begins in range(0, length, _LETTERS))
    return Differences(len(places), int(certain.sum()), lines, marks)


def _letters(barcode: str) -> Bytes:
    return np.frombuffer(barcode.encode("ascii"), dtype=np.uint8)


def _certain(letters: Bytes) -> Mask:
    return np.isin(letters, _letters(BASES))


def _box(begins: int, line: int, length: int) -> str:
    return f"M{begins} {line * _LINE}h{length}v{_HIGH}h-{length}z"


def _line(query: str, key: str, differs: Mask, begins: int) -> Line:
    ends = min(begins + _LETTERS, len(query))
    flags = differs[begins:ends].tolist()
    dotted = [b if b != a else "·" for a, b in zip(query[begins:ends], key[begins:ends], strict=True)]
    return Line(begins + 1, _runs(query[begins:ends], flags), _runs(dotted, flags))


def _runs(letters: Sequence[str], flags: Sequence[bool]) -> tuple[tuple[str, bool], ...]:
    pairs = groupby(zip(letters, flags, strict=True), key=lambda pair: pair[1])
    return tuple(("".join(letter for letter, _ in run), flag) for flag, run in pairs)
