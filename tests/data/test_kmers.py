"""Counts of k-mers against a plain loop over the letters, on one strand and on both."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.coi_region import reverse_complement
from workloads.data.specimens.kmers import kmer_counts, num_kmers
from workloads.errors import UsageError

barcodes = st.one_of(
    st.text("ACGTU", min_size=1, max_size=40),
    st.text("ACGTURYSWKMBDHVN", min_size=1, max_size=40),
    st.builds(lambda part, count: (part * count)[:900], st.text("ACGTN", min_size=1, max_size=30), st.integers(1, 60)),
)


def in_loops(barcode: str, size: int, both: bool = False) -> list[int]:
    kmers = ["".join(letters) for letters in itertools.product("ACGT", repeat=size)]
    named = {kmer: min(kmer, reverse_complement(kmer)) if both else kmer for kmer in kmers}
    counts = dict.fromkeys(sorted(set(named.values())), 0)
    letters = barcode.replace("U", "T")
    for start in range(len(letters) - size + 1):
        if letters[start : start + size] in named:
            counts[named[letters[start : start + size]]] += 1
    return list(counts.values())


@settings(max_examples=40, deadline=None)
@given(st.lists(barcodes, min_size=1, max_size=3))
def test_counts_are_those_of_a_loop_over_the_letters(batch: list[str]) -> None:
    assert kmer_counts(batch).tolist() == [in_loops(barcode, 5) for barcode in batch]
    assert kmer_counts(batch, (1, 4), "both").tolist() == [
        in_loops(barcode, 1, both=True) + in_loops(barcode, 4, both=True) for barcode in batch
    ]


@settings(max_examples=20, deadline=None)
@given(st.lists(barcodes, min_size=1, max_size=3))
def test_on_both_strands_a_turned_barcode_counts_the_same(batch: list[str]) -> None:
    turned = [reverse_complement(barcode) for barcode in batch]
    assert np.array_equal(kmer_counts(batch, (3, 6), "both"), kmer_counts(turned, (3, 6), "both"))


@pytest.mark.parametrize("size", range(1, 8))
def test_as_many_kmers_are_counted_as_there_are(size: int) -> None:
    assert kmer_counts(["ACGTTGCA"], (size,)).shape == (1, num_kmers(size))
    assert kmer_counts(["ACGTTGCA"], (size,), "both").shape == (1, num_kmers(size, "both"))


def test_barcodes_without_a_kmer_count_nothing_and_long_ones_to_their_end() -> None:
    long = "ACGTT" * 20_000
    counts = kmer_counts(["ACGT", "", "N" * 700, "ACGTT", long])
    assert counts.sum(axis=1).tolist() == [0, 0, 0, 1, 100_000 - 4]
    assert kmer_counts([]).shape == (0, 1024)


def test_more_barcodes_than_one_block_keep_their_order() -> None:
    random = np.random.default_rng(3)
    many = ["".join(random.choice(list("ACGTN"), length)) for length in random.integers(0, 700, 500)]
    assert np.array_equal(kmer_counts(many), np.concatenate([kmer_counts([barcode]) for barcode in many]))


def test_one_text_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(UsageError, match="it is a list of texts"):
        kmer_counts("ACGT")
