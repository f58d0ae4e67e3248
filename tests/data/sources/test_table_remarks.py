"""What a user is told of a table: images that are not there, sequences of other genes, and files left by an import."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError, SourceError

BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def imported(path: Path, to: Path) -> ImportReport:
    return collect(table_source(path, {}), SpecimenTable.at(to))


def test_images_that_are_not_there_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "insects"
    (folder / "deep/er/than/is/searched").mkdir(parents=True)
    there = [folder / "a.png", folder / "deep/er/than/is/searched/b.png"]
    for file in (*there, tmp_path / "outside.png"):
        Image.new("RGB", (4, 4)).save(file)
    images = [
        *("a.png", "./a.png", str(folder / "a.png"), "deep/er/than/is/searched/b.png", "zip:z.zip#0+9:a.png"),
        *("https://a.example/a.jpg", "../outside.png", str(tmp_path / "outside.png"), "b.png", "insects/a.png"),
    ]
    rows = [("id", "order", "image"), *((f"S{n}", "Diptera", image) for n, image in enumerate(images))]
    report = imported(write(folder / "t.tsv", rows), tmp_path / "s.parquet")
    assert report.num_specimens == 10
    assert len(report.notes) == 1
    assert report.notes[0].startswith(f"5 of 10 specimens name an image that is not in {folder} (such as 'https://a.ex")


def test_nothing_is_said_of_images_of_specimens_with_features(tmp_path: Path) -> None:
    table = pa.table({"id": ["A"], "order": ["Diptera"], "image": ["1.jpg"], "image_features": [[1.0, 2.0]]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert imported(tmp_path / "t.parquet", tmp_path / "s.parquet").notes == ()


@pytest.mark.parametrize("form", ["tsv", "parquet"])
@pytest.mark.parametrize("column", ["markercode", "marker_code"])
def test_sequences_of_other_genes_are_no_barcodes(tmp_path: Path, form: str, column: str) -> None:
    markers = ["COI-5P", "28S", "", "CO1", "ITS2", "COX1", "mt-COI", "COII", "CYTB", "coi"]
    markers += ["cytochrome c oxidase subunit I", "Cytochrome oxidase 2", "COXI", "cytochrome b"]
    markers += ["COI-3P", "COX2", "COI-LIKE", "COI-5P pseudogene", "mitochondrial COI", "CO-I", "COI_5P"]
    rows = [(f"S{n}", "Diptera", marker, BARCODE) for n, marker in enumerate(markers)]
    file = tmp_path / f"bold.{form}"
    header = ("processid", "order_name", column, "nucleotides")
    if form == "tsv":
        write(file, [header, *rows])
    else:
        pq.write_table(pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), file)
    report = imported(file, tmp_path / "s.parquet")
    assert [name for name, _ in report.rejects] == ["S1", "S4", "S7", "S8", "S11", "S13", "S14", "S15", "S16", "S17"]
    assert report.rejects[0][1].endswith("(its sequence is of '28S', not of COI's barcode)")
    assert report.findings.counts["sequences of another marker than COI's barcode, left out"] == 10


def test_what_an_import_wrote_into_the_folder_is_not_read_by_the_next(tmp_path: Path) -> None:
    first = write(tmp_path / "mine.tsv", [("id", "order", "barcode"), ("A", "Diptera", BARCODE)])
    out = tmp_path / "specimens.parquet"
    assert imported(tmp_path, out).num_specimens == 1
    write(first, [("id", "order", "barcode"), ("A", "Diptera", BARCODE), ("B", "Diptera", BARCODE)])
    assert imported(tmp_path, out).num_specimens == 2
    first.rename(tmp_path / "elsewhere.txt")
    assert imported(tmp_path, tmp_path / "again.parquet").num_specimens == 2  # alone, it is a table like any


def test_a_file_that_is_no_table_says_what_to_do(tmp_path: Path) -> None:
    for name, hint in (
        ("t.xls", r"save the sheet as \.csv"),
        ("t.qza", "qiime tools export"),
        ("t.tar.gz", "unpack it"),
    ):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(SourceError, match=hint):
            table_source(tmp_path / name, {})
    (tmp_path / "fifth.hdf5").write_bytes(b"")
    with pytest.raises(MissingPathError, match=r"fifth\.hdf5"):
        table_source(tmp_path, {})
