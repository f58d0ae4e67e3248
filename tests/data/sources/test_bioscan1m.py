"""BIOSCAN-1M in the layouts it is published in, and its real metadata."""

import gzip
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from workloads.data.sources.bioscan import bioscan1m_source
from workloads.data.sources.bioscan_files import IMAGE_PACKAGES
from workloads.data.sources.collect import collect
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError, PartitionError, SourceError

Write = Callable[..., Path]
WriteImages = Callable[..., None]
RecordsOf = Callable[[Source], list[RawRecord]]
ImagesOf = Callable[[Source], list[bytes]]

COLUMNS_1M = (
    "sampleid processid uri name phylum class order family subfamily tribe genus species subspecies nucraw image_file"
)
COLUMNS_1M += " large_diptera_family large_insect_order chunk_number photographer"
TABLE_1M = "BIOSCAN_Insect_Dataset_metadata.tsv"
BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20


def insects_1m(count: int = 6) -> list[dict[str, str]]:
    return [
        {
            "sampleid": f"BIOUG{n:05d}-A{n:02d}",
            "processid": f"AACTA{n}-20",
            "uri": f"BOLD:AAA{n:04d}",
            "name": "Diptera",
            "order": "Diptera",
            "family": "Chironomidae",
            **({"genus": "Chironomus", "species": "Chironomus riparius"} if n % 2 else {}),
            "nucraw": BARCODE,
            "image_file": f"{4_000_000 + n}.jpg",
            "chunk_number": str(n % 2 + 1),
        }
        for n in range(count)
    ]


@pytest.fixture
def write_1m(write_metadata: Callable[..., Path]) -> Write:
    """Writes the metadata into a folder."""
    return lambda folder, rows, name=TABLE_1M, columns=COLUMNS_1M: write_metadata(folder / name, columns, rows)


def image_paths_1m(rows: list[dict[str, str]]) -> list[str]:
    return [f"part{row['chunk_number']}/{row['image_file']}" for row in rows]


def test_columns_become_a_specimen_table_with_missing_ranks_null(tmp_path: Path, write_1m: Write) -> None:
    source = bioscan1m_source(write_1m(tmp_path, insects_1m()))
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source, table)
    assert report.num_specimens == 6
    assert report.modalities == ("image", "dna", "text")
    rows = next(table.batches()).to_pylist()
    assert rows[0] == dict.fromkeys(SPECIMEN_SCHEMA.names) | {
        "specimen_id": "BIOUG00000-A00",
        "image": "4000000.jpg",
        "barcode": BARCODE,
        "order": "Diptera",
        "family": "Chironomidae",
        "bin": "BOLD:AAA0000",
    }
    assert rows[1]["species"] == "Chironomus riparius"
    assert any("no images were found" in note for note in report.notes)
    assert table.facts.protocol == "clibd"
    assert table.facts.partition is None


@pytest.mark.parametrize("inner", ["bioscan1m", "bioscan", "."])
@pytest.mark.parametrize("package", IMAGE_PACKAGES)
def test_images_are_found_in_folders_as_the_pytorch_package_lays_them_out(
    tmp_path: Path,
    pictures: list[bytes],
    inner: str,
    package: str,
    write_1m: Write,
    write_files: WriteImages,
    records_of: RecordsOf,
    images_of: ImagesOf,
) -> None:
    rows = insects_1m()
    table = write_1m(tmp_path / ("." if inner == "bioscan" else inner), rows)
    write_files(tmp_path / inner / "images" / package, image_paths_1m(rows), pictures)
    for path in (tmp_path, table):
        source = bioscan1m_source(path)
        assert images_of(source) == pictures[:6]
        assert f"images: 6 of {package} (" in source.notes[0]
    place = "" if inner == "." else f"{inner}/"
    assert records_of(bioscan1m_source(tmp_path))[1]["image"] == f"{place}images/{package}/part2/4000001.jpg"


@pytest.mark.parametrize("archive", ["cropped_256.zip", "BIOSCAN_1M_cropped_256.zip", "images/original_256.zip"])
def test_published_archives_are_read_in_place(
    tmp_path: Path,
    pictures: list[bytes],
    archive: str,
    write_1m: Write,
    write_zip: WriteImages,
    records_of: RecordsOf,
    images_of: ImagesOf,
) -> None:
    rows = insects_1m()
    write_1m(tmp_path / "bioscan1m", rows)
    write_zip(tmp_path / archive, "bioscan/images/cropped_256/", image_paths_1m(rows), pictures)
    before = sorted(tmp_path.rglob("*"))
    source = bioscan1m_source(tmp_path)
    assert images_of(source) == pictures[:6]
    assert records_of(source)[0]["image"].startswith(f"zip:{archive}#0+")
    assert sorted(tmp_path.rglob("*")) == before


def test_part_folders_beside_the_table_need_no_package_name(
    tmp_path: Path, pictures: list[bytes], write_1m: Write, write_files: WriteImages, images_of: ImagesOf
) -> None:
    rows = insects_1m()
    write_1m(tmp_path, rows, "mine.tsv")
    write_files(tmp_path, image_paths_1m(rows), pictures)
    source = bioscan1m_source(tmp_path)
    assert images_of(source) == pictures[:6]
    assert "loose folders (part1, part2)" in source.notes[0]


def test_of_several_packages_the_best_is_taken_and_the_rest_named(
    tmp_path: Path,
    pictures: list[bytes],
    write_1m: Write,
    write_files: WriteImages,
    write_zip: WriteImages,
    images_of: ImagesOf,
) -> None:
    rows = insects_1m()
    write_1m(tmp_path, rows)
    write_files(tmp_path / "images" / "original_full", image_paths_1m(rows), pictures[6:])
    write_zip(tmp_path / "original_256.zip", "", image_paths_1m(rows), pictures[7:])
    write_zip(tmp_path / "cropped_256.zip", "bioscan/images/cropped_256/", image_paths_1m(rows), pictures)
    write_zip(tmp_path / "BIOSCAN_5M_cropped_256_eval.zip", "", image_paths_1m(rows), pictures[5:])
    source = bioscan1m_source(tmp_path)
    assert images_of(source) == pictures[:6]
    assert source.notes[0] == "images: 6 of cropped_256 (cropped_256.zip); not used: original_256, original_full"
    # A folder that has been unpacked goes before its archive, which fills what the folder lacks.
    write_files(tmp_path / "cropped_256", image_paths_1m(rows)[:2], pictures[10:])
    assert images_of(bioscan1m_source(tmp_path)) == [*pictures[10:12], *pictures[2:6]]


def test_a_record_whose_image_is_not_in_the_package_is_refused(
    tmp_path: Path, pictures: list[bytes], write_1m: Write, write_zip: WriteImages
) -> None:
    rows = insects_1m()
    write_1m(tmp_path, rows)
    write_zip(tmp_path / "cropped_256.zip", "", image_paths_1m(rows)[1:], pictures)
    refused, *rest = bioscan1m_source(tmp_path).records
    assert refused == Refused("BIOUG00000-A00", "line 2: cropped_256 holds no image 'part1/4000000.jpg'")
    assert len(rest) == 5


def test_a_folder_of_images_outside_the_root_and_a_dishonest_archive_are_refused(
    tmp_path: Path, pictures: list[bytes], write_1m: Write, write_files: WriteImages, write_zip: WriteImages
) -> None:
    rows = insects_1m()
    write_1m(tmp_path / "root", rows)
    write_files(tmp_path / "elsewhere", image_paths_1m(rows), pictures)
    (tmp_path / "root" / "cropped_256").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="a link out of"):
        bioscan1m_source(tmp_path / "root")
    (tmp_path / "root" / "cropped_256").unlink()
    write_zip(tmp_path / "root" / "cropped_256.zip", "../", image_paths_1m(rows), pictures)
    with pytest.raises(SourceError, match="leads out"):
        bioscan1m_source(tmp_path / "root")


def write_lists(folder: Path, splits: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    for split in set(splits.values()):
        ids = [identifier for identifier, mine in splits.items() if mine == split]
        (folder / f"{split}.txt").write_text("\n".join(ids) + "\n")


def test_split_lists_that_lie_beside_fill_the_split(tmp_path: Path, write_1m: Write, records_of: RecordsOf) -> None:
    rows = insects_1m()
    splits = {row["sampleid"]: "train_seen" if n % 2 else "no_split" for n, row in enumerate(rows)}
    write_1m(tmp_path / "bioscan1m", rows)
    write_lists(tmp_path / "bioscan1m" / "CLIBD_partitioning", splits | {"BIOUG99999-A01": "no_split"})
    for path in (tmp_path, tmp_path / "bioscan1m"):
        source = bioscan1m_source(path)
        assert source.has_splits
        assert {record["specimen_id"]: record["split"] for record in records_of(source)} == splits
        assert records_of(source)  # read twice, noted once
        assert len([note for note in source.notes if "6 of the 7 specimens" in note]) == 1


def test_split_lists_in_an_archive_are_read_and_an_unlisted_specimen_ends_the_import(
    tmp_path: Path, write_1m: Write
) -> None:
    rows = insects_1m()
    write_1m(tmp_path, rows)
    with zipfile.ZipFile(tmp_path / "CLIBD_partitioning.zip", "w") as archive:
        archive.writestr("CLIBD_partitioning/no_split.txt", "\n".join(row["sampleid"] for row in rows[:4]))
    with pytest.raises(PartitionError, match=r"line 6: .*\(BIOUG00004-A04\)"):
        list(bioscan1m_source(tmp_path).records)


def test_bad_lines_are_refused_one_by_one(tmp_path: Path, write_1m: Write) -> None:
    rows = insects_1m()
    path = write_1m(tmp_path, [*rows, rows[0], rows[1] | {"sampleid": ""}])
    lines = path.read_bytes().split(b"\n")
    lines[2], lines[3], lines[4] = lines[2] + b"\textra", lines[3] + b"\0", lines[4].replace(b"Diptera", b"\xff")
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    report = collect(bioscan1m_source(path), SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert report.num_specimens == 4
    assert [name for name, _ in report.rejects] == ["line 3", "line 5", "BIOUG00000-A00", "record 8"]
    assert report.rejects[1][1].endswith("is not UTF-8")
    assert report.rejects[2][1] == "line 8: a second record with this id"
    assert report.rejects[3][1] == "line 9: no specimen id"


def test_what_is_no_metadata_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="BIOSCAN_Insect"):
        bioscan1m_source(tmp_path)
    with pytest.raises(MissingPathError, match="metadata table"):
        bioscan1m_source(tmp_path / "absent")
    (tmp_path / "a.tsv").write_text("sampleid\torder\nA\tDiptera\n")
    with pytest.raises(SourceError, match="'image_file'"):
        bioscan1m_source(tmp_path)
    (tmp_path / "b.tsv").write_text("x")
    with pytest.raises(SourceError, match=r"\(a\.tsv, b\.tsv\)"):
        bioscan1m_source(tmp_path)


def test_a_gzipped_table_without_order_column_takes_the_order_from_the_name(
    tmp_path: Path, write_1m: Write, records_of: RecordsOf
) -> None:
    path = write_1m(tmp_path, insects_1m(), columns=COLUMNS_1M.replace(" order ", " "))
    (tmp_path / f"{TABLE_1M}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert {record["order"] for record in records_of(bioscan1m_source(tmp_path))} == {"Diptera"}


def test_the_real_metadata_is_imported_without_images_or_barcodes(tmp_path: Path, real: Callable[[str], Path]) -> None:
    folder = real("bioscan1m_metadata")
    source = bioscan1m_source(folder / "bioscan1m_small_validation_metadata.tsv.gz")
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source, table)
    assert report.num_specimens == 15_705
    assert not report.rejects
    assert report.modalities == ("image", "text")
    assert any("no images were found" in note for note in report.notes)
    assert any("no barcodes" in note for note in report.notes)
    filled = {rank: len(table.column(rank)) - table.column(rank).null_count for rank in ("family", "genus", "species")}
    assert filled == {"family": 15_380, "genus": 4_615, "species": 2_253}
    assert len(set(table.column("order").to_pylist()) - {None}) == 17
    # 1,080 with the missing one, as its description counts; no two of them become one by cleaning.
    assert len(set(table.column("species").to_pylist())) == 1_080
    first = next(table.batches()).to_pylist()[0]
    assert (first["specimen_id"], first["image"]) == ("BIOUG53809-B12", "3913189.jpg")
