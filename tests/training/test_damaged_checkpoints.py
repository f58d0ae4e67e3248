"""Checkpoints on a disk that fails: nothing half-written is taken, and what is damaged is named."""

import errno
import os
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.training.checkpoints import (
    FailingDisk,
    newest,
    newest_of,
    same,
    save_all,
    state,
)
from workloads.storage import Folder
from workloads.training.checkpoint import MANIFEST, PROGRESS, STATE, CheckpointStore

FILES = (MANIFEST, PROGRESS, STATE)


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize(
    ("number", "stays"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["disk full", "passing fault"]
)
def test_whatever_operation_fails_the_last_good_checkpoint_is_there(
    number: int, stays: bool, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in count(1):
        folder = tmp_path / str(at)
        save_all(folder, 1, 2, keep=kept)
        store, whole, failures = CheckpointStore(Folder(folder), kept), 2, list[OSError]()
        with FailingDisk(monkeypatch, at, number, stays) as disk:
            for step in (3, 4):
                store.save(state(step), {"step": step})
                try:
                    store.wait()
                    whole = step
                except OSError as error:
                    failures.append(error)
        found = newest(folder)
        assert found.progress["step"] >= whole
        assert same(found.tensors, state(found.progress["step"]))
        for failure in failures:
            assert failure.errno == number
            assert str(folder) in str(failure.filename)
        store.save(state(5), {"step": 5})
        assert same(newest_of(store).tensors, state(5))
        assert len(Folder(folder).folders()) == kept
        assert not list(folder.rglob("*.tmp"))
        if disk.calls < at:
            assert not failures
            break
        assert failures or not stays or at > 1
    assert at > 20  # three files of three operations and a removal, twice


def test_a_checkpoint_being_written_when_the_process_dies_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, 1)
    # No operation after the failing one happens, so what is half-written stays, as after a SIGKILL.
    for at in range(1, 12):
        with FailingDisk(monkeypatch, at, errno.EIO, stays=True), pytest.raises(OSError, match="step-00000002"):
            save_all(tmp_path, 2)
        assert same(newest(tmp_path).tensors, state(1))
    assert list(tmp_path.rglob("*.tmp"))
    save_all(tmp_path, 2)
    assert sorted(file.name for file in (tmp_path / "step-00000002").iterdir()) == sorted(FILES)


def damage(content: bytes, draw: random.Random) -> bytes:
    """One bit turned round, or the end cut off, or something behind it."""
    place = draw.randrange(len(content))
    kind = draw.random()
    if kind < 0.6:
        return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
    return content[:place] if kind < 0.9 else content + content[:1]


def test_every_changed_bit_and_every_cut_is_found_and_the_checkpoint_before_is_used(tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    draw = random.Random(0)
    for trial in range(60):  # `make test-faults`: 600
        name = FILES[trial % 3]
        file = tmp_path / "step-00000002" / name
        content = file.read_bytes()
        file.write_bytes(damage(content, draw))
        warnings = list[str]()
        assert same(newest(tmp_path, warnings.append).tensors, state(1))
        assert len(warnings) == 1
        assert warnings[0].startswith(str(tmp_path / "step-00000002"))
        # Where a manifest states another size or hash, the file that does not agree with it is named.
        assert name == MANIFEST or str(file) in warnings[0]
        file.write_bytes(content)
    assert same(newest(tmp_path).tensors, state(2))


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_its_last_byte_is_damaged(name: str, tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    file = tmp_path / "step-00000002" / name
    file.write_bytes(file.read_bytes()[:-1])
    warnings = list[str]()
    assert same(newest(tmp_path, warnings.append).tensors, state(1))
    assert [text.split(":")[0] for text in warnings] == [str(file)]


@pytest.mark.parametrize("name", FILES)
def test_a_lost_file_is_named_and_without_a_manifest_nothing_is_said(name: str, tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / name).unlink()
    warnings = list[str]()
    assert same(newest(tmp_path, warnings.append).tensors, state(1))
    assert warnings == (
        []
        if name == MANIFEST
        else [f"{tmp_path}/step-00000002/{name}: it is gone. This checkpoint is damaged and is skipped."]
    )


def test_if_all_checkpoints_are_damaged_there_is_none(tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    for file in tmp_path.rglob(STATE):
        file.write_bytes(b"")
    warnings = list[str]()
    assert CheckpointStore(Folder(tmp_path)).newest(warnings.append) is None
    assert len(warnings) == 2


def test_a_bad_sector_is_a_damaged_file_and_a_store_out_of_reach_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, 1, 2)
    real = Folder.read

    def failing(number: int) -> Callable[[Folder, str], bytes]:
        def read(folder: Folder, name: str) -> bytes:
            if "step-00000002" in str(folder) and name == STATE:
                raise OSError(number, os.strerror(number))
            return real(folder, name)

        return read

    monkeypatch.setattr(Folder, "read", failing(errno.EIO))
    warnings = list[str]()
    assert same(newest(tmp_path, warnings.append).tensors, state(1))
    assert "Input/output error" in warnings[0]
    monkeypatch.setattr(Folder, "read", failing(errno.ETIMEDOUT))
    with pytest.raises(OSError, match=r"step-00000002/state\.safetensors") as caught:
        newest(tmp_path)
    assert caught.value.errno == errno.ETIMEDOUT
