"""Barcodes as pages show them: stripes, and marks where two of them differ."""

import numpy as np

from results.dashboard.barcodes import differences, in_frame, strip


def test_differences_of_barcodes_are_marked_and_counted() -> None:
    query, key = "ACGTACGTAC" * 12, "ACGTACGTAC" * 11 + "ACGTNCGTAA"
    found = differences(query, key)
    assert (found.num, found.of) == (1, 119)
    assert found.marks == "M9 23h1v4h-1z"  # position 119: the tenth base of the second line
    assert [line.begins for line in found.lines] == [1, 61]
    assert found.lines[1].key[-1] == ("A", True)
    assert "".join(letters for letters, _ in found.lines[0].key) == "·" * 60
    assert dict(strip("AACN").paths) == {
        "base-a": "M0 0h2v9h-2z",
        "base-c": "M2 0h1v9h-1z",
        "base-n": "M3 0h1v9h-1z",
    }


def test_a_barcode_that_begins_late_is_laid_into_the_frame() -> None:
    chance = np.random.default_rng(1)
    frame = "".join(chance.choice(list("ACGT"), 400))
    late = in_frame(frame[37:], frame)
    assert late is not None
    assert differences(frame, late).num == 0
    assert differences(frame, late).of == 363
    assert in_frame("ÄCGT", frame) is None
