"""Readers of tables and FASTA files, with everything users put into such files."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.data.readers import Imported, import_specimens, import_synthetic
from workloads.data.schema import SPECIMEN_SCHEMA
from workloads.errors import MissingPathError, SourceError

ROWS = [
    {"specimen_id": "s1", "barcode": "ACGTAC", "order": "Diptera", "genus": "Zoro", "species": "Zoro bus"},
    {"specimen_id": "s2", "barcode": "acgnac", "order": "Diptera", "genus": "not_classified", "species": ""},
]
LINEAGE = "Arthropoda;Insecta;Diptera;Zoridae;Zoro;Zoro_bus"


def delimited(delimiter: str, rows: list[dict[str, str]] = ROWS) -> bytes:
    lines = [delimiter.join(rows[0]), *(delimiter.join(row.values()) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def present(imported: Imported) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if v is not None} for row in imported.table.to_pylist()]


@pytest.mark.parametrize("name", ["s.tsv", "s.csv", "s.tsv.gz", "s.csv.gz", "s.parquet", "S.TSV"])
def test_every_kind_of_table_gives_the_same_specimens(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        parquet(path, {key: [row[key] for row in ROWS] for key in ROWS[0]})
    else:
        content = delimited("," if ".csv" in name else "\t")
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    imported = import_specimens(path)
    assert imported.table.schema == SPECIMEN_SCHEMA
    assert imported.root == str(tmp_path)
    assert imported.rejects == []
    assert not imported.synthetic
    assert present(imported) == [ROWS[0], {"specimen_id": "s2", "barcode": "ACGNAC", "order": "Diptera"}]


@pytest.mark.parametrize("name", ["s.fasta", "s.fa", "s.fas", "s.fasta.gz", "s.fa.gz"])
def test_fasta_gives_the_ranks_of_its_headers(name: str, tmp_path: Path) -> None:
    content = f">s1 COI-5P|{LINEAGE}\r\nACGT\r\nAC\r\n>s2|a;b\nACGT\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    imported = import_specimens(tmp_path / name)
    assert present(imported) == [{**ROWS[0], "family": "Zoridae"}]
    assert imported.rejects == [("s2", "no label at any rank")]


def test_ranks_that_fasta_calls_not_classified_are_missing(tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text(">s1|Arthropoda;Insecta;Diptera;Zoridae;not_classified;not_classified\nACGT\n")
    row = import_specimens(tmp_path / "s.fasta").table.to_pylist()[0]
    assert (row["family"], row["genus"], row["species"]) == ("Zoridae", None, None)


def test_a_fasta_record_without_an_id_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "s.fasta").write_text(f"> |{LINEAGE}\nACGT\n>s2|{LINEAGE}\nACGT\n")
    assert import_specimens(tmp_path / "s.fasta").rejects == [("record 1", "no specimen id")]


def test_columns_are_found_under_the_names_that_bold_uses(tmp_path: Path) -> None:
    rows = [{"ProcessID": "p1", "SampleID": "x", "nucraw": "ACGT", "bin_uri": "BOLD:AAA0001", "Order": "Diptera"}]
    (tmp_path / "s.tsv").write_bytes(delimited("\t", rows))
    expected = {"specimen_id": "p1", "barcode": "ACGT", "bin": "BOLD:AAA0001", "order": "Diptera"}
    assert present(import_specimens(tmp_path / "s.tsv")) == [expected]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_names(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbf" + delimited(",").replace(b"\n", b"\r\n"))
    assert present(import_specimens(tmp_path / "s.csv"))[0] == ROWS[0]


def test_a_quoted_value_may_hold_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text('"id","barcode","species"\na,ACGT,"Zoro bus, 1850"\n')
    assert present(import_specimens(tmp_path / "s.csv"))[0]["species"] == "Zoro bus, 1850"


def test_a_quotation_mark_that_swallows_records_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text('id\tbarcode\tspecies\na\tACGT\t"Zoro\nb\tACGT\tZoro bus\nc\tACGT\tZoro"\n')
    with pytest.raises(SourceError, match="quotation mark"):
        import_specimens(tmp_path / "s.tsv")


def test_numbers_in_a_parquet_file_are_read_as_text(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "s.parquet", {"id": [0, 1], "order": ["Diptera"] * 2, "barcode": ["ACGT"] * 2, "bin": [7, 8]}
    )
    rows = import_specimens(path).table.to_pylist()
    assert [(row["specimen_id"], row["bin"]) for row in rows] == [("0", "7"), ("1", "8")]


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "s.parquet", {"id": ["a"], "order": ["Diptera"], "image": [{"bytes": b"x"}]})
    with pytest.raises(SourceError, match="'image'"):
        import_specimens(path)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("id\torder\torder\tbarcode\na\tDiptera\tDiptera\tACGT\n")
    with pytest.raises(SourceError, match="several columns are called 'order'"):
        import_specimens(tmp_path / "s.tsv")


def test_bad_records_are_rejected_each_with_its_reason(tmp_path: Path) -> None:
    lines = [
        "id\tbarcode\tspecies\timage",
        "good\tACGT\tZoro bus\t",
        "\tACGT\tZoro bus\t",
        "letter\tACXT\tZoro bus\t",
        "unknown\tNNNN\tZoro bus\t",
        "nameless\tACGT\tnan\t",
        "nothing\t\tZoro bus\t",
        "good\tACGT\tZoro bus\t",
        "control\tACGT\tZoro \x07bus\t",
        "picture\t\tZoro bus\t1.jpg",
    ]
    (tmp_path / "s.tsv").write_text("\n".join(lines) + "\n")
    imported = import_specimens(tmp_path / "s.tsv")
    assert imported.table["specimen_id"].to_pylist() == ["good", "picture"]
    reasons = dict(imported.rejects)
    assert list(reasons) == ["record 2", "letter", "unknown", "nameless", "nothing", "good", "control"]
    assert "no specimen id" in reasons["record 2"]
    assert "'X' at base 3" in reasons["letter"]
    assert "empty" in reasons["unknown"]
    assert "no label" in reasons["nameless"]
    assert "neither an image" in reasons["nothing"]
    assert "second record" in reasons["good"]
    assert "control characters" in reasons["control"]


def test_an_id_whose_first_record_was_bad_is_still_free(tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("id\tbarcode\torder\na\tXXXX\tDiptera\na\tACGT\tDiptera\n")
    imported = import_specimens(tmp_path / "s.tsv")
    assert (imported.table["barcode"].to_pylist(), len(imported.rejects)) == (["ACGT"], 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.tsv", b""),
        ("s.tsv", b"id\tbarcode\torder\n"),
        ("s.tsv", b"id\tbarcode\torder\na\t\t\n"),
        ("s.tsv", b"barcode\torder\nACGT\tDiptera\n"),
        ("s.tsv", b"id\tbarcode\torder\na\tACGT\n"),
        ("s.tsv", b"id\tbarcode\torder\na\tACGT\t\xff\xfe\n"),
        ("s.tsv.gz", b"id\tbarcode\torder\na\tACGT\tDiptera\n"),
        ("s.parquet", b"no parquet at all"),
        ("s.fasta", b""),
        ("s.fasta", b"no fasta at all\n"),
        ("s.fasta", b">bare\nACGT\n"),
        ("s.fasta", b">s|a;b;Diptera;c;Zoro;Zoro b\xe9\nACGT\n"),
        ("s.fasta.gz", b">s\nACGT\n"),
        ("s.txt", b"id\tbarcode\torder\na\tACGT\tDiptera\n"),
    ],
)
def test_a_source_without_one_usable_record_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        import_specimens(tmp_path / name)


@pytest.mark.parametrize("name", ["s.tsv.gz", "s.fasta.gz"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_is_an_error(name: str, damage: str, tmp_path: Path) -> None:
    rows = [f"s{i}\t{'ACGT' * (i % 7 + 1)}\tDiptera\n" for i in range(500)]
    records = [f">s{i}|{LINEAGE}\n{'ACGT' * (i % 7 + 1)}\n" for i in range(500)]
    text = "id\tbarcode\torder\n" + "".join(rows) if ".tsv" in name else "".join(records)
    content = bytearray(gzip.compress(text.encode()))
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[20:24] = bytes(byte ^ 0xFF for byte in content[20:24])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match="not readable"):
        import_specimens(tmp_path / name)


@pytest.mark.parametrize("name", ["none.tsv", "none"])
def test_a_missing_source_is_a_missing_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="none"):
        import_specimens(tmp_path / name)


def test_a_folder_without_a_table_is_a_missing_path(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(MissingPathError):
        import_specimens(tmp_path)


def test_a_folder_gives_its_table_of_a_known_name(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("nonsense\n")
    (tmp_path / "labels.csv").write_bytes(delimited(",", ROWS[1:]))
    (tmp_path / "specimens.tsv.gz").write_bytes(gzip.compress(delimited("\t", ROWS[:1])))
    assert import_specimens(tmp_path).table["specimen_id"].to_pylist() == ["s1"]


def test_a_folder_gives_its_only_table_whatever_the_name(tmp_path: Path) -> None:
    (tmp_path / "beetles.tsv").write_bytes(delimited("\t"))
    (tmp_path / "README.md").write_text("beetles")
    assert len(import_specimens(tmp_path).table) == 2


def test_a_folder_of_several_unknown_tables_asks_which_one(tmp_path: Path) -> None:
    (tmp_path / "beetles.tsv").write_bytes(delimited("\t"))
    (tmp_path / "flies.fasta").write_text(f">s1|{LINEAGE}\nACGT\n")
    with pytest.raises(SourceError, match=r"beetles\.tsv, flies\.fasta"):
        import_specimens(tmp_path)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32])
def test_features_beside_a_table_belong_to_its_rows(kind: type, tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t"))
    np.save(tmp_path / "image_features_vit.npy", np.array([[1, 2, 3], [4, 5, 6]], dtype=kind))
    table = import_specimens(tmp_path).table
    assert table["image_features"].to_pylist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_features_stay_with_their_rows_when_one_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t", [{**ROWS[0], "barcode": "XXXX"}, ROWS[1]]))
    np.save(tmp_path / "image_features.npy", np.array([[1.0], [2.0]]))
    assert import_specimens(tmp_path).table["image_features"].to_pylist() == [[2.0]]


def test_a_specimen_with_features_needs_no_barcode(tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_text("id\torder\na\tDiptera\n")
    np.save(tmp_path / "image_features.npy", np.ones((1, 4), dtype=np.float32))
    assert len(import_specimens(tmp_path).table) == 1


def test_features_that_are_not_finite_reject_their_specimen(tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t"))
    np.save(tmp_path / "image_features.npy", np.array([[1.0, np.nan], [1.0, 2.0]]))
    assert import_specimens(tmp_path).rejects == [("s1", "the image features are not finite")]


@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2,), (2, 3, 4)])
def test_features_of_another_shape_are_an_error(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t"))
    np.save(tmp_path / "image_features.npy", np.zeros(shape))
    with pytest.raises(SourceError, match="does not fit the 2 rows"):
        import_specimens(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_feature_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t"))
    (tmp_path / "image_features.npy").write_bytes(content)
    with pytest.raises(SourceError, match=r"image_features\.npy"):
        import_specimens(tmp_path)


def test_two_feature_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "specimens.tsv").write_bytes(delimited("\t"))
    for name in ("image_features_a.npy", "image_features_b.npy"):
        np.save(tmp_path / name, np.ones((2, 2)))
    with pytest.raises(SourceError, match="several feature files"):
        import_specimens(tmp_path)


def test_a_long_import_tells_how_far_it_is(tmp_path: Path) -> None:
    lines = "".join(f"s{i}\tACGT\tDiptera\n" for i in range(8200))
    (tmp_path / "s.tsv").write_text("id\tbarcode\torder\n" + lines)
    told: list[int] = []
    assert len(import_specimens(tmp_path / "s.tsv", told.append).table) == 8200
    assert told == [8192]


def test_synthetic_insects_say_that_they_are(tmp_path: Path) -> None:
    imported = import_synthetic(30, seed=1)
    assert imported.synthetic
    assert len(imported.table) == 30
    assert imported.rejects == []


def test_real_pairs_come_with_their_features(real: Callable[[str], Path]) -> None:
    folder = real("insect_bold_pairs")
    imported = import_specimens(folder)
    assert (len(imported.table), imported.rejects) == (9300, [])
    features = np.load(folder / "image_features_vit768_f16.npy", mmap_mode="r")
    stored = imported.table["image_features"].combine_chunks()
    assert stored.value_lengths().unique().to_pylist() == [768]
    assert (stored[9299].values.to_numpy() == features[9299].astype(np.float32)).all()
    assert len(set(imported.table["species"].to_pylist())) == 800


def test_real_fasta_and_table_hold_the_same_specimens(real: Callable[[str], Path]) -> None:
    stem = real("coi_canadian_invertebrates") / "coi_canadian_invertebrates"
    fasta = import_specimens(stem.with_suffix(".fasta.gz"))
    table = import_specimens(stem.with_suffix(".tsv.gz"))
    assert len(fasta.table) == len(table.table) == 9278
    assert fasta.rejects == table.rejects == []
    shared = ["specimen_id", "barcode", "order", "family", "genus"]
    assert fasta.table.select(shared).equals(table.table.select(shared))
    # A FASTA header writes blanks as underscores, so that the few names with an underscore of their own lose it.
    blanks = [name and name.replace("_", " ") for name in table.table["species"].to_pylist()]
    assert fasta.table["species"].to_pylist() == blanks
