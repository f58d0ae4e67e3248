"""People's own tables and FASTA files, made up and real, with everything users put into them."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import Source
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError, UsageError

Import = Callable[..., tuple[list[dict[str, Any]], ImportReport, Source]]
Write = Callable[..., Path]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["specimen_id"] for row in rows]


@pytest.mark.parametrize("name", ["s.tsv", "s.csv", "s.txt", "s.tsv.gz", "s.csv.gz", "s.txt.gz", "s.parquet", "S.TSV"])
def test_every_kind_of_table_gives_the_same_specimens(
    name: str, tmp_path: Path, imported: Import, write_specimens: Write, kept: list[dict[str, str]]
) -> None:
    path = write_specimens(tmp_path / name)
    rows, report, source = imported(path)
    assert rows == kept
    assert (report.rejects, report.notes, report.modalities) == ((), (), ("dna", "text"))
    assert (source.name, source.root, source.has_splits) == (str(path), str(tmp_path), False)
    assert source.total == (2 if name.endswith(".parquet") else None)


def test_a_table_that_is_named_from_within_its_folder_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "s.tsv")
    monkeypatch.chdir(tmp_path)
    assert table_source(Path("s.tsv"), {}).root == str(tmp_path)


def test_columns_are_found_under_the_names_that_bold_uses(tmp_path: Path, imported: Import) -> None:
    text = "ProcessID\tSampleID\tnucraw\tbin_uri\tOrder\np1\tx\tACGT\tBOLD:AAA0001\tDiptera\n"
    (tmp_path / "s.tsv").write_text(text)
    expected = {"specimen_id": "p1", "barcode": "ACGT", "bin": "BOLD:AAA0001", "order": "Diptera"}
    assert imported(tmp_path / "s.tsv")[0] == [expected]


def test_columns_can_be_given(tmp_path: Path, imported: Import) -> None:
    (tmp_path / "s.csv").write_text("voucher,seq,taxon\nv1,ACGT,Zoro bus\n")
    rows, _, _ = imported(tmp_path / "s.csv", {"specimen_id": "voucher", "barcode": "seq", "species": "taxon"})
    assert rows == [{"specimen_id": "v1", "barcode": "ACGT", "genus": "Zoro", "species": "Zoro bus"}]
    with pytest.raises(UsageError, match="'voucher', 'seq', 'taxon'"):
        table_source(tmp_path / "s.csv", {"specimen_id": "id"})


def test_a_table_with_every_kind_of_bad_line_keeps_the_good_ones(tmp_path: Path, imported: Import) -> None:
    lines = [
        b"\xef\xbb\xbfid\tbarcode\tspecies\timage",
        b"good\tACGT\tZoro bus\t",
        b"\tACGT\tZoro bus\t",
        b"letter\tACXT\tZoro bus\t",
        b"unsure\tNNNN\tZoro bus\t",
        b"nameless\tACGT\tnan\t",
        b"nothing\tNA\tZoro bus\tNA",
        b"good\tACGT\tZoro bus\t",
        b"control\tACGT\tZoro \x07bus\t",
        b"nul\tACGT\tZoro\0bus\t",
        b"encoding\tACGT\tZoro b\xfcs\t",
        b'quote\tACGT\t"Zoro bus\t',
        b"narrow\tACGT\tZoro bus",
        b"wide\tACGT\tZoro bus\t\t",
        b"huge\t" + b"A" * (10 << 20) + b"\tZoro bus\t",
        b"",
        b"picture\t\tZoro bus\t1.jpg",
        b"",
    ]
    (tmp_path / "s.tsv").write_bytes(b"\r\n".join(lines))
    del lines
    tracemalloc.start()
    try:
        rows, report, _ = imported(tmp_path / "s.tsv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ids(rows) == ["good", "nameless", "control", "nul", "encoding", "quote", "picture"]
    expected = {
        "record 2": "line 3: no specimen id",
        "letter": "(the barcode holds 'X' at base 3",
        "unsure": "(the barcode is empty",
        "nothing": "line 7: neither an image",
        "line 13": "3 columns",
        "line 14": "5 columns",
        "line 15": "longer than 1 MiB",
    }
    assert [name for name, _ in report.rejects] == list(expected)
    for (_, reason), part in zip(report.rejects, expected.values(), strict=True):
        assert part in reason
    assert peak < 8 << 20


def test_a_quotation_mark_that_is_not_closed_costs_no_record(tmp_path: Path, imported: Import) -> None:
    text = 'id\tbarcode\tspecies\na\tACGT\t"Zoro\nb\tACGT\tZoro bus\nc\tACGT\tZoro"\n'
    (tmp_path / "s.tsv").write_text(text)
    rows, report, _ = imported(tmp_path / "s.tsv")
    assert ids(rows) == ["a", "b", "c"]
    assert report.rejects == ()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("s.tsv", b"", "it is empty"),
        ("s.tsv", b"id\tbarcode\torder\n", "it is empty"),
        ("s.tsv", b"id\tbarcode\torder\na\t\t\n", "neither an image nor a barcode"),
        ("s.tsv", b"barcode\torder\nACGT\tDiptera\n", "header: no column"),
        ("s.tsv", b"id\tbarcode\torder\na\tACGT\n", "2 columns"),
        ("s.tsv", b"id\torder\torder\tbarcode\na\tb\tc\tACGT\n", "called 'order'"),
        ("s.tsv", b"id\torder\timage_features\na\tDiptera\t1 2\n", "column 'image_features': "),
        ("s.tsv.gz", b"id\tbarcode\torder\na\tACGT\tDiptera\n", "not readable"),
        ("s.parquet", b"no parquet at all", "not readable as Parquet"),
        ("s.parquet", b"", "not readable as Parquet"),
        ("s.fasta", b"", "it is empty"),
        ("s.fasta", b"no fasta at all\n", "line 1: not FASTA"),
        ("s.fasta.gz", b">s\nACGT\n", "not readable"),
        ("s.xls", b"PK", "not one of .parquet"),
        ("s.xlsx", b"PK", "not readable as a zip archive"),
        ("s.zip", b"PK", "not readable as a zip archive"),
        ("s.fastq", b"@s\nACGT\n", "line 1: not FASTQ"),
        ("s.jsonl", b"[1]\n", "line 1: not a JSON object"),
    ],
)
def test_a_source_without_one_usable_record_is_an_error(
    name: str, content: bytes, reason: str, tmp_path: Path, imported: Import
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name) as caught:
        imported(tmp_path / name)
    assert reason in str(caught.value)


def test_a_source_that_breaks_off_leaves_no_table(tmp_path: Path) -> None:
    text = "id\tbarcode\torder\n" + "".join(f"s{i}\tACGT{'ACGT' * (i % 97)}\tDiptera\n" for i in range(20_000))
    content = gzip.compress(text.encode(), 1)
    (tmp_path / "s.tsv.gz").write_bytes(content[: len(content) - 4000])
    table = SpecimenTable.at(tmp_path / "out" / "specimens.parquet")
    with pytest.raises(SourceError, match=r"after line \d+:"):
        collect(table_source(tmp_path / "s.tsv.gz", {}), table)
    assert list((tmp_path / "out").iterdir()) == []


def test_real_pairs_come_with_their_features(real: Callable[[str], Path], imported: Import) -> None:
    folder = real("insect_bold_pairs")
    records = list(table_source(folder, {}).records)
    features = np.load(folder / "image_features_vit768_f16.npy", mmap_mode="r")
    of_dna = np.load(folder / "dna_features_nt512_f16.npy", mmap_mode="r")
    assert len(records) == 9300
    for row in (0, 4095, 4096, 9299):
        record: Any = records[row]
        assert (record["image_features"] == features[row].astype(np.float32)).all()
        assert (record["dna_features"] == of_dna[row].astype(np.float32)).all()
        assert record["where"] == f"row {row + 1}"
    assert len({record["species"] for record in records if isinstance(record, dict)}) == 800


def test_real_fasta_and_tables_hold_the_same_specimens(real: Callable[[str], Path], imported: Import) -> None:
    stem = real("coi_canadian_invertebrates") / "coi_canadian_invertebrates"
    (fasta, of_fasta, _), (table, of_table, _), (parquet_rows, _, _) = (
        imported(stem.with_suffix(suffix)) for suffix in (".fasta.gz", ".tsv.gz", ".parquet")
    )
    assert len(fasta) == len(table) == 9278
    assert of_fasta.rejects == of_table.rejects == ()
    assert parquet_rows == table
    shared = ("specimen_id", "barcode", "order", "family", "genus")
    assert [[row.get(name) for name in shared] for row in fasta] == [
        [row.get(name) for name in shared] for row in table
    ]
    # A FASTA header writes blanks as underscores, so that the few names with an underscore of their own lose it.
    blanks = [row.get("species", "").replace("_", " ") for row in table]
    assert [row.get("species", "") for row in fasta] == blanks
    rows, report, _ = imported(stem.parent)
    assert rows == table
    assert report.notes == (f"{stem.name}.fasta.gz: not read, since {stem.name}.parquet holds barcodes",)


def test_real_photographs_are_found(real: Callable[[str], Path], imported: Import) -> None:
    folder = real("bioscan1m_species_images")
    rows, report, source = imported(folder)
    assert (len(rows), report.rejects) == (136, ())
    assert all((Path(source.root) / row["image"]).is_file() for row in rows)
    by_id, named, _ = imported(folder, {"image": ""})
    assert by_id == rows
    assert named.notes == ("136 of 136 specimens have one of 136 images, by its name",)
    assert len(imported(real("bioscan1m_order_images"))[0]) == 19
