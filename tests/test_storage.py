"""Folders in which nothing is ever seen half-written."""

import gzip
import hashlib
import os
import pickle
import platform
from pathlib import Path

import pyarrow as pa
import pytest

from workloads.disk_errors import named
from workloads.errors import DamagedError, SecretInAddressError
from workloads.storage import Folder, masked

TABLE = pa.table({"id": list(range(5000)), "name": [f"specimen {number * 7919 % 5003}" for number in range(5000)]})


def write_under_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails midway: the disk takes no more than the first bytes of a file."""

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, 3)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Folder(folder).write("a.json", b"new content")
    monkeypatch.undo()


def addresses(path: Path) -> list[Folder]:
    return [Folder(path), Folder(str(path)), Folder(f"file://{path}"), Folder(f"file://{path}/")]


def test_a_write_that_fails_midway_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder(tmp_path).write("a.json", b"old")
    write_under_a_limit(tmp_path, monkeypatch)
    assert Folder(tmp_path).read("a.json") == b"old"
    assert Folder(tmp_path).files() == ["a.json"]


def test_a_first_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_under_a_limit(tmp_path, monkeypatch)
    assert Folder(tmp_path).files() == []


def test_a_value_that_json_cannot_hold_leaves_the_old_content(tmp_path: Path) -> None:
    Folder(tmp_path).write_json("a.json", {"old": 1})
    with pytest.raises(TypeError):
        Folder(tmp_path).write_json("a.json", {"new": object()})
    assert Folder(tmp_path).read_json("a.json") == {"old": 1}


def test_a_write_replaces_and_makes_the_folders_it_needs(tmp_path: Path) -> None:
    folder = Folder(tmp_path) / "a" / "b"
    folder.write("c.txt", b"a longer content")
    folder.write("c.txt", b"short")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"short"


def test_a_file_address_works_like_a_path(tmp_path: Path) -> None:
    for number, folder in enumerate(addresses(tmp_path)):
        assert folder.is_local
        assert folder.path == str(tmp_path)
        (folder / "inner").write(f"{number}.txt", b"content")
    for folder in addresses(tmp_path):
        inner = folder / "inner"
        assert inner.files() == ["0.txt", "1.txt", "2.txt", "3.txt"]
        assert folder.folders() == ["inner"]
        assert inner.has("0.txt")
        assert inner.read("3.txt") == b"content"
        assert str(inner).endswith(f"{tmp_path}/inner")


def test_files_and_folders_are_told_apart_and_sorted(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"folder-{name}").mkdir()
        (tmp_path / f"file-{name}").write_bytes(b"")
    folder = Folder(tmp_path)
    assert folder.files() == ["file-a", "file-b"]
    assert folder.folders() == ["folder-a", "folder-b"]
    assert not folder.has("folder-a")
    assert not folder.has("none")


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "none")
    assert folder.files() == folder.folders() == []
    assert not folder.has("a")
    assert not (tmp_path / "none").exists()


def test_removing_removes_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a", b"1")
    folder.write("b", b"2")
    (folder / "inner" / "deep").write("c", b"3")
    for _ in range(2):  # the second time there is nothing to remove
        folder.remove("a")
        folder.remove_folder("inner")
        assert (folder.files(), folder.folders()) == (["b"], [])


def test_json_comes_back_and_is_written_the_same_every_time(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"é": True}}
    Folder(tmp_path).write_json("a.json", value)
    Folder(tmp_path).write_json("b.json", dict(reversed(value.items())))
    assert Folder(tmp_path).read_json("a.json") == value
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"not json"])
def test_damaged_json_is_said_to_be_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.json: not JSON"):
        Folder(tmp_path).read_json("a.json")


def test_a_table_comes_back_whole_or_by_column(tmp_path: Path) -> None:
    for folder in addresses(tmp_path):
        folder.write_table("t.parquet", TABLE)
        assert folder.read_table("t.parquet").equals(TABLE)
        assert folder.read_table("t.parquet", ["name"]).equals(TABLE.select(["name"]))


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = Folder(tmp_path) / "split=no_split"
    folder.write_table("t.parquet", TABLE)
    assert folder.read_table("t.parquet").column_names == ["id", "name"]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "zeros"])
def test_a_damaged_table_is_said_to_be_damaged(damage: str, tmp_path: Path) -> None:
    Folder(tmp_path).write_table("t.parquet", TABLE)
    whole = (tmp_path / "t.parquet").read_bytes()
    middle = len(whole) // 2
    damaged = {
        "empty": b"",
        "text": b"id,name\n1,a\n",
        "cut": whole[:-20],
        "zeros": whole[:middle] + bytes(64) + whole[middle + 64 :],
    }
    (tmp_path / "t.parquet").write_bytes(damaged[damage])
    with pytest.raises(DamagedError, match=r"t\.parquet"):
        Folder(tmp_path).read_table("t.parquet")


def test_a_missing_file_is_missing_and_not_damaged(tmp_path: Path) -> None:
    for read in (Folder(tmp_path).read, Folder(tmp_path).read_json, Folder(tmp_path).read_table):
        with pytest.raises(FileNotFoundError):
            read("none")


def test_a_digest_is_that_of_the_bytes_as_they_lie_there(tmp_path: Path) -> None:
    content = gzip.compress(b"insects" * 100_000)
    Folder(tmp_path).write("a.gz", content)  # which a reader of the storage would unpack
    assert Folder(tmp_path).digest("a.gz") == hashlib.sha256(content).hexdigest()


def test_a_folder_is_walked_but_for_what_is_skipped_at_its_top(tmp_path: Path) -> None:
    for name in ("a.json", "parts/b.json", "parts/skipped/c.json", "skipped/d.json"):
        Folder(tmp_path).write(name, b"")
    assert Folder(f"file://{tmp_path}/").walk(["skipped"]) == ["a.json", "parts/b.json", "parts/skipped/c.json"]
    assert Folder(tmp_path / "nowhere").walk() == []


def test_a_folder_may_be_given_from_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(Folder("~/runs/")) == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://AKIA:abc@bucket/runs", "s3://…@bucket/runs"),
        ("s3://AKIA:ab/c@bucket/runs", "s3://…@bucket/runs"),
        ("s3://AKIA:9abc@bucket/runs?region=us-east-1", "s3://…@bucket/runs?region=us-east-1"),
        ("abfs://account:abc==@container/runs", "abfs://…@container/runs"),
        ("s3://bucket/runs?access_key=abc&region=us-east-1", "s3://bucket/runs?access_key=…&region=us-east-1"),
        ("https://store.example.org/runs?sv=1&sig=abc", "https://store.example.org/runs?sv=1&sig=…"),
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(address: str, shown: str) -> None:
    with pytest.raises(SecretInAddressError) as refused:
        Folder(address)
    assert masked(address) == shown
    assert masked(shown) == shown
    assert str(refused.value).startswith(f"{shown}: the address holds a secret")


@pytest.mark.parametrize(
    "word",
    ["gs://anonymous@bucket/a", "s3://bucket/a@b", "s3://bucket/a:b@c", "hdfs://host:8020/a@b", "a=b?key=c", "7"],
)
def test_what_only_looks_like_a_secret_is_shown(word: str) -> None:
    assert masked(word) == word


def test_an_error_of_a_store_names_the_address_and_the_host_after_it_crossed_processes() -> None:
    for error in (OSError("AWS Error ACCESS_DENIED"), OSError(5, "Input/output error"), OSError()):
        crossed = pickle.loads(pickle.dumps(named(error, "s3://insects/data")))
        assert "s3://insects/data" in str(crossed)
        assert platform.node() in str(crossed)
        assert "None" not in str(crossed)
        assert str(named(crossed, "elsewhere")) == str(crossed)
