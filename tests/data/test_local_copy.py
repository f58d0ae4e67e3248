"""Local copies of shards: equal to the shards, made once, and shared."""

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from tests.processes import left_behind
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.local_copy import mapped
from workloads.errors import MissingPathError, UsageError
from workloads.storage import cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.arrow"))


def test_a_copy_holds_what_the_shards_hold(tiny_dataset: PreparedDataset, cache: Path) -> None:
    splits = ["no_split", "train_seen", "val_seen"]
    opened, loaded = tiny_dataset.open(splits), tiny_dataset.load(splits)
    for name in ("image", "barcode", "dna_ids", "authors_dna_ids", "dna_features", "text"):
        assert opened[name].to_pylist() == loaded[name].to_pylist()
    assert sorted(path.stem for path in files(cache)) == sorted(splits)
    assert not list(cache.rglob("*.tmp"))


def test_a_copy_is_made_once(tiny_dataset: PreparedDataset, cache: Path) -> None:
    tiny_dataset.open(["no_split"])
    [first] = files(cache)
    before = first.stat().st_mtime_ns
    tiny_dataset.open(["no_split"])
    assert first.stat().st_mtime_ns == before


def test_a_data_set_made_anew_has_a_copy_of_its_own(tiny_dataset: PreparedDataset, cache: Path) -> None:
    mapped(tiny_dataset.folder, "one", "no_split")
    mapped(tiny_dataset.folder, "other", "no_split")
    assert len(files(cache)) == 2


def _open(address: str) -> int:
    from workloads.storage import Folder

    return len(mapped(Folder(address), "f", "no_split"))


def test_processes_that_start_at_once_share_one_copy(tiny_dataset: PreparedDataset, cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        counts = pool.map(_open, [str(tiny_dataset.folder)] * 6)
    assert set(counts) == {tiny_dataset.facts.num_specimens["no_split"]}
    assert len(files(cache)) == 1


def test_a_split_without_specimens_is_missing(tiny_dataset: PreparedDataset, cache: Path) -> None:
    assert len(mapped(tiny_dataset.folder, "f", "no_such_split")) == 0
    with pytest.raises(MissingPathError, match="no_such_split"):
        tiny_dataset.open(["no_such_split"])


def test_the_cache_can_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIBD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/clibd")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path(os.path.expanduser("~/.cache/clibd"))


@pytest.mark.parametrize("damage", ["cut", "emptied"])
def test_a_damaged_copy_is_made_again(damage: str, tiny_dataset: PreparedDataset, cache: Path) -> None:
    before = tiny_dataset.open(["no_split"])
    whole = before.to_pylist()
    del before
    [copy] = files(cache)
    copy.write_bytes(copy.read_bytes()[:1000] if damage == "cut" else b"")
    assert tiny_dataset.open(["no_split"]).to_pylist() == whole


def test_what_a_killed_process_left_is_removed(tiny_dataset: PreparedDataset, cache: Path) -> None:
    tiny_dataset.open(["no_split"])
    [copy] = files(cache)
    copy.unlink()
    left_behind(copy.with_name("no_split.arrow"))
    tiny_dataset.open(["no_split"])
    assert files(cache) == [copy]
    assert not list(cache.rglob("*.tmp"))


def test_a_disk_that_is_too_small_is_said_beforehand(
    tiny_dataset: PreparedDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UsageError, match="CLIBD_CACHE"):
        tiny_dataset.open(["no_split"])
    assert not list(cache.rglob("*.tmp"))
