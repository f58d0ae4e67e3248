"""FASTA files with everything that stands in them."""

import gzip
import io
import tracemalloc
from pathlib import Path
from typing import Any

import dnaio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.sources.collect import collect
from workloads.data.sources.fasta import LONGEST_SEQUENCE, read_fasta
from workloads.data.sources.source import Refused, Source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError

LINEAGE = "Arthropoda;Insecta;Diptera;Zoridae;Zoro;Zoro_bus"
RANKS = {"order": "Diptera", "family": "Zoridae", "genus": "Zoro", "species": "Zoro bus"}


def read(path: Path, content: bytes) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Records without their places, and refusals by identifier."""
    path.write_bytes(content)
    records, refused = [], {}
    for record in read_fasta(path):
        if isinstance(record, Refused):
            refused[record.identifier] = record.reason
        else:
            records.append(
                {
                    key: value
                    for key, value in record.items()
                    if key not in ("where", "phylum", "class", "marker") and value is not None
                }
            )
    return records, refused


@pytest.mark.parametrize("name", ["s.fasta", "s.fasta.gz"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_records_may_be_wrapped_commented_and_spaced_out(name: str, end: bytes, tmp_path: Path) -> None:
    lines = [
        b"# made by hand",
        b"",
        b">s1 COI-5P|" + LINEAGE.encode(),
        b"ACGT",
        b"AC",
        b"",
        b";half way",
        b">s2",
        b"ac-n",
    ]
    content = end.join(lines)
    records, refused = read(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert records == [{"specimen_id": "s1", "barcode": "ACGTAC", **RANKS}, {"specimen_id": "s2", "barcode": "ac-n"}]
    assert refused == {}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"s1", {}),
        (b"s1|" + LINEAGE.encode(), RANKS),
        (b"s1|" + LINEAGE.encode() + b"|COI-5P", RANKS),
        (b"s1|Zoro bus|COI-5P|AB123456", {"species": "Zoro bus"}),
        (b"s1|Zoro_bus|COI-5P", {"species": "Zoro bus"}),
        (b"s1|Zoro bus minor|COI-5P", {"species": "Zoro bus minor"}),
        (b"s1|Zoro sp. 1ABC|COI-5P", {"species": "Zoro sp. 1ABC"}),
        (b"s1|Zoro GS-spC|COI-5P", {"species": "Zoro GS-spC"}),
        (b"s1|Zoro sp.|COI-5P", {"species": "Zoro sp."}),
        (b"s1|Zoro|COI-5P", {"genus": "Zoro"}),
        (b"s1|Zoro 17|COI-5P", {"species": "Zoro 17"}),
        (b"s1|Zoridae|COI-5P", {"family": "Zoridae"}),
        (b"s1|Diptera|COI-5P", {"order": "Diptera"}),
        (b"s1|zoro bus|COI-5P", {}),
        (b"s1|SUPPRESSED|COI-5P", {}),
        (b"s1||COI-5P", {}),
        (b"s1|a;b", {}),
    ],
    ids=repr,
)
def test_a_header_gives_the_ranks_that_it_clearly_names(
    header: bytes, expected: dict[str, str], tmp_path: Path
) -> None:
    assert read(tmp_path / "s.fasta", b">" + header + b"\nACGT\n")[0] == [
        {"specimen_id": "s1", "barcode": "ACGT", **expected}
    ]


@pytest.mark.parametrize(
    ("record", "identifier", "reason"),
    [
        (b">s2|x\rACGT\nACGT", "line 3", "line end of another kind"),
        (b">s2\n" + b"A" * (LONGEST_SEQUENCE + 1), "s2", "line 3: a sequence of more than 100,000 letters"),
        (b">s2\n" + b"ACGT\n" * (LONGEST_SEQUENCE // 4 + 1), "s2", "line 3: a sequence of more than"),
        (b">s2\nACGT\n" + b"A" * 2_000_000 + b"\nACGT", "s2", "line 3: a sequence of more than"),
        (b">\n" + b"A" * 1_000_000, "line 3", "a sequence of more than"),
    ],
    ids=["carriage return", "long", "long and wrapped", "longer than a line may be", "long without id"],
)
def test_a_bad_record_is_refused_and_the_rest_is_read(
    record: bytes, identifier: str, reason: str, tmp_path: Path
) -> None:
    records, refused = read(tmp_path / "s.fasta", b">s1\nACGT\n" + record + b"\n>s3\nGGGG\n")
    assert [(kept["specimen_id"], kept["barcode"]) for kept in records] == [("s1", "ACGT"), ("s3", "GGGG")]
    assert list(refused) == [identifier]
    assert reason in refused[identifier]


def test_the_longest_sequence_is_still_read(tmp_path: Path) -> None:
    records, refused = read(tmp_path / "s.fasta", b">s1\n" + b"A" * LONGEST_SEQUENCE)
    assert (len(records[0]["barcode"]), refused) == (LONGEST_SEQUENCE, {})


def test_a_sequence_of_any_length_is_never_held(tmp_path: Path) -> None:
    with open(tmp_path / "s.fasta", "wb") as file:
        file.write(b">s1\n")
        file.writelines([b"ACGT" * 15 + b"\n"] * 300_000)
        file.write(b">s2\nACGT\n")
    tracemalloc.start()
    try:
        kinds = [type(record) for record in read_fasta(tmp_path / "s.fasta")]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kinds == [Refused, dict]
    assert peak < 4 << 20


def test_barcodes_are_cleaned_or_refused_each_with_its_line(tmp_path: Path) -> None:
    cases = {
        "lower": b"acgt",
        "gaps": b"--AC-GT..",
        "iupac": b"ACRYSWKMBDHVNGT",
        "unread": b"NNACGTNN",
        "empty": b"",
        "unsure": b"NNNN",
        "letter": b"ACXT",
        "accent": b"AC\xc3\xa9T",
        "nul": b"AC\0T",
        "protein": b"MKLE*",
    }
    content = b"".join(b">%s|%s\n%s\n" % (key.encode(), LINEAGE.encode(), bases) for key, bases in cases.items())
    (tmp_path / "s.fasta").write_bytes(content + b">lower|" + LINEAGE.encode() + b"\nACGT\n> |x\nACGT\n")
    table = SpecimenTable.at(tmp_path / "out.parquet")
    report = collect(Source(name="s.fasta", records=read_fasta(tmp_path / "s.fasta")), table)
    kept = zip(table.column("specimen_id").to_pylist(), table.column("barcode").to_pylist(), strict=True)
    assert dict(kept) == {"lower": "ACGT", "gaps": "ACNGT", "iupac": "ACRYSWKMBDHVNGT", "unread": "ACGT"}
    reasons = report.rejects
    assert [name for name, _ in reasons] == [
        "empty",
        "unsure",
        "letter",
        "accent",
        "nul",
        "protein",
        "record 12",
    ]
    assert "line 9: neither an image" in reasons[0][1]
    assert "the barcode is empty" in reasons[1][1]
    assert "the barcode holds 'X' at base 3" in reasons[2][1]
    assert "line 23: no specimen id" in reasons[6][1]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"no fasta\n", "line 1"),
        (b"\n\nACGT\n>s1\nACGT\n", "line 3"),
        (b"A" * 2_000_000, "line 1"),
        (b"@s1\nACGT\n+\nIIII\n", "line 1"),
    ],
    ids=["prose", "sequence first", "endless", "FASTQ"],
)
def test_what_is_not_fasta_is_an_error_with_its_line(content: bytes, where: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"s\.fasta, {where}: not FASTA"):
        read(tmp_path / "s.fasta", content)


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
LINES = st.lists(st.text("ACGTNacgt-", min_size=1, max_size=9), max_size=4)


@settings(max_examples=100, deadline=None)
@given(records=st.lists(st.tuples(NAMES, LINES)), end=st.sampled_from(["\n", "\r\n"]))
def test_plain_fasta_is_read_as_dnaio_reads_it(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, list[str]]], end: str
) -> None:
    text = "".join(end.join([f">{name}", *lines]) + end for name, lines in records).encode()
    with dnaio.open(io.BytesIO(text), fileformat="fasta") as reader:
        expected = [{"specimen_id": record.name, "barcode": record.sequence} for record in reader]
    assert read(tmp_path_factory.getbasetemp() / "same.fasta", text) == (expected, {})


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.lists(st.sampled_from(list(b">|;#A\n\r\0\xff\x1f\x8b "))).map(bytes))
def test_any_bytes_give_records_refusals_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    for name in ("any.fasta", "any.fasta.gz"):
        path = tmp_path_factory.getbasetemp() / name
        try:
            records, refused = read(path, content)
        except SourceError as error:
            message = str(error)
            assert message.startswith(str(path))
        else:
            assert len(records) + len(refused) <= content.count(b">")
