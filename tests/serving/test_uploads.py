"""What is sent becomes queries: by its kind, in memory, each file costing itself alone."""

import gzip

import pytest

from clibd.serving import uploads
from clibd.serving.uploads import PASTED, TooManyError, Upload, fasta_of, shown_name, specimens_of
from tests.serving.small_server import barcode, picture
from workloads.data.specimens.coi_region import reverse_complement

ONE, OTHER = barcode(0), barcode(2)


def test_photographs_and_barcodes_come_in_their_order() -> None:
    fasta = f">first words\n{ONE}\n>second\n{OTHER}\n".encode()
    sent = [Upload("a.png", picture(0)), Upload("b.fasta", fasta), Upload("c.fa.gz", gzip.compress(fasta))]
    found = [(one.query.id, one.query.barcode, one.upload) for one in specimens_of(sent)]
    again = [("first", ONE, None), ("second", OTHER, None)]
    assert found == [("a.png", None, 0), *again, *again]


def test_a_photograph_and_a_record_of_its_name_are_one_specimen() -> None:
    sent = [Upload("S1.jpg", picture(0, "JPEG")), Upload("x.jpg", picture(1, "JPEG"))]
    found = specimens_of([*sent, Upload(PASTED, f">S1\n{ONE}\n>y\n{OTHER}".encode())])
    assert [(one.query.id, one.query.image is not None, one.query.barcode) for one in found] == [
        ("S1", True, ONE),
        ("x.jpg", True, None),
        ("y", False, OTHER),
    ]


def test_a_name_that_stands_twice_joins_nothing() -> None:
    sent = [Upload("S1.jpg", picture(0, "JPEG")), Upload("S1.png", picture(1))]
    assert len(specimens_of([*sent, Upload(PASTED, f">S1\n{ONE}".encode())])) == 3


@pytest.mark.parametrize(
    ("text", "barcodes"),
    [
        (ONE, [ONE]),
        (f"{ONE}\n{OTHER}\n", [ONE, OTHER]),
        ("ACGT\nACGT\n\nGGGG", ["ACGTACGT", "GGGG"]),
        (f"  {ONE[:60]}\r\n{ONE[60:]} \r\n \r\n{OTHER}", [ONE, OTHER]),
    ],
)
def test_bare_barcodes_are_told_apart(text: str, barcodes: list[str]) -> None:
    assert fasta_of(text).splitlines()[1::2] == barcodes


def test_pasted_barcodes_are_cleaned_as_the_import_cleans() -> None:
    found = specimens_of([Upload(PASTED, reverse_complement(ONE).lower().encode())])
    assert [(one.query.barcode, one.query.flags) for one in found] == [(ONE, ("barcode turned",))]


@pytest.mark.parametrize(
    ("upload", "why"),
    [
        (Upload("empty.fasta", b""), "empty"),
        (Upload("notes.fasta", b"no sequence at all"), "not FASTA"),
        (Upload("cut.fa.gz", gzip.compress(b">a\nACGT")[:15]), "no whole gzip"),
        (Upload("no.gz.fa.gz", b"\x1f\x8bnonsense"), "no whole gzip"),
        (
            Upload("zeros.fa.gz", gzip.compress(b">a\n" + bytes(uploads.MOST_BYTES + 1), 1)),
            "inflates to more than 64 MB",
        ),
        (Upload(PASTED, b">long\n" + b"ACGT" * 25_001), "longer than any barcode"),
        (Upload(PASTED, b">bad\nEFILPQ"), "nucleotide"),
    ],
)
def test_what_cannot_be_read_has_its_sentence(upload: Upload, why: str) -> None:
    good = Upload("good.fasta", f">good\n{ONE}".encode())
    first, second = specimens_of([upload, good])
    assert why in str(first.query.problem)
    assert second.query.barcode == ONE


def test_a_table_gives_its_barcodes_and_no_file_of_the_server() -> None:
    table = f"specimen_id,nucleotides,image\na,{ONE},/etc/hostname\nb,,/etc/hostname\n".encode()
    found = specimens_of([Upload("t.csv", table)])
    assert [(one.query.id, one.query.barcode, one.query.image) for one in found] == [
        ("a", ONE, None),
        ("b", None, None),
    ]
    assert "neither an image nor a barcode" in str(found[1].query.problem)


def test_too_many_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_SPECIMENS", 3)
    with pytest.raises(TooManyError, match=r"at most 3 specimens.*clibd identify"):
        specimens_of([Upload(PASTED, f">a\n{ONE}\n".encode() * 4)])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.jpg", "y.jpg"),
        ("\0\n", "file"),
        ("x" * 300, "x" * 200),
        ("<b>", "<b>"),
    ],
)
def test_names_of_files_lead_nowhere(name: str, shown: str) -> None:
    assert shown_name(name) == shown
