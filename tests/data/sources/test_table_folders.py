"""Folders that hold a table, and the FASTA files and images that lie beside it."""

import gzip
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.data.sources.collect import ImportReport
from workloads.data.sources.columns import parse_map
from workloads.data.sources.source import Source
from workloads.data.sources.tables import table_source
from workloads.errors import MissingPathError, SourceError

Import = Callable[..., tuple[list[dict[str, Any]], ImportReport, Source]]
Write = Callable[..., Path]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["specimen_id"] for row in rows]


@pytest.mark.parametrize("name", ["none.tsv", "none"])
def test_a_missing_source_is_a_missing_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="none"):
        table_source(tmp_path / name, {})


def test_a_folder_without_a_table_is_a_missing_path(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(MissingPathError):
        table_source(tmp_path, {})


def test_a_folder_gives_its_table_of_a_known_name(tmp_path: Path, imported: Import, write_specimens: Write) -> None:
    (tmp_path / "other.tsv").write_text("nonsense\n")
    write_specimens(tmp_path / "labels.csv", "s2")
    write_specimens(tmp_path / "specimens.tsv.gz", "s1")
    assert ids(imported(tmp_path)[0]) == ["s1"]


def test_a_folder_gives_its_only_table_whatever_the_name(
    tmp_path: Path, imported: Import, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "beetles.tsv")
    (tmp_path / "README.md").write_text("beetles")
    assert ids(imported(tmp_path)[0]) == ["s1", "s2"]


@pytest.mark.parametrize("others", [["flies.tsv"], ["flies.fasta"], ["flies.fasta", "ants.fa"]])
def test_a_folder_of_several_unknown_tables_asks_which_one(
    others: list[str], tmp_path: Path, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "beetles.tsv")
    for name in others:
        write_specimens(tmp_path / name)
    if others == ["flies.tsv"]:
        (tmp_path / "flies.tsv").write_text("id\torder\nf1\tDiptera\n")
    with pytest.raises(SourceError, match=", ".join(sorted(["beetles.tsv", *others]))):
        table_source(tmp_path, {})


def test_a_fasta_file_of_the_same_specimens_is_not_read_twice(
    tmp_path: Path, imported: Import, write_specimens: Write, kept: list[dict[str, str]]
) -> None:
    write_specimens(tmp_path / "beetles.tsv")
    (tmp_path / "beetles.fasta.gz").write_bytes(b"never opened")
    rows, report, _ = imported(tmp_path)
    assert rows == kept
    assert report.notes == ("beetles.fasta.gz: not read, since beetles.tsv holds barcodes",)


def test_a_table_without_barcodes_gets_those_of_the_fasta_file(tmp_path: Path, imported: Import) -> None:
    table = b"id\torder\ns1\tDiptera\ns2\tDiptera\t\ns2\tDiptera\ns3\tDiptera\ns1\tDiptera\n"
    (tmp_path / "labels.tsv").write_bytes(table)
    fasta = b">s2|ignored\nacgt\n>s1\nAAAA\n>s1\nCCCC\n>s9\nGGGG\n>s8 b\xe9\nGGGG\n>s3\nAC*T\n"
    (tmp_path / "coi.fas").write_bytes(fasta)
    rows, report, _ = imported(tmp_path)
    assert [(row["specimen_id"], row["barcode"]) for row in rows] == [("s1", "AAAA"), ("s2", "ACGT")]
    assert [name for name, _ in report.rejects] == ["s1", "line 3", "s3"]
    assert report.rejects[0][1] == "coi.fas, line 5: a second barcode with this id"
    assert report.rejects[2][1].startswith("line 5: neither an image nor a barcode")
    assert "the barcode holds '*'" in report.rejects[2][1]
    assert report.notes == ("2 barcodes of coi.fas belong to no specimen of the table (such as 's9')",)
    kind = "values of 'header' in coi.fas are not UTF-8, and read as cp1252"
    assert report.findings.counts[kind] == 1
    assert report.findings.examples[kind][0].startswith("line 9")


def test_a_fasta_file_may_go_by_another_id_of_the_table_or_says_which_column_has_its_ids(
    tmp_path: Path, imported: Import
) -> None:
    (tmp_path / "labels.tsv").write_text(
        "processid\tsampleid\tmy jar\torder\nP1\tS1\tJ1\tDiptera\nP2\tS2\tJ2\tDiptera\n"
    )
    fasta = tmp_path / "coi.fas"
    fasta.write_text(">S1\nACGT\n>P2\nCCGT\n")
    rows, report, _ = imported(tmp_path)
    assert [(row["specimen_id"], row["barcode"]) for row in rows] == [("P1", "ACGT"), ("P2", "CCGT")]
    assert report.notes == ("1 barcodes of coi.fas are those of 'sampleid'",)
    fasta.write_text(">J1\nACGT\n>J2\nCCGT\n")
    with pytest.raises(SourceError, match=r"2 barcodes of coi\.fas belong to no specimen of the table") as caught:
        imported(tmp_path)
    option = shlex.split(str(caught.value).partition("has such ids: ")[2])[1]
    rows, _, _ = imported(tmp_path, parse_map([option.removesuffix(".")]))
    assert [(row["specimen_id"], row["barcode"]) for row in rows] == [("J1", "ACGT"), ("J2", "CCGT")]


def test_specimens_without_a_barcode_in_the_fasta_file_are_counted(tmp_path: Path, imported: Import) -> None:
    (tmp_path / "labels.tsv").write_text("id\torder\timage\ns1\tDiptera\t1.jpg\ns2\tDiptera\t2.jpg\n")
    (tmp_path / "coi.fasta.gz").write_bytes(gzip.compress(b">s2\nACGT\n"))
    np.save(tmp_path / "image_features.npy", np.array([[1.0], [2.0]]))
    rows, report, _ = imported(tmp_path)
    assert [(row.get("barcode"), row["image_features"]) for row in rows] == [(None, [1.0]), ("ACGT", [2.0])]
    assert report.notes == ("image features: image_features.npy, 2 x 1", "1 specimens have no barcode in coi.fasta.gz")


def test_the_barcodes_of_two_fasta_files_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text("id\torder\ns1\tDiptera\n")
    for name in ("a.fasta", "b.fasta"):
        (tmp_path / name).write_text(">s1\nACGT\n")
    with pytest.raises(SourceError, match=r"\(a\.fasta, b\.fasta\)"):
        table_source(tmp_path, {})


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_images_are_found_by_the_ids_of_the_specimens(tmp_path: Path, imported: Import) -> None:
    ids_of = ["a", "b.png", "c.1", "d", "e", "A", "f"]
    (tmp_path / "labels.tsv").write_text("id\torder\n" + "".join(f"{name}\tDiptera\n" for name in ids_of))
    touch(tmp_path, "images/a.jpg", "images/b.png", "images/x/c.1.JPEG", "d.jpg", "images/d.jpg", "images/f.gif")
    touch(tmp_path, ".cache/e.jpg", "1/2/3/4/e.jpg", "images/b.jpg.txt")
    rows, report, _ = imported(tmp_path)
    assert {row["specimen_id"]: row["image"] for row in rows} == {
        "a": "images/a.jpg",
        "b.png": "images/b.png",
        "c.1": "images/x/c.1.JPEG",
        "d": "d.jpg",
    }
    assert [name for name, _ in report.rejects] == ["e", "A", "f"]
    assert report.notes == (
        "4 of 7 specimens have one of 5 images, by its name",
        "1 images share their name with another one; the first in the alphabet is taken",
        "1 .gif files are passed over: .jpg, .jpeg, .png, .tif, .tiff, .webp, .bmp are read",
    )


def test_a_column_of_images_is_believed_and_bare_names_are_looked_up(tmp_path: Path, imported: Import) -> None:
    given_as = {"a": "b.jpg", "b": "elsewhere/b.jpg", "c": "gone.jpg", "d": "zip:z.zip#0+9:b.jpg", "e": "", "b2": "b"}
    lines = "".join(f"{name}\tDiptera\t{image}\n" for name, image in given_as.items())
    (tmp_path / "labels.tsv").write_text("id\torder\timage\n" + lines)
    touch(tmp_path, "images/b.jpg", "images/e.png")
    rows, report, _ = imported(tmp_path)
    assert {row["specimen_id"]: row["image"] for row in rows} == {
        "a": "images/b.jpg",
        "b": "elsewhere/b.jpg",
        "c": "gone.jpg",
        "d": "zip:z.zip#0+9:b.jpg",
        "e": "images/e.png",
        "b2": "images/b.jpg",
    }
    found, missing = report.notes
    assert found == "1 of 6 specimens have one of 2 images, by its name"
    assert missing.startswith("2 of 6 specimens name an image that is not in")


def test_a_table_of_images_without_ids_takes_their_names(tmp_path: Path, imported: Import) -> None:
    (tmp_path / "labels.csv").write_text("filename,order\n1.jpg,Diptera\n,Diptera\n2.jpg,Coleoptera\n")
    touch(tmp_path, "images/1.jpg", "images/2.jpg")
    rows, report, _ = imported(tmp_path)
    assert [(row["specimen_id"], row["image"]) for row in rows] == [
        ("1.jpg", "images/1.jpg"),
        ("2.jpg", "images/2.jpg"),
    ]
    assert report.rejects == (("record 2", "line 3: no specimen id"),)
    assert report.notes == ("labels.csv: no column holds ids, and the names of the images are taken for them",)
