"""Which image belongs to whom: by the table, by names, elsewhere, and what is said of those that belong to nobody."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workloads.data.files.image_source import ImageSource
from workloads.data.sources.collect import collect
from workloads.data.sources.source import Refused, Source
from workloads.data.sources.tables import table_source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)


def records(path: Path, images: Path | None = None) -> tuple[list[dict[str, Any]], Source, list[str]]:
    source = table_source(path, {}, images)
    found = [dict(record) for record in source.records if not isinstance(record, Refused)]
    with ImageSource(source.root, source.follow_links) as reader:
        for record in found:
            assert {"row", "image_urls"}.isdisjoint(record)
            if record.get("image") and reader.has(record["image"]):
                assert reader.read(record["image"])  # what import passes, preparation reads
    return found, source, [*source.notes, *source.findings.sentences()]


def test_images_named_by_another_id_are_found_and_it_is_said_which(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(
        "processid\tsampleid\tspecies\nP1\tS1\tZoro bus\nP2\tS2\tZoro bus\nP3\tS3\tZoro bus\n"
    )
    touch(tmp_path, "images/S1.jpg", "images/S2.tif", "P3.webp")
    found, _, notes = records(tmp_path)
    assert [record["image"] for record in found] == ["images/S1.jpg", "images/S2.tif", "P3.webp"]
    assert notes == ["3 of 3 specimens have one of 3 images, by its name (2 by their sampleid)"]


def test_files_that_match_nothing_are_counted_with_the_naming_that_would(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("processid\tjar\tspecies\nP1\tJ1\tZoro bus\nP2\tJ2\tZoro bus\n")
    touch(tmp_path, "J1.jpg", "J2.jpg", "K3.jpg")
    (tmp_path / "raw.heic").write_bytes(b"x")
    found, _, notes = records(tmp_path)
    assert [record.get("image") for record in found] == [None, None]
    assert "1 .heic files are passed over: .jpg, .jpeg, .png, .tif, .tiff, .webp, .bmp are read" in notes
    assert notes[-1].startswith(
        "3 image files belong to no specimen, and are named as 'jar' has it: --map specimen_id=jar"
    )
    (tmp_path / "t.tsv").write_text("processid\tspecies\nPROC1\tZoro bus\n")
    touch(tmp_path, "IMG-PROC1.jpg")
    assert "holds the id 'PROC1'" in records(tmp_path)[2][-1]
    (tmp_path / "t.tsv").write_text("processid\tsampleid\tspecies\nPROC1\tBIOUG7\tZoro bus\n")
    (tmp_path / "IMG-PROC1.jpg").rename(tmp_path / "IMG-BIOUG7.jpg")
    assert "holds the id 'BIOUG7'" in records(tmp_path)[2][-1]


def test_a_column_with_blanks_is_named_as_a_shell_wants_it_and_species_are_no_ids(tmp_path: Path) -> None:
    rows = "".join(f"P{number}\tZoro bus\tJ{number}\n" for number in range(3))
    (tmp_path / "t.tsv").write_text(f"processid\tspecies\tmy jar\n{rows}")
    touch(tmp_path, "J1.jpg")
    assert "--map 'specimen_id=my jar'" in records(tmp_path)[2][-1]
    (tmp_path / "J1.jpg").rename(tmp_path / "Zoro bus.jpg")
    assert "--map" not in records(tmp_path)[2][-1]


def test_addresses_are_matched_by_their_last_part_and_never_fetched(tmp_path: Path) -> None:
    rows = ["a\thttp://x.example/pics/A%2B1.jpg?size=2|http://x.example/b.png", "b\thttp://x.example/gone.jpg", "c\t"]
    (tmp_path / "t.tsv").write_text("processid\timage_urls\n" + "\n".join(rows) + "\n")
    touch(tmp_path, "p/A+1.jpg", "p/b.png", "p/c.jpg")
    found, _, notes = records(tmp_path)
    assert [(record["specimen_id"], record.get("image")) for record in found] == [
        ("a", "p/A+1.jpg"),
        ("a", "p/b.png"),
        ("b", "p/b.png"),
        ("c", "p/c.jpg"),
    ]
    assert "1 of 3 specimens have an image by the last part of its address" in notes


def test_views_of_a_specimen_are_records_of_its_id(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id\tspecies\nS\tZoro bus\nS_1\tZoro bus\nT\tZoro bus\n")
    touch(tmp_path, "S.jpg", "S_1.jpg", "S_dorsal.jpg", "T_1.jpg", "T_2.jpg")
    found, _, _ = records(tmp_path)
    assert [(record["specimen_id"], record["image"]) for record in found] == [
        ("S", "S.jpg"),
        ("S", "S_dorsal.jpg"),  # S_1.jpg may be that of S_1, and is
        ("S_1", "S_1.jpg"),
        ("T", "T_1.jpg"),
        ("T", "T_2.jpg"),
    ]


@pytest.mark.parametrize("form", ["absolute", "windows", "relative", "moved", "bare"])
@pytest.mark.parametrize("place", ["folder", "link", "zip"])
def test_images_elsewhere_are_read_from_the_folder_that_is_named(form: str, place: str, tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", tmp_path / "home"
    touch(disk, "pics/a.jpg", "pics/b.jpg", "other/b.jpg")
    home.mkdir()
    names = {
        "absolute": f"{disk}/pics/{{}}.jpg",
        "windows": r"D:\my pictures\pics\{}.jpg",
        "relative": "pics/{}.jpg",
        "moved": "/old/disk/pics/{}.jpg",
        "bare": "{}.jpg",
    }
    lines = [f"{name},{names[form].format(name)},Zoro bus\n" for name in "ab"]
    (home / "t.csv").write_text("id,image,species\n" + "".join(lines))
    images = disk
    if place == "link":
        images = home / "pictures"
        images.symlink_to(disk)
    elif place == "zip":
        images = tmp_path / "disk.zip"
        with zipfile.ZipFile(images, "w") as archive:
            for file in sorted(disk.rglob("*.jpg")):
                archive.write(file, file.relative_to(disk))
    found, source, _ = records(home / "t.csv", images)
    with ImageSource(source.root, source.follow_links) as reader:
        there = [reader.has(record["image"]) for record in found]
        assert there[0], found
        if place != "zip" and form != "bare":
            assert [os.path.basename(os.path.dirname(record["image"])) for record in found] == ["pics", "pics"]


def test_a_link_out_of_the_folder_is_said_at_import_and_followed_when_named(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "a.jpg")
    home = tmp_path / "home"
    home.mkdir()
    (home / "pictures").symlink_to(tmp_path / "disk")
    (home / "t.csv").write_text("id,image,species\na,pictures/a.jpg,Zoro bus\n")
    _, _, notes = records(home)
    assert notes[0].startswith("1 of 1 specimens name an image that is not in")
    assert notes[0].endswith(f"--images {home}/pictures")
    found, source, _ = records(home, home / "pictures")
    collect(table_source(home, {}, home / "pictures"), table := SpecimenTable.at(tmp_path / "s.parquet"))
    assert (table.facts.root, table.facts.follow_links) == (source.root, True)
    assert found[0]["image"] == "a.jpg"
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "a.jpg").symlink_to(tmp_path / "disk" / "a.jpg")
    assert records(home, tmp_path / "farm")[0][0]["image"] == "a.jpg"


def test_a_folder_of_images_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,image,species\na,a.jpg,Zoro bus\n")
    with pytest.raises(MissingPathError, match="--images"):
        table_source(tmp_path, {}, tmp_path / "gone")


def test_a_folder_of_links_in_a_circle_ends(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "a.jpg")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "disk")
    (tmp_path / "t.csv").write_text("id,species\na,Zoro bus\n")
    assert records(tmp_path / "t.csv", tmp_path / "disk")[0][0]["image"] == "a.jpg"
