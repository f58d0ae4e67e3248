"""Barcodes laid into one frame."""

import random

import pytest

from workloads.data import frame
from workloads.data.frame import consensus, place


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


@pytest.mark.parametrize(("count", "step"), [(10, 1), (11, 2), (19, 2), (20, 2), (21, 3), (99, 10)])
def test_the_consensus_looks_at_evenly_spaced_barcodes_and_never_at_more_than_it_says(
    count: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "NUM_SAMPLED", 10)
    barcodes = relatives(6, count, rate=0.5)
    sampled = barcodes[::step]
    assert len(sampled) <= 10
    assert consensus(barcodes) == plain_consensus(sampled)


def test_a_barcode_that_begins_later_gets_unknown_bases_in_front() -> None:
    barcodes = relatives(3)
    reference = consensus(barcodes)
    for late in (1, 4, 26, 200):
        assert place(barcodes[0][late:], reference) == "N" * late + barcodes[0][late:]


def test_a_barcode_that_begins_earlier_is_cut() -> None:
    barcodes = relatives(4)
    reference = consensus([barcode[30:] for barcode in barcodes])
    assert place(barcodes[0], reference) == barcodes[0][30:]


def test_a_barcode_in_frame_or_too_short_stays_as_it_is() -> None:
    barcodes = relatives(5)
    reference = consensus(barcodes)
    assert place(barcodes[1], reference) == barcodes[1]
    assert place("ACGTACGT", reference) == "ACGTACGT"
    assert place(barcodes[1], "") == barcodes[1]
