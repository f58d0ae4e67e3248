"""Workbooks, JSON lines, Hugging Face `datasets`, class folders, data packages, zip files, and several tables."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workloads.data.files.image_source import ImageSource
from workloads.data.sources.source import Refused
from workloads.data.sources.tables import table_source
from workloads.errors import MissingPathError, RecordError, SourceError


def jpeg(shade: int = 0) -> bytes:
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def records(path: Path, given: dict[str, str] | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    source = table_source(path, given or {})
    found = [dict(record) for record in source.records if not isinstance(record, Refused)]
    return found, [*source.notes, *source.findings.sentences()]


def workbook(path: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if not number else book.create_sheet(f"more {number}")
        assert sheet is not None
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def test_a_workbook_is_read_as_one_would_type_it(tmp_path: Path) -> None:
    rows = [["id", "species", "nuc"], [17, "Zoro bus", "ACGT"], [], ["b", None, "ACGG"], ["c", "x", "y", "too wide"]]
    path = workbook(tmp_path / "t.xlsx", rows, [["other"]])
    found, notes = records(path)
    assert [(record["specimen_id"], record["species"], record["where"]) for record in found] == [
        ("17", "Zoro bus", "row 2"),
        ("b", "", "row 4"),
    ]
    assert notes == ["1 sheets of a workbook are not read: save each as a file (such as more 1)"]


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["id", "species"], ["a", "Zoro bus"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/more.xml", b" " * (64 << 20))
    with pytest.raises(SourceError, match="are no sheet; save it as"):
        table_source(path, {})


def test_json_lines_are_read_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    lines = [
        '{"file_name": "a.jpg", "species": "Zoro bus"}',
        "[]",
        "",
        '{"file_name": "b.jpg", "more": 1, "deep": [1]}',
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join([*lines, "[" * 100_000]))
    source = table_source(tmp_path, {})
    found = list(source.records)
    assert [record["image"] for record in found if not isinstance(record, Refused)] == ["a.jpg", "b.jpg"]
    assert [record.identifier for record in found if isinstance(record, Refused)] == ["line 2", "line 5"]


def hugging_face(path: Path, count: int, **options: Any) -> Path:
    images = [{"bytes": jpeg(number), "path": f"{number}.jpg"} for number in range(count)]
    table = pa.table(
        {"id": [f"{path.stem}{n}" for n in range(count)], "label": [n % 2 for n in range(count)], "image": images}
    )
    names = {"names": ["Zoro bus", "Apis mellifera"], "_type": "ClassLabel"}
    said = json.dumps({"info": {"features": {"label": names, "image": {"_type": "Image"}}}})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": said}), path, **options)
    return path


def test_pictures_and_classes_in_hugging_faces_parquet_are_read_where_they_lie(tmp_path: Path) -> None:
    for split in ("train-00000-of-00001", "test-00000-of-00001"):
        hugging_face(tmp_path / "data" / f"{split}.parquet", 7, row_group_size=3)
    found, notes = records(tmp_path, {"species": "label"})
    assert len(found) == 14
    assert [record["species"] for record in found[:2]] == ["Zoro bus", "Apis mellifera"]
    with ImageSource(str(tmp_path)) as images:
        assert [images.read(record["image"]) for record in found] == [jpeg(n) for n in range(7)] * 2
        for bad in ("#image#7", "#id#0", "#gone#0"):
            with pytest.raises(RecordError):
                images.read(found[0]["image"].rpartition("#image")[0] + bad)
    assert notes[0].startswith("2 tables of the same columns: data/test-0")


def test_the_paths_of_a_parquet_without_bytes_are_taken(tmp_path: Path) -> None:
    images = [{"bytes": None, "path": "a.jpg"}]
    pq.write_table(
        pa.table({"id": ["a"], "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}),
        tmp_path / "t.parquet",
    )
    assert records(tmp_path / "t.parquet")[0][0]["image"] == "a.jpg"


def test_the_folder_layout_of_hugging_face_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "metadata.csv").write_text(
            f"file_name,species\n{split}1.jpg,Zoro bus\nsub/{split}2.jpg,Zoro bus\n"
        )
        for name in (f"{split}1.jpg", f"sub/{split}2.jpg"):
            (tmp_path / split / name).parent.mkdir(exist_ok=True)
            (tmp_path / split / name).write_bytes(jpeg())
    found, notes = records(tmp_path)
    assert [record["image"] for record in found] == [
        "test/test1.jpg",
        "test/sub/test2.jpg",
        "train/train1.jpg",
        "train/sub/train2.jpg",
    ]
    assert not any("is not in" in note for note in notes)


@pytest.mark.parametrize("wrapper", ["", "train/", "images/"])
def test_class_folders_give_the_ranks_that_their_names_are(wrapper: str, tmp_path: Path) -> None:
    names = ["Culicidae/Aedes vexans", "Culicidae/003.Culex_pipiens", "Apidae/Apis sp.", "Diptera", "not a taxon"]
    for name in names:
        (tmp_path / wrapper / name).mkdir(parents=True)
        (tmp_path / wrapper / name / "1.jpg").write_bytes(jpeg())
    found, notes = records(tmp_path)
    assert [tuple(record[rank] for rank in ("order", "family", "genus", "species")) for record in found] == [
        (None, "Apidae", "Apis", None),
        (None, "Culicidae", "Culex", "Culex pipiens"),
        (None, "Culicidae", "Aedes", "Aedes vexans"),
        ("Diptera", None, None, None),
        (None, None, None, None),
    ]
    assert "the folders of the images are taken for their labels" in notes[0]
    assert any("called like splits" in note for note in notes) is (wrapper == "train/")


def test_a_folder_of_images_without_taxa_says_what_table_to_write(tmp_path: Path) -> None:
    for name in ("batch 1", "Batch 2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(jpeg())
    with pytest.raises(MissingPathError, match="columns image and species"):
        table_source(tmp_path, {})


def test_tables_of_the_same_columns_are_read_together_and_others_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\tspecies\na\tZoro bus\n")
    (tmp_path / "b.csv").write_text("species,id\nZoro bus,b\n")
    found, notes = records(tmp_path)
    assert [(record["specimen_id"], record["where"]) for record in found] == [
        ("a", "a.tsv, line 2"),
        ("b", "b.csv, line 2"),
    ]
    assert notes == ["2 tables of the same columns: a.tsv, b.csv"]
    (tmp_path / "c.csv").write_text("id,more\nc,1\n")
    with pytest.raises(SourceError, match=r"\(a\.tsv, b\.csv, c\.csv\), whose columns differ; name one"):
        table_source(tmp_path, {})
    (tmp_path / "labels.csv").write_text("id,species\nd,Zoro bus\n")
    found, notes = records(tmp_path)
    assert [record["specimen_id"] for record in found] == ["d"]
    assert notes == ["a.tsv, b.csv, c.csv: not read, since labels.csv is the table here; name one to read it"]


def test_a_data_package_names_its_table(tmp_path: Path) -> None:
    (tmp_path / "BOLD_Public.tsv").write_text("processid\tspecies\tnuc\nP1\tZoro bus\tACGT\n")
    (tmp_path / "notes.csv").write_text("x,y\n1,2\n")
    package = tmp_path / "BOLD_Public.datapackage.json"
    package.write_text(json.dumps({"resources": [{"path": "BOLD_Public.tsv"}]}))
    assert [record["specimen_id"] for record in records(tmp_path)[0]] == ["P1"]
    for text in (
        "{",
        "[]",
        '{"resources": [{"path": "../x.tsv"}]}',
        '{"resources": [{"path": "/etc/x.tsv"}]}',
        "[" * 9999,
    ):
        package.write_text(text)
        with pytest.raises(SourceError, match="datapackage"):
            table_source(tmp_path, {})


def test_a_zip_file_with_a_table_and_its_images_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("mine/t.csv", "id,species\na,Zoro bus\n")
        archive.writestr("mine/images/a.jpg", jpeg())
    found, _ = records(tmp_path / "t.zip")
    with ImageSource(str(tmp_path)) as images:
        assert images.read(found[0]["image"]) == jpeg()
    with zipfile.ZipFile(tmp_path / "u.zip", "w") as archive:
        archive.writestr("a.csv", "id\n")
        archive.writestr("b.csv", "id\n")
    with pytest.raises(SourceError, match=r"several tables \(a\.csv, b\.csv\); unpack it"):
        table_source(tmp_path / "u.zip", {})
