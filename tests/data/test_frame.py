"""Barcodes laid into one frame."""

import random

from workloads.data.specimens.barcode import consensus, placed


def relatives(seed: int, count: int = 12, length: int = 600, rate: float = 0.15) -> list[str]:
    """Barcodes of one length that differ from their common ancestor at some bases."""
    stream = random.Random(seed)
    ancestor = "".join(stream.choices("ACGT", weights=(3, 1, 1, 3), k=length))
    return ["".join(stream.choice("ACGT") if stream.random() < rate else b for b in ancestor) for _ in range(count)]


def plain_consensus(barcodes: list[str]) -> str:
    columns = zip(*barcodes, strict=True)
    return "".join(max("ACGT", key=column.count) for column in columns)


def test_the_consensus_is_the_commonest_base_of_every_column() -> None:
    barcodes = relatives(1)
    assert consensus(barcodes) == plain_consensus(barcodes)


def test_the_consensus_is_taken_over_the_commonest_length_only() -> None:
    barcodes = relatives(2)
    assert consensus([*barcodes, *(barcode[7:] for barcode in barcodes[:5])]) == plain_consensus(barcodes)
    assert consensus([]) == ""


def test_a_barcode_that_begins_later_gets_unknown_bases_in_front() -> None:
    barcodes = relatives(3)
    reference = consensus(barcodes)
    for late in (1, 4, 26, 200):
        assert placed([barcodes[0][late:]], reference) == ["N" * late + barcodes[0][late:]]


def test_a_barcode_that_begins_earlier_is_cut() -> None:
    barcodes = relatives(4)
    reference = consensus([barcode[30:] for barcode in barcodes])
    assert placed([barcodes[0]], reference) == [barcodes[0][30:]]


def test_a_barcode_in_frame_or_too_short_stays_as_it_is() -> None:
    barcodes = relatives(5)
    reference = consensus(barcodes)
    assert placed([barcodes[1]], reference) == [barcodes[1]]
    assert placed(["ACGTACGT"], reference) == ["ACGTACGT"]
    assert placed([barcodes[1]], "") == [barcodes[1]]


def moved(barcode: str, reference: str) -> str:
    """Every place tried in turn, the nearest first; a later one has to agree better."""

    def agreement(shift: int) -> float:
        pairs = [(base, at + shift) for at, base in enumerate(barcode) if 0 <= at + shift < len(reference)]
        return sum(base == reference[at] for base, at in pairs) / len(pairs) if len(pairs) >= 150 else 0.0

    best = 0
    if agreement(0) < 0.65:
        for shift in sorted(range(-60, 251), key=abs):
            if agreement(shift) > agreement(best):
                best = shift
    return "N" * best + barcode if best >= 0 else barcode[-best:]


def test_many_barcodes_are_laid_as_one_by_one_is() -> None:
    first, *others = relatives(7, 8)
    reference = consensus(others)
    odd = [first[:149], first[10:160], "ACGTN" * 60, first[:300], first * 2, "N" * 30 + first, "ACGTACGT" + first[:400]]
    barcodes = [*others, *(barcode[late:] for late, barcode in zip((1, 59, 250, 251), others, strict=False)), *odd]
    for target in (reference, reference[13:], reference[:155], "ACG" + reference):
        assert placed(barcodes, target) == [moved(barcode, target) for barcode in barcodes]
