"""The walk over zip archives and their members: honest ones are read, crafted ones refused."""

import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.files import zip_members
from workloads.data.files.image_source import ImageSource, zip_reference
from workloads.data.files.zip_members import Member, read_member
from workloads.errors import MissingPathError, RecordError, SourceError


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def listed(path: Path) -> dict[str, Member]:
    return {member.name: member for member in zip_members.zip_members(path)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_listed_as_the_standard_library_does_and_read_in_place(
    tmp_path: Path, jpegs: list[bytes], method: int
) -> None:
    members = {f"bioscan/images/part{n}/Käfer {n}.jpg": content for n, content in enumerate(jpegs)} | {"folder/": b""}
    path = make_zip(tmp_path / "a.zip", members, method)
    with zipfile.ZipFile(path) as archive:
        expected = [(i.filename, i.header_offset, i.compress_size) for i in archive.infolist() if not i.is_dir()]
    assert [tuple(member) for member in zip_members.zip_members(path)] == expected
    images = ImageSource(str(tmp_path))
    for name, member in listed(path).items():
        assert images.read(zip_reference("a.zip", member)) == members[name]
    images.close()
    assert sorted(os.listdir(tmp_path)) == ["a.zip"]


class _Unseekable(io.RawIOBase):
    """A stream: the archive's writer cannot go back to fill in sizes, and writes them behind each member."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]  # narrower than RawIOBase, and all that is needed
        return self._file.write(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def test_archives_written_as_a_stream_with_zip64_fields_or_behind_other_bytes_are_read(
    tmp_path: Path, jpegs: list[bytes]
) -> None:
    with _Unseekable(tmp_path / "stream.zip") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", jpegs[0])
    with zipfile.ZipFile(tmp_path / "wide.zip", "w") as archive, archive.open("a.jpg", "w", force_zip64=True) as member:
        member.write(jpegs[0])
    plain = make_zip(tmp_path / "plain.zip", {"a.jpg": jpegs[0]}).read_bytes()
    (tmp_path / "behind.zip").write_bytes(b"#!/bin/sh\n" + plain)
    (tmp_path / "noted.zip").write_bytes(plain[:-2] + struct.pack("<H", 5) + b"a zip")
    images = ImageSource(str(tmp_path))
    for name in ("stream.zip", "wide.zip", "behind.zip", "noted.zip"):
        assert images.read(zip_reference(name, listed(tmp_path / name)["a.jpg"])) == jpegs[0]
    images.close()


def test_more_members_than_16_bits_count_are_listed_by_the_zip64_directory(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65_600):
            archive.writestr(zipfile.ZipInfo(f"part{number // 1000}/{number}.jpg"), b"x")
    assert b"PK\x06\x06" in path.read_bytes()
    members = list(zip_members.zip_members(path))
    assert len(members) == 65_600
    assert members[-1].name == "part65/65599.jpg"


def test_an_offset_beyond_32_bits_is_read_from_the_zip64_field(tmp_path: Path, jpegs: list[bytes]) -> None:
    path = tmp_path / "far.zip"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)  # a hole: it takes no space on the disk
        file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("a.jpg", jpegs[0])
    member = listed(path)["a.jpg"]
    assert member.offset == 5 * 2**30
    with ImageSource(str(tmp_path)) as images:
        assert images.read(zip_reference("far.zip", member)) == jpegs[0]


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "a/../../b.jpg",
        "/etc/a.jpg",
        "C:/a.jpg",
        "c:a.jpg",
        "a\\..\\b.jpg",
        "a\x01.jpg",
        "..",
        "a\u202e.jpg",
    ],
)
def test_an_archive_with_a_dangerous_name_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    path = make_zip(tmp_path / "inner" / "a.zip", {"fine.jpg": b"x"})
    # Names of equal length are swapped in the bytes, because zipfile mends some of them when writing.
    stand_in = ("n" * 30)[: len(name.encode())]
    content = make_zip(path, {"fine.jpg": b"x", stand_in: b"x"}).read_bytes()
    flags = 0x800 if not name.isascii() else 0
    content = content.replace(stand_in.encode(), name.encode())
    at = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: at + 8] + struct.pack("<H", flags) + content[at + 10 :])
    with pytest.raises(SourceError, match="leads out"):
        list(zip_members.zip_members(path))
    assert os.listdir(tmp_path) == ["inner"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_an_archive_with_a_link_or_a_device_is_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("a.jpg")
    entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(SourceError, match="a link or a device"):
        list(zip_members.zip_members(tmp_path / "a.zip"))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"one")
        archive.writestr("b.jpg", b"between")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.jpg", b"two")
    with pytest.raises(SourceError, match="two members"):
        list(zip_members.zip_members(tmp_path / "a.zip"))


def test_what_is_no_archive_or_only_a_part_of_one_is_refused(tmp_path: Path, jpegs: list[bytes]) -> None:
    content = make_zip(tmp_path / "a.zip", {f"{n}.jpg": c for n, c in enumerate(jpegs)}).read_bytes()
    (tmp_path / "b.zip").write_bytes(b"")
    for broken in (content[:-30], content[1000:], b"no archive", content[:-10] + b"\xff\xff\xff\xff" + content[-6:]):
        (tmp_path / "b.zip").write_bytes(broken)
        with pytest.raises(SourceError, match="zip archive"):
            list(zip_members.zip_members(tmp_path / "b.zip"))
    with pytest.raises(MissingPathError):
        list(zip_members.zip_members(tmp_path / "absent.zip"))


def test_a_bomb_is_refused_by_ratio_and_by_size_with_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    bomb = bytes(100 * 2**20)
    path = make_zip(tmp_path / "a.zip", {"a.jpg": bomb, "b.jpg": bytes(2**21)}, zipfile.ZIP_DEFLATED)
    del bomb
    images = ImageSource(str(tmp_path))
    members = listed(path)
    assert members["a.jpg"].size < 110_000  # 1000:1
    tracemalloc.start()
    for member in members.values():
        with pytest.raises(RecordError, match="inflates to"):
            images.read(zip_reference("a.zip", member))
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()
    images.close()


def test_a_member_that_claims_too_much_is_not_even_read(tmp_path: Path, jpegs: list[bytes]) -> None:
    make_zip(tmp_path / "a.zip", {"a.jpg": jpegs[0]})
    with pytest.raises(RecordError, match="67,108,864 "):
        ImageSource(str(tmp_path)).read("zip:a.zip#0+999999999999:a.jpg")


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"PKxx", "no member at byte 0"),
        (6, b"\x01\x00", "encrypted"),
        (8, b"\x0c\x00", "method 12"),  # bzip2
        (8, b"\x08\x00", "damaged"),  # stored bytes said to be deflated
        (14, b"\0\0\0\0", "checksum"),
        (18, b"\x01\0\0\0", "by its header"),
        (30, b"b.jpg", "another member"),
        (60, b"\xff\xfe\xfd", "checksum"),
    ],
)
def test_a_member_that_is_not_what_its_header_says_is_a_bad_record(
    tmp_path: Path, jpegs: list[bytes], at: int, value: bytes, reason: str
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.jpg": jpegs[0]})
    reference = zip_reference("a.zip", listed(path)["a.jpg"])
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(RecordError, match=reason), ImageSource(str(tmp_path)) as images:
        images.read(reference)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_mutated_archive_gives_the_right_bytes_or_a_typed_error(data: st.DataObject) -> None:
    contents = {"part1/a.jpg": bytes(range(200)), "part1/b.jpg": b"xyz" * 50}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    mutated = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    file = os.memfd_create("archive")
    try:
        os.write(
            file, bytes(mutated[: data.draw(st.integers(0, len(mutated)))] if data.draw(st.booleans()) else mutated)
        )
        for member in zip_members.zip_members(Path(f"/proc/self/fd/{file}")):
            try:
                content = read_member(file, member)
            except RecordError:
                continue
            assert zlib.crc32(content) in {zlib.crc32(known) for known in contents.values()}
    except SourceError:
        pass
    finally:
        os.close(file)
