"""Images by reference: files of a folder or at an address, and what a reference cannot name."""

import errno
import os
import pickle
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from workloads.data.files import zip_members
from workloads.data.files.image_index import ImageIndex, image_files
from workloads.data.files.image_source import ImageSource, hdf5_reference, zip_reference
from workloads.data.files.zip_members import Member
from workloads.errors import RecordError, SourceError


def test_a_file_is_read_and_everything_outside_the_folder_refused(tmp_path: Path, jpegs: list[bytes]) -> None:
    (tmp_path / "source" / "part1").mkdir(parents=True)
    (tmp_path / "source" / "part1" / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "secret.jpg").write_bytes(jpegs[1])
    (tmp_path / "source" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "source" / "in.jpg").symlink_to("part1/a.jpg")
    images = ImageSource(str(tmp_path / "source"))
    assert images.read("part1/a.jpg") == images.read("in.jpg") == images.read("part1/../part1/a.jpg") == jpegs[0]
    for name in ("../secret.jpg", "part1/../../secret.jpg", str(tmp_path / "secret.jpg"), "out.jpg"):
        with pytest.raises(RecordError, match="leads out"):
            images.read(name)


@pytest.mark.parametrize("name", ["a\0.jpg", "", "part1", "absent.jpg", "a.jpg/b.jpg", "x" * 300, "\ud800.jpg", "pipe"])
def test_a_name_that_is_no_file_is_a_bad_record(tmp_path: Path, name: str) -> None:
    (tmp_path / "part1").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordError, match="image"):
        ImageSource(str(tmp_path)).read(name)


def test_a_file_longer_than_64_mib_is_refused_without_being_read(tmp_path: Path) -> None:
    with (tmp_path / "long.jpg").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(RecordError, match="67,108,865 bytes"):
        ImageSource(str(tmp_path)).read("long.jpg")


def test_an_address_holds_plain_files(tmp_path: Path, jpegs: list[bytes]) -> None:
    (tmp_path / "part1").mkdir()
    (tmp_path / "part1" / "a.jpg").write_bytes(jpegs[0])
    images = ImageSource(f"file://{tmp_path}")
    assert images.read("part1/a.jpg") == jpegs[0]
    for name in ("../a.jpg", "/etc/hostname", "absent.jpg", "zip:a.zip#0+1:a", "hdf5:a.h5#x#0", "a\0"):
        with pytest.raises(RecordError):
            images.read(name)


def test_a_source_without_a_folder_and_a_reference_of_another_kind_are_refused(tmp_path: Path) -> None:
    for reference in ("synthetic:7", "zip:a.zip#x+1:a", "hdf5:a.h5", "zip:"):
        with pytest.raises(RecordError, match="image reference"):
            ImageSource(str(tmp_path)).read(reference)
    with pytest.raises(RecordError, match="local folder"):
        ImageSource("").read("a.jpg")


def test_it_pickles_by_name_with_archives_open_and_keeps_at_most_eight_of_them(
    tmp_path: Path, jpegs: list[bytes]
) -> None:
    references = []
    for number in range(12):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.jpg", jpegs[number % 5])
        references += [zip_reference(path.name, member) for member in zip_members.zip_members(path)]
    before = len(os.listdir("/proc/self/fd"))
    with ImageSource(str(tmp_path)) as images:
        for number in (*range(12), *range(12)):
            assert images.read(references[number]) == jpegs[number % 5]
        assert len(os.listdir("/proc/self/fd")) == before + 8
        assert len(pickle.dumps(images)) < 300
        assert pickle.loads(pickle.dumps(images)).read(references[3]) == jpegs[3]
    assert len(os.listdir("/proc/self/fd")) == before
    assert images.read(references[0]) == jpegs[0]
    images.close()


def test_names_with_a_number_sign_cannot_be_referred_to(tmp_path: Path) -> None:
    for make in (lambda: zip_reference("a#1.zip", Member("a", 0, 1)), lambda: hdf5_reference("a.h5", "images/a#1")):
        with pytest.raises(SourceError, match="'#'"):
            make()


@pytest.fixture
def three_kinds(tmp_path: Path, jpegs: list[bytes]) -> dict[str, str]:
    """References of one image as a file, a member of an archive and a dataset, all in one folder."""
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", jpegs[0])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["a"] = np.frombuffer(jpegs[0], np.uint8)
        file["rows/image"] = np.frombuffer(jpegs[0], np.uint8)[None]
        file["rows/image_mask"] = np.array([len(jpegs[0])])
    [member] = zip_members.zip_members(tmp_path / "a.zip")
    return {
        "a.jpg": "a.jpg",
        "a.zip": zip_reference("a.zip", member),
        "a.hdf5": hdf5_reference("a.hdf5", "a"),
        "rows": hdf5_reference("a.hdf5", "rows/image", 0),
    }


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", ["a.jpg", "a.zip", "a.hdf5"])
def test_too_many_open_files_are_no_fault_of_the_record(
    kind: str, tmp_path: Path, three_kinds: dict[str, str], jpegs: list[bytes]
) -> None:
    with ImageSource(str(tmp_path)) as images:
        with no_file_can_be_opened(), pytest.raises(OSError, match="Too many open files"):
            images.read(three_kinds[kind])
        assert images.read(three_kinds[kind]) == jpegs[0]


@pytest.mark.parametrize(("kind", "first"), [("a.zip", "a.zip"), ("a.hdf5", "a.hdf5"), ("a.hdf5", "rows")])
def test_a_disk_that_fails_under_an_open_archive_is_no_fault_of_the_record(
    kind: str, first: str, tmp_path: Path, three_kinds: dict[str, str], jpegs: list[bytes]
) -> None:
    with ImageSource(str(tmp_path)) as images:
        assert images.read(three_kinds[first]) == jpegs[0]
        opened = [int(name) for name in os.listdir("/proc/self/fd") if links_to(name, tmp_path / kind)]
        unreadable = os.open("/proc/self/mem", os.O_RDONLY)  # its first pages are mapped nowhere, so reading gives EIO
        for file in opened:
            os.dup2(unreadable, file)
        os.close(unreadable)
        assert opened
        with pytest.raises(OSError, match="Input/output error"):
            images.read(three_kinds[kind])
        images.close()
        assert images.read(three_kinds[kind]) == jpegs[0]


def links_to(descriptor: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == str(path.resolve())
    except FileNotFoundError:
        return False


FAILURES = (errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EACCES, errno.EMFILE)
FACTS = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


@pytest.mark.parametrize("step", ["stat", "read_bytes"])
@pytest.mark.parametrize("number", [*FAILURES, *FACTS])
def test_only_what_the_system_says_of_the_file_is_a_fault_of_the_record(
    number: int, step: str, tmp_path: Path, three_kinds: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(RecordError if number in FACTS else OSError, match=os.strerror(number)):
        ImageSource(str(tmp_path)).read("a.jpg")


def test_a_link_to_itself_is_a_bad_record(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(RecordError, match="symbolic links"):
        ImageSource(str(tmp_path)).read("a.jpg")


def test_an_index_of_images_finds_what_came_first_and_nothing_else() -> None:
    images = [("a.zip" if n % 2 else None, Member(f"x/{n % 7}/{n}.jpg", n, 9)) for n in range(1000)]
    index = ImageIndex([*images, ("late.zip", Member("x/5.jpg", 1, 1))], lambda name: name.rpartition("/")[2])
    assert (len(index), index.num_repeated) == (1000, 1)
    assert index.reference("4.jpg") == "x/4/4.jpg"
    assert index.reference("5.jpg") == "zip:a.zip#5+9:x/5/5.jpg"
    assert index.reference("1000.jpg") is None
    assert ImageIndex([], str).reference("a.jpg") is None


def test_a_key_may_be_any_part_of_a_name() -> None:
    names = ["ab/ab.jpg", "p/p.jpg", "abab.PNG"]
    index = ImageIndex([(None, Member(name, 0, 0)) for name in names], lambda name: Path(name).stem)
    assert [index.reference(key) for key in ("ab", "p", "abab", "jpg")] == [*names, None]


def test_image_files_are_listed_in_order_and_not_below_a_depth_or_in_hidden_folders(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/2.png", "a/1.jpeg", "a/b/c.jpg", ".trash/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(image_files(tmp_path)) == ["b.JPG", "a/1.jpeg", "a/2.png", "a/b/c.jpg"]
    assert list(image_files(tmp_path, depth=1)) == ["b.JPG", "a/1.jpeg", "a/2.png"]
