"""What becomes of barcodes of unknown origin: strands, genes, mitochondria, gaps, lengths, stop codons."""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.sources.collect import collect
from workloads.data.sources.source import Source
from workloads.data.specimens import barcode_rule as found
from workloads.data.specimens.barcode_rule import BarcodeRule, all_usable, parse_lengths, usable
from workloads.data.specimens.coi_consensus import CONSENSUS, FIRST_CODON, REGION_BASES
from workloads.data.specimens.coi_region import num_stop_codons, place_of, places_of, reverse_complement
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError

FLY = CONSENSUS["Diptera"]
STOP_CODONS = {"TAA", "TAG"}  # NCBI's table 5; TGA is tryptophan, AGA and AGG are serine


def drawn(length: int, seed: int) -> str:
    """Bases as common as in a mitochondrion, of no gene."""
    return "".join(random.Random(seed).choices("ACGT", weights=(4, 1, 1, 4), k=length))


def stop_codons_in_a_loop(bases: str, start: int) -> int:
    return sum(
        bases[at : at + 3] in STOP_CODONS
        for at in range(max(0, -start), len(bases) - 2)
        if (at + start) % 3 == FIRST_CODON and at + start + 3 <= REGION_BASES
    )


def words_of_the_region() -> dict[str, int]:
    """Position of each word of eight bases that stands in one place of the consensus alone."""
    places: dict[str, set[int]] = {}
    for bases in CONSENSUS.values():
        for at in range(len(bases) - 7):
            places.setdefault(bases[at : at + 8], set()).add(at)
    return {word: min(own) for word, own in places.items() if len(own) == 1}


def place_in_a_loop(bases: str, words: Mapping[str, int]) -> tuple[int, bool] | None:
    """The place that most words agree on, of equal ones the first, on the strand that is given or else on the other."""
    for is_turned, own in ((False, bases), (True, reverse_complement(bases))):
        letters = re.sub("[^CGT]", "A", own.replace("U", "T"))
        found = (words.get(letters[at : at + 8], None) for at in range(len(letters) - 7))
        counts = Counter(place - at for at, place in enumerate(found) if place is not None)
        start, count = min(counts.items(), key=lambda item: (-item[1], item[0]), default=(0, 0))
        if len(bases) >= 14 and count >= max(6, 0.03 * min(len(bases), REGION_BASES)):
            return start, is_turned
    return None


@pytest.fixture(scope="module")
def canadian(real: Callable[[str], Path]) -> list[str]:
    """9,278 public barcodes."""
    path = real("coi_canadian_invertebrates") / "coi_canadian_invertebrates.parquet"
    barcodes: list[str] = pq.read_table(path, columns=["sequence"])["sequence"].to_pylist()
    return barcodes


def test_a_reverse_complement_is_turned_and_said() -> None:
    assert usable(reverse_complement(FLY)) == (FLY, [found.TURNED])
    assert usable(reverse_complement(FLY[40:240])) == (FLY[40:240], [found.TURNED])
    assert usable(FLY) == (FLY, [])


def test_the_other_strand_of_every_letter_is_its_own_partner() -> None:
    assert reverse_complement("ACGTRYKMBVDHSWN") == "NWSDHBVKMRYACGT"
    assert reverse_complement(reverse_complement("ACGTRYSWKMBDHVN")) == "ACGTRYSWKMBDHVN"


@pytest.mark.parametrize("turned", [False, True])
def test_a_mitochondrion_is_cut_to_the_barcode_region(turned: bool) -> None:
    whole = drawn(1500, 1) + FLY + drawn(13_500, 2)
    barcode, kinds = usable(reverse_complement(whole) if turned else whole)
    assert barcode == FLY
    assert kinds == [found.TURNED, found.CUT] if turned else [found.CUT]


def test_what_begins_too_early_for_the_common_frame_is_cut_and_what_ends_late_is_not() -> None:
    assert usable(drawn(61, 3) + FLY) == (FLY, [found.CUT])
    for kept in (drawn(40, 3) + FLY, FLY + drawn(880, 4)):
        assert usable(kept) == (kept, [])


def test_another_gene_is_counted_and_left_out_on_request() -> None:
    other = drawn(700, 5)
    assert usable(other) == (other, [found.UNLIKE_COI])
    assert usable(other, BarcodeRule(only_coi=True)) == (None, [found.NOT_COI])
    assert usable(drawn(15_657, 6)) == (None, [found.UNLIKE_COI, found.TOO_LONG])


def test_a_few_bases_are_counted_and_left_out_on_request() -> None:
    assert usable("ACGTACG") == ("ACGTACG", [found.SHORT_KEPT])
    assert usable("ACGTACG", BarcodeRule(lengths=(100, 2000))) == (None, [found.TOO_SHORT])
    assert usable(FLY + drawn(880, 4), BarcodeRule(lengths=(100, 700))) == (FLY, [found.CUT])


def test_gaps_within_stay_as_unknown_bases_so_that_the_frame_does() -> None:
    gapped = FLY[:100] + "--" + FLY[102:300] + "." + FLY[301:]
    barcode, kinds = usable("----" + gapped + "----")
    assert barcode == FLY[:100] + "NN" + FLY[102:300] + "N" + FLY[301:]
    assert kinds == [found.GAPS]


@pytest.mark.parametrize("codon", ["TAA", "TAG", "TGA", "AGA"])
def test_stop_codons_are_those_of_invertebrate_mitochondria(codon: str) -> None:
    at = FIRST_CODON + 3 * 30
    barcode = FLY[:at] + codon + FLY[at + 3 :]
    for given_bases in (barcode, reverse_complement(barcode), barcode[11:]):
        assert (found.STOPS in usable(given_bases)[1]) == (codon in STOP_CODONS)


@settings(max_examples=40, deadline=None)
@given(st.text("ACGTN", max_size=60), st.integers(-70, 60))
def test_stop_codons_are_those_of_a_loop(bases: str, start: int) -> None:
    assert num_stop_codons([bases, FLY], [start, 0]).tolist() == [stop_codons_in_a_loop(bases, start), 0]


def test_places_are_those_of_a_loop_however_many_are_looked_at_together(canadian: list[str]) -> None:
    words, chance, mixed = words_of_the_region(), random.Random(3), ["", "A", "ACGTACG", drawn(60, 7), "N" * 700, FLY]
    for barcode in chance.sample(canadian, 250):
        start, pad = chance.randrange(len(barcode)), drawn(chance.randrange(4000), 8)
        part = barcode[start : start + chance.randrange(700)]
        mixed += [part, reverse_complement(part), pad + barcode + pad, part.replace("AT", "NR"), part.replace("T", "U")]
    for start in range(0, 560, 28):  # one word too few; the next piece would give it, were it not another sequence
        mixed += [FLY[start] + "R" + FLY[start + 2 : start + 14], FLY[start + 14 : start + 28]]
    places = places_of(mixed)
    assert [place and (place.start, place.is_turned) for place in places] == [
        place_in_a_loop(bases, words) for bases in mixed
    ]
    assert len({None if place is None else place.is_turned for place in places}) == 3
    assert places == [place_of(bases) for bases in mixed]
    assert list(all_usable(mixed)) == [usable(bases) for bases in mixed]


@pytest.mark.parametrize(
    ("raw", "kind"), [("NN--n", found.EMPTY), ("ACGTX", found.NO_BASES), ("é", found.NO_BASES), ("", found.EMPTY)]
)
def test_what_is_no_barcode_is_none_with_its_kind(raw: str, kind: str) -> None:
    assert usable(raw) == (None, [kind])
    assert usable("A" * 100_001) == (None, [found.TOO_LONG])


def test_a_published_data_set_is_counted_and_not_changed() -> None:
    published = BarcodeRule(mends=False, only_coi=True)
    whole = drawn(1500, 1) + FLY + drawn(13_500, 2)
    for barcode in (whole, reverse_complement(FLY), drawn(700, 5), "ACGT"):
        assert usable(barcode, published)[0] == barcode
    assert usable(whole, published)[1] == [found.LONG_KEPT]


@pytest.mark.parametrize("text", ["", "100", "100-", "2000-100", "0-5", "a-b", "1-1000000"])
def test_lengths_are_two_numbers_and_the_error_shows_how_to_write_them(text: str) -> None:
    with pytest.raises(UsageError, match="--barcode-length 100-2000"):
        parse_lengths(text)
    assert parse_lengths(" 100 - 2000") == (100, 2000)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text("ACGTNacgtn-.? RYKM", max_size=400)))
def test_any_text_is_a_barcode_or_none_with_a_kind(raw: str) -> None:
    barcode, kinds = usable(raw)
    assert barcode is not None or kinds


def test_public_barcodes_keep_their_bytes_and_28s_among_them_is_found(canadian: list[str]) -> None:
    kinds: list[str] = []
    for barcode in canadian:
        cleaned, own = usable(barcode)
        kinds += own
        place = place_of(barcode)
        assert cleaned == barcode or (place is not None and place.start < -60)
    # Five wasps' barcodes of the published library are of 28S, which begins CTCTAAGTGGGTGGTAAACTCCATCTAAGG.
    assert kinds.count(found.UNLIKE_COI) == sum("TAAGTGGGTGGTAAACTCC" in barcode for barcode in canadian) == 5
    assert (kinds.count(found.TURNED), kinds.count(found.STOPS)) == (0, 0)


def test_every_public_barcode_is_known_on_the_other_strand(canadian: list[str]) -> None:
    for barcode in [barcode for barcode in canadian[::5] if "N" not in barcode]:
        place, other = place_of(barcode), place_of(reverse_complement(barcode))
        if place is not None:
            assert other is not None
            assert (other.start, other.is_turned) == (place.start, True)


def _table(folder: Path, barcodes: Sequence[str], *, published: bool) -> tuple[SpecimenTable, Source]:
    rows = [{"specimen_id": str(at), "order": "Diptera", "barcode": bases} for at, bases in enumerate(barcodes)]
    source, table = Source(name="mixed", records=rows, published=published), SpecimenTable.at(folder / "t.parquet")
    collect(source, table)
    return table, source


def test_a_table_of_mixed_strands_is_made_one_and_a_published_one_is_not(tmp_path: Path, canadian: list[str]) -> None:
    kept = [barcode for barcode in canadian[:60] if place_of(barcode)]
    mixed = [reverse_complement(barcode) if at % 3 == 0 else barcode for at, barcode in enumerate(kept)]
    table, source = _table(tmp_path, mixed, published=False)
    assert table.column("barcode").to_pylist() == kept
    assert table.column("barcode_as_given").to_pylist()[:2] == [mixed[0], None]
    assert source.findings.counts[found.TURNED] == len(mixed[::3])
    table, source = _table(tmp_path, mixed, published=True)
    assert table.column("barcode").to_pylist() == mixed
