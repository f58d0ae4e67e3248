"""Checkpoints: training goes on to the bit, nothing half-written is taken, and what is damaged is named."""

import errno
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from workloads.errors import DamagedError
from workloads.storage import Folder
from workloads.training.checkpoint import (
    MODEL,
    PROGRESS,
    STATE,
    Checkpoint,
    CheckpointStore,
    load_weights,
    restore_training,
    save_weights,
    training_tensors,
)
from workloads.training.host_copy import HostCopy
from workloads.training.sealed_folder import MANIFEST

FILES = (MANIFEST, PROGRESS, STATE)


class Net(nn.Module):
    """Weights of two ranks, buffers of two types, a frozen layer, and one that no gradient reaches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.frozen = nn.Linear(width, width).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.last = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.frozen(self.norm(self.first(x))).relu())
        return result


@dataclass
class Training:
    """A small model in the middle of its training."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler

    def step(self, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        self.optimizer.zero_grad(set_to_none=True)
        self.model(torch.randn(5, 3, generator=generator)).square().sum().backward()
        self.optimizer.step()
        self.schedule.step()

    def restore(self, checkpoint: Checkpoint) -> None:
        restore_training(checkpoint, self.model, self.optimizer, self.schedule)


def begin(seed: int, width: int = 4, kind: type[Adam] = AdamW, constant: bool = False) -> Training:
    torch.manual_seed(seed)
    model = Net(width)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = kind(groups, lr=1e-2, fused=True)
    if constant:
        return Training(model, optimizer, LambdaLR(optimizer, lambda step: 1.0))
    return Training(model, optimizer, OneCycleLR(optimizer, max_lr=1e-2, total_steps=12, cycle_momentum=False))


def keep(training: Training, store: CheckpointStore, step: int) -> None:
    tensors, progress = training_tensors(training.model, training.optimizer, training.schedule)
    store.save(tensors, {**progress, "step": step})


def fail(message: str) -> None:
    raise AssertionError(f"no warning was expected: {message}")


def newest(folder: Path | Folder, warn: Callable[[str], None] = fail) -> Checkpoint:
    found = CheckpointStore(folder if isinstance(folder, Folder) else Folder(folder)).newest(warn)
    assert found is not None
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


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
        ("model/last.weight", None, "'model/last.weight' is missing"),
        ("model/norm.running_var", None, "'model/norm.running_var' is missing"),
        ("optimizer/exp_avg/last.weight", None, "'optimizer/exp_avg/last.weight' is missing"),
        ("optimizer/step/last.bias", None, "'optimizer/step/last.bias' is missing"),
        ("model/more", torch.zeros(2), "'model/more' is of no use"),
        ("optimizer/exp_avg/unused.weight", torch.zeros(2, 2), "'optimizer/exp_avg/unused.weight' is of no use"),
        ("model/last.weight", torch.zeros(4, 2), "'model/last.weight' is torch.float32 (4, 2) where"),
        ("optimizer/exp_avg_sq/last.bias", torch.zeros(3), "'optimizer/exp_avg_sq/last.bias' is torch.float32 (3,)"),
        ("model/last.bias", torch.zeros(2).double(), "'model/last.bias' is torch.float64 (2,) where torch.float32"),
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
    with pytest.raises(DamagedError, match="it lacks learning_rates, optimizer_keys, without_state"):
        training.restore(newest_of(store))


def newest_of(store: CheckpointStore) -> Checkpoint:
    found = store.newest(fail)
    assert found
    return found


def state(step: int) -> dict[str, Tensor]:
    """Tensors that only this step has."""
    generator = torch.Generator().manual_seed(step)
    return {"w": torch.randn(7, 5, generator=generator), "n": torch.tensor(step)}


def save_all(folder: Path | Folder, *steps: int, keep: int = 2) -> None:
    store = CheckpointStore(folder if isinstance(folder, Folder) else Folder(folder), keep)
    for step in steps:
        store.save(state(step), {"step": step})
    store.wait()


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
    store.clear()
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


def test_a_finished_run_keeps_no_checkpoints(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(tmp_path))
    (tmp_path / "step-00000001").mkdir()
    (tmp_path / "notes").mkdir()
    store.save(state(2), {"step": 2})
    store.save_best(state(2), 0.5, 1)
    store.clear()
    assert Folder(tmp_path).folders() == ["notes"]
    assert store.newest(fail) is None


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
        CheckpointStore(Folder(tmp_path)).clear()
    assert CheckpointStore(Folder(tmp_path)).newest(fail) is None


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


class FailingDisk:
    """The real disk, of which the k-th operation that changes something fails, and perhaps all after it."""

    OPERATIONS = (
        (Path, "write_bytes"),
        (Path, "unlink"),
        (os, "fsync"),
        (os, "replace"),
        (Folder, "remove"),
        (Folder, "remove_folder"),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, errno: int, stays: bool) -> None:
        self.calls, self._at, self._errno, self._stays = 0, at, errno, stays
        self._patch = monkeypatch

    def __enter__(self) -> "FailingDisk":
        for owner, name in self.OPERATIONS:
            self._patch.setattr(owner, name, self._wrapped(name, getattr(owner, name)))
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.undo()

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*given: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls != self._at and not (self._stays and self.calls > self._at):
                return real(*given, **options)
            if name == "write_bytes":
                real(given[0], bytes(given[1])[: len(given[1]) // 2])
            raise OSError(self._errno, os.strerror(self._errno))

        return operation


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
    for trial in range(600):
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


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is written before it is set."""
    opened, real = threading.Event(), Folder.write

    def write(folder: Folder, name: str, content: bytes) -> None:
        assert opened.wait(30)
        real(folder, name, content)

    monkeypatch.setattr(Folder, "write", write)
    yield opened
    opened.set()


def test_what_changes_after_saving_does_not_change_what_is_saved(gate: threading.Event, tmp_path: Path) -> None:
    store, tensors, progress = CheckpointStore(Folder(tmp_path)), state(1), {"step": 1, "losses": [0.5]}
    store.save(tensors, progress)
    assert not (tmp_path / "step-00000001").exists()
    tensors["w"].add_(1)
    tensors["n"].zero_()
    progress["losses"].append(7.0)  # type: ignore[attr-defined]
    gate.set()
    found = newest_of(store)
    assert same(found.tensors, state(1))
    assert found.progress == {"step": 1, "losses": [0.5]}


def test_a_second_save_waits_for_the_first(gate: threading.Event, tmp_path: Path) -> None:
    store = CheckpointStore(Folder(tmp_path))
    store.save(state(1), {"step": 1})
    second = threading.Thread(target=store.save, args=(state(2), {"step": 2}))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    gate.set()
    second.join(30)
    store.wait()
    assert Folder(tmp_path).folders() == ["step-00000001", "step-00000002"]
    assert all(same(load((tmp_path / f"step-{n:08d}" / STATE).read_bytes()), state(n)) for n in (1, 2))


@pytest.mark.parametrize("then", ["save", "save_best", "wait", "newest", "best"])
def test_a_failure_behind_the_scenes_is_told_by_the_next_call_once(
    then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(Folder(tmp_path))
    calls: dict[str, Callable[[], object]] = {
        "save": lambda: store.save(state(2), {"step": 2}),
        "save_best": lambda: store.save_best(state(2), 0.5, 2),
        "wait": store.wait,
        "newest": lambda: store.newest(fail),
        "best": store.best,
    }
    with FailingDisk(monkeypatch, 5, errno.ENOSPC, stays=True):
        store.save(state(1), {"step": 1})
        with pytest.raises(OSError, match="No space left") as caught:
            calls[then]()
    assert caught.value.filename == str(tmp_path / "step-00000001" / STATE)
    calls[then]()
    store.wait()


def test_progress_that_json_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    store = CheckpointStore(Folder(tmp_path))
    with pytest.raises(TypeError):
        store.save(state(1), {"step": 1, "score": torch.tensor(1.0)})
    store.wait()
    assert Folder(tmp_path).folders() == []


def test_checkpoints_can_lie_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3  # type: ignore[import-untyped]  # it has no types
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="runs")
    folder = Folder("s3://runs/sweep/run/checkpoints")
    assert CheckpointStore(folder).newest(fail) is None
    save_all(folder, 1, 2, 3)
    assert folder.folders() == ["step-00000002", "step-00000003"]
    assert same(newest(folder).tensors, state(3))
    client.put_object(Bucket="runs", Key="sweep/run/checkpoints/step-00000003/state.safetensors", Body=b"cut")
    warnings = list[str]()
    assert same(newest(folder, warnings.append).tensors, state(2))
    assert warnings[0].startswith("s3://runs/sweep/run/checkpoints/step-00000003/state.safetensors: 3 bytes, where")
    save_weights(folder, begin(0).model)
    load_weights(folder, begin(1).model)
    CheckpointStore(folder).clear()
    assert folder.folders() == []
    with pytest.raises(OSError, match=r"s3://gone/checkpoints/step-00000004/progress\.json"):
        save_all(Folder("s3://gone/checkpoints"), 4)
    server.stop()


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
)
def test_a_host_copy_is_what_the_library_reads(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 2, (3, 5), generator=generator).to(dtype)
    tensors = {
        "matrix": drawn,
        "turned": drawn.T,
        "part": drawn[1:, ::2],
        "number": drawn[0, 0],
        "none": drawn[:0],
        "wide": torch.randn(3, generator=generator).double(),
        'names with "quotes" and ä': torch.ones(1, dtype=torch.uint8),
        "trained": torch.ones(2, requires_grad=True),
    }
    memory = HostCopy()
    assert same(load(bytes(memory.take(tensors))), tensors)
    assert same(load(bytes(memory.take({"smaller": drawn}))), {"smaller": drawn})
    assert load(bytes(memory.take({}))) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_are_saved_as_they_are_at_that_moment(tmp_path: Path) -> None:
    tensors = {name: tensor.cuda() for name, tensor in {**state(1), "large": torch.ones(50_000_000)}.items()}
    store = CheckpointStore(Folder(tmp_path))
    store.save(tensors, {"step": 1})
    for tensor in tensors.values():
        tensor.zero_()
    assert same(newest_of(store).tensors, {**state(1), "large": torch.ones(50_000_000)})


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    saved, other = begin(0).model, begin(1).model
    save_weights(Folder(tmp_path), saved)
    assert not same(saved.state_dict(), other.state_dict())
    load_weights(Folder(tmp_path), other)
    assert same(saved.state_dict(), other.state_dict())
    assert same(load((tmp_path / MODEL).read_bytes()), saved.state_dict())


def test_weights_that_cannot_be_written_leave_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = begin(0).model
    save_weights(Folder(tmp_path), old)
    for at in (1, 2, 3):
        with FailingDisk(monkeypatch, at, errno.ENOSPC, stays=False), pytest.raises(OSError, match="No space left"):
            save_weights(Folder(tmp_path), begin(1).model)
        assert same(load((tmp_path / MODEL).read_bytes()), old.state_dict())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(Folder(tmp_path), begin(0).model)
    with pytest.raises(DamagedError, match=r"model.safetensors: '.*' is torch.float32 .* where"):
        load_weights(Folder(tmp_path), begin(0, width=5).model)


@pytest.mark.parametrize("share", [0.0, 0.5, None])
def test_cut_or_missing_weights_are_named(share: float | None, tmp_path: Path) -> None:
    save_weights(Folder(tmp_path), begin(0).model)
    file = tmp_path / MODEL
    if share is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(DamagedError, match=str(file)):
        load_weights(Folder(tmp_path), begin(0).model)
