"""Views of barcodes in training: what a laboratory makes of one gene, from parts of it to the other strand.

In this order a barcode is cropped, gets bases in front or loses some, has bases replaced, inserted and deleted, has
bases that are not known, and is turned, each as far as its spec says. What is drawn for a specimen is a pure function
of the seed, the epoch, the specimen and the number of its view, and from a stream of its own: images that drew from the
same one would say by their crops which barcode they go with.
"""

import numpy as np

from workloads.arrays import Bytes, Mask
from workloads.barcode_views import BarcodeViews
from workloads.data.specimens.coi_region import reverse_complement

_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_NUMBER = np.full(256, -1, dtype=np.int8)
_NUMBER[_BASES], _NUMBER[ord("U")] = range(4), 3
_UNKNOWN = ord("N")


def view_of_barcode(barcode: str, views: BarcodeViews, random: np.random.Generator) -> str:
    """A barcode as another laboratory might have it; one base of it is left at least.

    Args:
        barcode: cleaned.
        views: what may happen to it.
        random: what decides.
    """
    if not barcode or random.random() >= views.share:
        return barcode
    letters: Bytes = np.frombuffer(barcode.encode("ascii", "replace"), dtype=np.uint8).copy()
    if views.shortest is not None and len(letters) > views.shortest:
        letters = _part(letters, views.shortest, random)
    if views.shift:
        letters = _shifted(letters, views.shift, random)
    if views.substituted:
        _substitute(letters, _some(letters, views.substituted, random), random)
    if views.indels:
        letters = _with_indels(letters, views.indels, random)
    if views.unknown:
        letters[_some(letters, views.unknown, random)] = _UNKNOWN
    view = letters.tobytes().decode("ascii")
    return reverse_complement(view) if views.turned and random.random() < views.turned else view


def _part(letters: Bytes, shortest: int, random: np.random.Generator) -> Bytes:
    """A part of any length from the shortest to all of it, at any place."""
    length = int(random.integers(shortest, len(letters), endpoint=True))
    start = int(random.integers(0, len(letters) - length, endpoint=True))
    return letters[start : start + length]


def _shifted(letters: Bytes, most: int, random: np.random.Generator) -> Bytes:
    """Without some of the first bases, or with others in front of them."""
    bases = int(random.integers(-most, most, endpoint=True))
    if bases <= 0:
        return letters[min(-bases, len(letters) - 1) :]
    return np.concatenate([random.choice(_BASES, bases), letters])


def _some(letters: Bytes, most: float, random: np.random.Generator) -> Mask:
    """Each base by itself, at a rate that is drawn first, (len(letters),)."""
    return np.asarray(random.random(len(letters)) < most * random.random())


def _substitute(letters: Bytes, where: Mask, random: np.random.Generator) -> None:
    """Replace known bases by one of the three others, in place."""
    numbers = _NUMBER[letters]
    where = where & (numbers >= 0)
    letters[where] = _BASES[(numbers[where] + random.integers(1, 4, int(where.sum()))) % 4]


def _with_indels(letters: Bytes, most: int, random: np.random.Generator) -> Bytes:
    """With up to so many bases inserted or deleted, each at any place."""
    count = int(random.integers(0, most, endpoint=True))
    inserted = int(random.binomial(count, 0.5))
    deleted = min(count - inserted, len(letters) - 1)
    letters = np.delete(letters, random.choice(len(letters), deleted, replace=False))
    places = random.integers(0, len(letters), inserted, endpoint=True)
    return np.insert(letters, places, random.choice(_BASES, inserted))
