"""Checkpoints: training goes on from them to the bit, and which of them stay."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Adam, AdamW

from tests.training.checkpoints import (
    FailingDisk,
    begin,
    fail,
    keep,
    newest,
    newest_of,
    same,
    save_all,
    state,
)
from workloads.errors import DamagedError
from workloads.storage import Folder
from workloads.training.checkpoint import MANIFEST, PROGRESS, STATE, Checkpoint, CheckpointStore, training_tensors

FILES = (MANIFEST, PROGRESS, STATE)


@pytest.mark.parametrize(("kind", "constant"), [(AdamW, False), (Adam, True)])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    at: int, kind: type[Adam], constant: bool, tmp_path: Path
) -> None:
    undisturbed = begin(0, kind=kind, constant=constant)
    for number in range(at):
        undisturbed.step(number)
    store = CheckpointStore(Folder(tmp_path))
    keep(undisturbed, store, at)
    store.wait()
    resumed = begin(1, kind=kind, constant=constant)
    assert not same(resumed.model.state_dict(), undisturbed.model.state_dict())
    resumed.restore(newest(tmp_path))
    for number in range(at, 11):
        assert resumed.schedule.get_last_lr() == undisturbed.schedule.get_last_lr()
        undisturbed.step(number)
        resumed.step(number)
        assert same(resumed.model.state_dict(), undisturbed.model.state_dict())
    one, other = (training_tensors(t.model, t.optimizer, t.schedule) for t in (undisturbed, resumed))
    assert same(one[0], other[0])
    assert one[1] == other[1]


def test_a_checkpoint_can_be_restored_twice(tmp_path: Path) -> None:
    training, store = begin(0), CheckpointStore(Folder(tmp_path))
    training.step(0)
    keep(training, store, 1)
    found = store.newest(fail)
    assert found
    ends = []
    for seed in (1, 2):
        resumed = begin(seed)
        resumed.restore(found)
        resumed.step(1)
        ends.append(resumed.model.state_dict())
    assert same(*ends)


def test_a_checkpoint_is_safetensors_and_json(tmp_path: Path) -> None:
    training, store = begin(0), CheckpointStore(Folder(tmp_path))
    training.step(0)
    keep(training, store, 123)
    store.wait()
    folder = tmp_path / "step-00000123"
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    assert json.loads((folder / PROGRESS).read_text())["step"] == 123
    names = load((folder / STATE).read_bytes()).keys()
    assert {"model/norm.num_batches_tracked", "model/frozen.weight", "optimizer/exp_avg_sq/last.bias"} <= names
    assert not any("unused" in name or "frozen" in name for name in names if name.startswith("optimizer/"))


def changed(checkpoint: Checkpoint, **tensors: Tensor | None) -> Checkpoint:
    kept = {**checkpoint.tensors, **tensors}
    return replace(checkpoint, tensors={name: tensor for name, tensor in kept.items() if tensor is not None})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("model/last.weight", None, "lacks 1 tensor(s), model/last.weight first"),
        ("model/norm.running_var", None, "lacks 1 tensor(s), model/norm.running_var first"),
        ("optimizer/exp_avg/last.weight", None, "lacks 1 tensor(s), optimizer/exp_avg/last.weight first"),
        ("optimizer/step/last.bias", None, "lacks 1 tensor(s), optimizer/step/last.bias first"),
        ("model/more", torch.zeros(2), "would not be used, model/more first"),
        ("optimizer/exp_avg/unused.weight", torch.zeros(2, 2), "not be used, optimizer/exp_avg/unused.weight first"),
        ("model/last.weight", torch.zeros(4, 2), "model/last.weight is torch.float32 (4, 2) where"),
        ("optimizer/exp_avg_sq/last.bias", torch.zeros(3), "optimizer/exp_avg_sq/last.bias is torch.float32 (3,)"),
        ("model/last.bias", torch.zeros(2).double(), "model/last.bias is torch.float64 (2,) where torch.float32"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_changes_nothing(
    name: str, value: Tensor | None, reason: str, tmp_path: Path
) -> None:
    training, store = begin(0), CheckpointStore(Folder(tmp_path))
    training.step(0)
    keep(training, store, 1)
    found = store.newest(fail)
    assert found
    other = begin(1)
    before = {key: tensor.clone() for key, tensor in other.model.state_dict().items()}
    with pytest.raises(DamagedError) as caught:
        other.restore(changed(found, **{name: value}))
    assert reason in str(caught.value)
    assert "step-00000001/state.safetensors" in str(caught.value)
    assert same(before, other.model.state_dict())


def test_progress_of_another_version_is_refused(tmp_path: Path) -> None:
    training, store = begin(0), CheckpointStore(Folder(tmp_path))
    store.save(training_tensors(training.model, training.optimizer, training.schedule)[0], {"step": 1, "schedule": {}})
    with pytest.raises(DamagedError, match="learning_rates, optimizer_keys, without_state"):
        training.restore(newest_of(store))


def test_the_newest_few_checkpoints_stay(tmp_path: Path) -> None:
    for stay in (1, 2, 3):
        folder = tmp_path / str(stay)
        save_all(folder, 1, 2, 10, 200, keep=stay)
        assert Folder(folder).folders() == [f"step-{n:08d}" for n in (1, 2, 10, 200)[-stay:]]
        assert same(newest(folder).tensors, state(200))
    with pytest.raises(ValueError, match="at least one"):
        CheckpointStore(Folder(tmp_path), keep=0)


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(tmp_path / "none"))
    assert store.newest(fail) is None
    assert store.best() is None
    store.wait()


def test_the_best_weights_come_back_with_score_and_epoch(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(tmp_path))
    store.save(state(1), {"step": 1})
    for epoch, score in ((0, 0.1), (3, 1 / 3)):
        store.save_best(state(epoch), score, epoch)
    found = store.best()
    assert found
    assert same(found[0], state(3))
    assert found[1:] == (1 / 3, 3)
    assert same(newest(tmp_path).tensors, state(1))
    (tmp_path / "best-00000003" / STATE).unlink()
    with pytest.warns(UserWarning, match=r"best-00000003/state.safetensors: it is gone"):
        found = store.best()
    assert found
    assert found[1:] == (0.1, 0)


def test_a_checkpoint_without_a_manifest_is_not_taken_and_goes_with_the_next(tmp_path: Path) -> None:
    save_all(tmp_path, 1)
    (tmp_path / "step-00000002").mkdir()
    (tmp_path / "step-00000002" / STATE).write_bytes(save(state(2)))
    assert same(newest(tmp_path).tensors, state(1))
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000002"]
    save_all(tmp_path, 3)
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000003"]


def test_damaged_checkpoints_go_once_the_course_is_taken_up_again(tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2, 3, keep=3)
    for step in (2, 3):
        (tmp_path / f"step-{step:08d}" / PROGRESS).write_text("{}")
    store, warnings = CheckpointStore(Folder(tmp_path)), list[str]()
    assert store.newest(warnings.append) is not None
    assert [text.split(":")[0] for text in warnings] == [
        str(tmp_path / f"step-{step:08d}" / PROGRESS) for step in (3, 2)
    ]
    store.save(state(2), {"step": 2})
    store.wait()
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000002-2"]
    found = store.newest(fail)
    assert found
    assert same(found.tensors, state(2))


def test_damaged_checkpoints_do_not_count_among_those_that_stay(tmp_path: Path) -> None:
    save_all(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / STATE).write_bytes(b"")
    store = CheckpointStore(Folder(tmp_path))
    assert store.newest(list[str]().append)
    store.save(state(3), {"step": 3})
    store.wait()
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000003"]


def test_checkpoints_of_a_course_that_was_left_go(tmp_path: Path) -> None:
    save_all(tmp_path, 1, 5, 7, keep=3)
    save_all(tmp_path, 3, keep=3)
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000003"]


def test_an_interrupted_removal_leaves_nothing_that_looks_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(folder: Folder, name: str) -> None:
        (folder / name).remove(PROGRESS)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    save_all(tmp_path, 1)
    monkeypatch.setattr(Folder, "remove_folder", broken_off)
    with pytest.raises(OSError, match="step-00000001"):
        save_all(tmp_path, 2, keep=1)
    assert newest(tmp_path).progress == {"step": 2}


def test_a_step_saved_again_replaces_the_first_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, 5, keep=1)
    with pytest.raises(OSError, match="manifest"), FailingDisk(monkeypatch, 9, errno.EIO, stays=True):
        save_all(tmp_path, 5, keep=1)
    assert newest(tmp_path).progress == {"step": 5}
    save_all(tmp_path, 5, keep=1)
    assert Folder(tmp_path).folders() == ["step-00000005-2"]
    assert same(newest(tmp_path).tensors, state(5))
