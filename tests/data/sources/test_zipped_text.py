"""Metadata tables read inside the archives they are published in: equal to the unpacked file, in bounded memory."""

import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from workloads.data.files.zip_members import zipped_text
from workloads.data.sources.bioscan import bioscan1m_source, bioscan5m_source
from workloads.data.sources.bioscan_files import LAYOUT_1M, LAYOUT_5M
from workloads.data.sources.collect import collect
from workloads.data.sources.delimited import bounded_lines, read_delimited
from workloads.data.sources.source import Refused
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError, SourceError

TABLE = LAYOUT_5M.table
MEMBER = f"bioscan5m/metadata/csv/{TABLE}"
ARCHIVE = "BIOSCAN_5M_Insect_Dataset_metadata_MultiTypes.zip"
BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20
HEADER = "processid,order,family,dna_barcode,split\n"


def rows(count: int) -> str:
    return HEADER + "".join(f"P{n},Diptera,Chironomidae,{BARCODE},{('train', 'val')[n % 2]}\n" for n in range(count))


def write(path: Path, members: dict[str, str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("place", ["", "bioscan5m"])
def test_the_published_archive_gives_what_the_unpacked_table_gives(tmp_path: Path, method: int, place: str) -> None:
    root = tmp_path / "root"
    file = write(root / place / ARCHIVE, {"bioscan5m/metadata/json_ld/x.jsonld": "{}", MEMBER: rows(500)}, method)
    plain = tmp_path / TABLE
    plain.write_text(rows(500))
    wanted = list(bioscan5m_source(plain).records)
    assert len(wanted) == 500
    for path in (root, file):
        source = bioscan5m_source(path)
        assert list(source.records) == wanted
        assert list(source.records) == wanted  # more than once
        assert source.root == str(root)
    assert sorted(root.rglob("*.*")) == [file]  # nothing was unpacked
    report = collect(bioscan5m_source(root), SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert report.num_specimens == 500


def test_a_table_that_has_been_unpacked_goes_before_its_archive(tmp_path: Path) -> None:
    write(tmp_path / ARCHIVE, {MEMBER: rows(5)})
    (tmp_path / TABLE).write_text(rows(3))
    assert len(list(bioscan5m_source(tmp_path).records)) == 3


def test_a_zipped_table_of_1m_is_read_in_the_same_way(tmp_path: Path) -> None:
    text = "sampleid\timage_file\torder\nA\t1.jpg\tDiptera\n"
    write(tmp_path / "BIOSCAN_Insect_Dataset_metadata.zip", {LAYOUT_1M.table: text})
    (record,) = bioscan1m_source(tmp_path).records
    assert not isinstance(record, Refused)
    assert record["specimen_id"] == "A"


def test_bad_lines_are_refused_as_in_a_plain_file(tmp_path: Path) -> None:
    text = "\ufeff" + rows(3).replace("\n", "\r\n") + "P9,too,few\r\n"
    source = bioscan5m_source(write(tmp_path / ARCHIVE, {MEMBER: text}))
    report = collect(source, SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert report.num_specimens == 3
    assert report.rejects == (("line 5", "3 columns, and the header has 5"),)


def test_memory_is_bounded_by_the_block_and_not_by_the_table(tmp_path: Path) -> None:
    file = write(tmp_path / ARCHIVE, {MEMBER: rows(60_000)})
    found = zipped_text(file, TABLE)
    assert file.stat().st_size < 4_000_000
    tracemalloc.start()
    try:
        size = sum(len(line or b"") + 1 for line in bounded_lines(found))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == len(rows(60_000)) > 40_000_000
    assert peak < 6_000_000


def test_the_table_is_the_member_of_its_name_or_the_only_one_of_its_kind(tmp_path: Path) -> None:
    other = {"notes.csv": "", f"__MACOSX/._{TABLE}": "", MEMBER: rows(1)}
    found = zipped_text(write(tmp_path / "a.zip", other), TABLE)
    assert (str(found), found.name) == (f"{tmp_path}/a.zip/{MEMBER}", TABLE)
    assert zipped_text(write(tmp_path / "b.zip", {"x/v3.4.csv": ""}), TABLE).name == "v3.4.csv"
    with pytest.raises(SourceError, match=r"\(a\.csv, b\.csv\)"):
        zipped_text(write(tmp_path / "c.zip", {"a.csv": "", "b.csv": ""}), TABLE)
    with pytest.raises(MissingPathError, match=r"BIOSCAN_5M\S+csv .* 1\.jpg, 2\.jpg, 3\.jpg and 2 more"):
        zipped_text(write(tmp_path / "d.zip", {f"{n}.jpg": "" for n in range(1, 6)}), TABLE)
    with pytest.raises(MissingPathError, match="holds nothing"):
        zipped_text(write(tmp_path / "e.zip", {}), TABLE)


def test_an_archive_of_images_or_with_dishonest_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="1,000 members"):
        zipped_text(write(tmp_path / "images.zip", {f"part1/{n}.jpg": "" for n in range(1001)}), TABLE)
    with pytest.raises(SourceError, match="leads out"):
        zipped_text(write(tmp_path / "up.zip", {f"../{TABLE}": ""}), TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer remarks on it
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            archive.writestr(MEMBER, rows(1))
            archive.writestr(MEMBER, rows(2))
    with pytest.raises(SourceError, match="two members"):
        zipped_text(tmp_path / "twice.zip", TABLE)
    (tmp_path / "no.zip").write_text("processid,split\n")
    with pytest.raises(SourceError, match="zip archive"):
        zipped_text(tmp_path / "no.zip", TABLE)


def test_a_bomb_and_members_that_are_not_read_are_refused_before_they_are_inflated(tmp_path: Path) -> None:
    bomb = write(tmp_path / "bomb.zip", {MEMBER: HEADER + "\n" * 5_000_000})
    with pytest.raises(SourceError, match="inflate to 5,000,041 "):
        read_delimited(zipped_text(bomb, TABLE), ",")
    odd = write(tmp_path / "odd.zip", {MEMBER: rows(9)}, zipfile.ZIP_BZIP2)
    with pytest.raises(SourceError, match="method 12"):
        read_delimited(zipped_text(odd, TABLE), ",")
    locked = write(tmp_path / "locked.zip", {MEMBER: rows(9)})
    content = bytearray(locked.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(content)
    with pytest.raises(SourceError, match="encrypted"):
        read_delimited(zipped_text(locked, TABLE), ",")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("place", [0, 20, 60, 0.3, 0.6])
def test_a_damaged_member_is_a_source_error_and_never_a_whole_table(tmp_path: Path, method: int, place: float) -> None:
    file = write(tmp_path / ARCHIVE, {MEMBER: rows(3000)}, method)
    content = bytearray(file.read_bytes())
    # By its place: the local header, its name, the content.
    at = int(place * content.rfind(b"PK\x01\x02")) if isinstance(place, float) else place
    content[at : at + 8] = struct.pack("<Q", 0x1122334455667788)
    file.write_bytes(content)
    with pytest.raises(SourceError):
        list(bounded_lines(zipped_text(file, TABLE)))


def test_a_checksum_that_differs_says_after_which_line(tmp_path: Path) -> None:
    file = write(tmp_path / ARCHIVE, {MEMBER: rows(3000)}, zipfile.ZIP_STORED)
    file.write_bytes(file.read_bytes().replace(b"P2999,Diptera", b"P2999,Dipteru", 1))
    with pytest.raises(SourceError, match=rf"{MEMBER}, after line 2\d\d\d: .*CRC-32"):
        list(bounded_lines(zipped_text(file, TABLE)))
