"""The one rule for a barcode of unknown origin: what it becomes, and what is to be said of it.

A reverse complement is turned. What begins more than 60 bases before the barcode region of COI, or is longer than a
barcode may be, as a mitochondrion is, is cut to the region. Gaps within stay as unknown bases in their places, so that
the codons after them keep their frame. Everything else keeps every byte: what is implausible is counted and said, and
left out on request. A published data set is counted only, since its numbers are compared with those of others.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workloads.data.specimens.barcode import LONGEST_BARCODE, MAX_CUT, clean_barcode
from workloads.data.specimens.coi_consensus import REGION_BASES
from workloads.data.specimens.coi_region import Place, places_of, reverse_complement
from workloads.errors import RecordError, UsageError

SHORT, LONG = 100, 2000
"""Bases: the shortest barcodes in use, of degraded DNA, have some 120, and all of COI has 1,540."""
_AMBIGUOUS = 0.05
"""Share of unknown bases above which it is said; BOLD wants 1 % at most of a barcode, and releases others too."""

TURNED = "barcodes turned, which were the reverse complement"
CUT = "barcodes cut to the barcode region of COI"
TOO_LONG = "barcodes longer than allowed, left out"
TOO_SHORT = "barcodes shorter than allowed, left out"
SHORT_KEPT = f"barcodes of fewer than {SHORT} bases (--barcode-length {SHORT}-{LONG} leaves them out)"
LONG_KEPT = f"barcodes of more than {LONG:,} bases"
UNLIKE_COI = "barcodes unlike the barcode region of COI (--only-coi leaves them out)"
NOT_COI = "barcodes unlike the barcode region of COI, left out"
STOPS = "barcodes with stop codons, as pseudogenes and shifted frames have them"
GAPS = "barcodes with gaps within, which are read as unknown bases"
AMBIGUOUS = f"barcodes of which more than {_AMBIGUOUS:.0%} is unknown"
EMPTY = "barcodes without a known base"
NO_BASES = "barcodes with a letter that is no nucleotide"


@dataclass(frozen=True, slots=True, kw_only=True)
class BarcodeRule:
    """What someone who imports barcodes can choose."""

    lengths: tuple[int, int] | None = None
    """Bases of the shortest and of the longest barcode that is kept. None: short ones are kept and counted, and what is
    longer than 2,000 is cut to the barcode region, or left out where it has none."""
    only_coi: bool = False
    """Whether what does not resemble the barcode region is left out."""
    mends: bool = True
    """Whether barcodes are turned, cut and left out; a published data set is counted only."""


AS_IT_COMES = BarcodeRule()


def parse_lengths(text: str) -> tuple[int, int]:
    """The two numbers of `--barcode-length 100-2000`.

    Raises:
        UsageError: not two whole numbers, the smaller one first.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*-\s*(\d{1,6})\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= LONGEST_BARCODE:
        raise UsageError(
            f"--barcode-length {text!r}: write the fewest and the most bases, such as --barcode-length {SHORT}-{LONG}"
        )
    return int(match[1]), int(match[2])


def usable(raw: str, rule: BarcodeRule = AS_IT_COMES) -> tuple[str | None, list[str]]:
    """The cleaned barcode of a text, None where there is none to use, and the kinds of what is to be said of it."""
    return next(all_usable([raw], rule))


def all_usable(raws: Sequence[str], rule: BarcodeRule = AS_IT_COMES) -> Iterator[tuple[str | None, list[str]]]:
    """The same for each of some texts; some hundred at once take a fifth of the time that they take one by one."""
    cleaned = [_cleaned(raw) for raw in raws]
    places = iter(places_of([barcode for barcode in cleaned if barcode is not None]))
    for raw, barcode in zip(raws, cleaned, strict=True):
        yield (None, [_unusable(raw)]) if barcode is None else _judged(raw, barcode, next(places), rule)


def _cleaned(raw: str) -> str | None:
    try:
        return clean_barcode(raw)
    except RecordError:
        return None


def _judged(raw: str, barcode: str, place: Place | None, rule: BarcodeRule) -> tuple[str | None, list[str]]:
    """What becomes of a cleaned barcode."""
    kinds = [GAPS] if _has_gaps(raw) else []
    if place is None:
        kinds += _unlike_coi(len(barcode), rule)
    elif rule.mends:
        barcode, mended = _mended(barcode, place, rule.lengths[1] if rule.lengths else LONG)
        kinds += mended
    elif not place.is_turned:
        kinds += [STOPS] if place.num_stops else []
    num_unknown = len(barcode.encode().translate(None, b"ACGTU"))
    kinds += [AMBIGUOUS] if num_unknown > _AMBIGUOUS * len(barcode) else []
    implausible = _length_finding(len(barcode), rule)
    kinds += [implausible] if implausible else []
    return (None if {TOO_LONG, TOO_SHORT, NOT_COI} & set(kinds) else barcode), kinds


def _has_gaps(raw: str) -> bool:
    """Whether gaps stand between bases; most texts have none anywhere, which is seen at once."""
    return any(mark in raw for mark in "-.?") and re.search(r"[-.?]", raw.strip("-.?Nn \t\r\n")) is not None


def _mended(barcode: str, place: Place, most: int) -> tuple[str, list[str]]:
    """A barcode of the region, turned and cut where it has to be, and what was done or found."""
    kinds = []
    if place.is_turned:
        barcode = reverse_complement(barcode)
        kinds.append(TURNED)
    if place.start < -MAX_CUT or len(barcode) > most:
        barcode = barcode[max(0, -place.start) : REGION_BASES - place.start]
        kinds.append(CUT)
    kinds += [STOPS] if place.num_stops else []
    return barcode.strip("N"), kinds


def _unlike_coi(bases: int, rule: BarcodeRule) -> list[str]:
    if rule.only_coi and rule.mends:
        return [NOT_COI]
    return [UNLIKE_COI] if bases >= SHORT else []  # of a shorter one its length is said


def _unusable(raw: str) -> str:
    """Why `clean_barcode` has refused a text."""
    if len(raw) > LONGEST_BARCODE:
        return TOO_LONG
    return NO_BASES if re.search(r"[^Nn.?\s-]", raw) else EMPTY


def _length_finding(bases: int, rule: BarcodeRule) -> str | None:
    if not rule.mends:
        return SHORT_KEPT if bases < SHORT else LONG_KEPT if bases > LONG else None
    least, most = rule.lengths or (1, LONG)
    if bases > most:
        return TOO_LONG
    if bases < least:
        return TOO_SHORT
    return SHORT_KEPT if bases < SHORT and not rule.lengths else None
