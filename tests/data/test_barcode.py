"""Barcodes against a plain loop over their letters."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.barcode import (
    LONGEST_BARCODE,
    MAX_BASES,
    NUM_TOKENS,
    VOCABULARY_SIZE,
    authors_token_ids,
    base_codes,
    clean_barcode,
    token_ids,
)
from workloads.errors import RecordError

KMERS = ["".join(letters) for letters in itertools.product("ACGT", repeat=5)]
IUPAC = "ACGTURYSWKMBDHVN"

barcodes = st.one_of(
    st.text("ACGT", min_size=1, max_size=40),
    st.text(IUPAC, min_size=1, max_size=40),
    # Long ones by repetition, so that the cut after 660 bases falls inside and outside of them.
    st.builds(lambda part, count: (part * count)[:900], st.text(IUPAC, min_size=1, max_size=30), st.integers(1, 60)),
)


any_text = st.one_of(
    barcodes,
    st.text(max_size=30),
    st.text("ACGTacgtNnU-\0 é\U0001f41b\ud800", max_size=40),
    st.builds(lambda part, count: (part * count)[:700], st.text("ACGTNnU-é", max_size=9), st.integers(0, 90)),
)


def token_ids_in_loops(barcode: str) -> list[int]:
    ids = [1]
    cut = barcode[:660].replace("U", "T")
    for start in range(0, 660, 5):
        kmer = cut[start : start + 5]
        if kmer == "":
            ids.append(0)
        elif kmer in KMERS:
            ids.append(3 + KMERS.index(kmer))
        else:
            ids.append(2)
    return ids


def authors_token_ids_in_loops(barcode: str) -> list[int]:
    padded = barcode[:660] if len(barcode) > 660 else barcode + "N" * (660 - len(barcode))
    ids = [0]
    for start in range(0, 660, 5):
        kmer = padded[start : start + 5]
        ids.append(3 + KMERS.index(kmer) if kmer in KMERS else 2)
    return ids


@settings(max_examples=80, deadline=None)
@given(st.lists(any_text, min_size=1, max_size=3))
def test_token_ids_of_any_text_are_those_of_a_loop_over_the_letters(batch: list[str]) -> None:
    assert token_ids(batch).tolist() == [token_ids_in_loops(text) for text in batch]
    assert authors_token_ids(batch).tolist() == [authors_token_ids_in_loops(text) for text in batch]


@pytest.mark.parametrize("length", [1, 4, 5, 6, 654, 655, 659, 660, 661, 665, 900])
def test_token_ids_of_every_critical_length_are_those_of_the_loop(length: int) -> None:
    barcode = "".join(np.random.default_rng(length).choice(list("ACGT"), length))
    assert token_ids([barcode])[0].tolist() == token_ids_in_loops(barcode)
    assert authors_token_ids([barcode])[0].tolist() == authors_token_ids_in_loops(barcode)


def test_more_barcodes_than_one_block_keep_their_order() -> None:
    random = np.random.default_rng(3)
    many = ["".join(random.choice(list("ACGTN"), length)) for length in random.integers(0, 30, 1100)]
    assert (token_ids(many) == np.concatenate([token_ids([barcode]) for barcode in many])).all()


def test_the_authors_ids_begin_with_zero_and_know_no_padding() -> None:
    ids = authors_token_ids(["AAAAA" + "TTTTT" + "acgta" + "ACGUA" + "ACG"])
    assert ids.dtype == np.int16
    assert ids[0].tolist() == [0, 3, 1026, *[2] * 130]


def test_the_corrected_ids_begin_with_one_and_pad_with_zero() -> None:
    ids = token_ids(["AAAAA" + "TTTTT" + "ACGTN" + "AAAAU" + "ACG"])
    assert ids.dtype == np.int16
    assert ids[0].tolist() == [1, 3, 1026, 2, 6, 2, *[0] * 127]


def test_bases_after_660_change_no_token() -> None:
    barcode = "ACGTT" * 132
    assert len(barcode) == MAX_BASES
    assert token_ids([barcode]).tolist() == token_ids([barcode + "GATTACA"]).tolist()


def test_ids_fill_the_vocabulary_and_no_more() -> None:
    every = token_ids(KMERS)
    assert every.shape == (1024, NUM_TOKENS)
    assert sorted(every[:, 1].tolist()) == list(range(3, VOCABULARY_SIZE))


def test_no_barcodes_give_empty_arrays_of_the_right_width() -> None:
    assert token_ids([]).shape == authors_token_ids([]).shape == (0, 133)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("acgt", "ACGT"),
        ("nnACGTnn", "ACGT"),
        ("NACNGTN", "ACNGT"),
        ("--AC-GT..", "ACNGT"),
        ("--AC---GT?A??", "ACNNNGTNA"),
        (" AC GT\nAC\t", "ACGTAC"),
        ("-N-ACGT-N-", "ACGT"),
        ("ACGURYSWKMBDHV", "ACGURYSWKMBDHV"),
    ],
)
def test_cleaning_keeps_only_the_bases(raw: str, cleaned: str) -> None:
    assert clean_barcode(raw) == cleaned


@pytest.mark.parametrize("raw", ["", "   ", "NNNN", "----", "n-n"])
def test_a_barcode_without_a_known_base_is_refused_as_empty(raw: str) -> None:
    with pytest.raises(RecordError, match="empty"):
        clean_barcode(raw)


@pytest.mark.parametrize(
    ("raw", "letter"), [("ACGTX", "X"), ("ACé", "é"), ("ACß", "ß"), ("AſC", "ſ"), ("AC1GT", "1"), ("AC\x00", "x00")]
)
def test_a_letter_that_is_no_nucleotide_is_named(raw: str, letter: str) -> None:
    with pytest.raises(RecordError, match=letter):
        clean_barcode(raw)


def test_a_text_of_a_megabyte_is_refused_before_it_is_read() -> None:
    with pytest.raises(RecordError, match=r"1,000,000 .* 100,000 "):
        clean_barcode("A" * 1_000_000)
    assert clean_barcode("ACGT" * (LONGEST_BARCODE // 4)) == "ACGT" * (LONGEST_BARCODE // 4)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text(IUPAC + "acgtn-. ", max_size=20)))
def test_any_text_is_cleaned_to_nucleotides_or_refused(raw: str) -> None:
    try:
        cleaned = clean_barcode(raw)
    except RecordError:
        return
    assert set(cleaned) <= set(IUPAC)
    assert clean_barcode(cleaned) == cleaned
    assert cleaned[0] != "N"
    assert cleaned[-1] != "N"


def base_codes_in_a_loop(barcode: str) -> list[int]:
    codes = [{"A": 0, "C": 1, "G": 2, "T": 3, "U": 3}.get(letter, 4) for letter in barcode[:660]]
    return codes + [5] * (660 - len(codes))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ACGTUNRY-acgtn.?\u00e9", max_size=700), max_size=6))
def test_base_codes_of_any_text_are_those_of_a_loop_over_the_letters(barcodes: list[str]) -> None:
    codes = base_codes(barcodes)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(barcodes), 660)
    assert codes.tolist() == [base_codes_in_a_loop(barcode) for barcode in barcodes]


def test_base_codes_of_more_barcodes_than_are_worked_on_at_once() -> None:
    barcodes = ["ACGT" * (number % 170) for number in range(1100)]
    assert base_codes(barcodes).tolist() == [base_codes_in_a_loop(barcode) for barcode in barcodes]
