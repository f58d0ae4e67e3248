"""Checkpoints are written beside training, to disks and object stores; and the weights of a finished run."""

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from tests.training.checkpoints import (
    FailingDisk,
    begin,
    fail,
    newest,
    newest_of,
    same,
    save_all,
    state,
)
from workloads.errors import DamagedError
from workloads.models.weights import HostCopy, load_weights, save_weights
from workloads.storage import Folder
from workloads.training.checkpoint import MANIFEST, PROGRESS, STATE, CheckpointStore
from workloads.weight_files import MODEL

FILES = (MANIFEST, PROGRESS, STATE)


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


def test_training_goes_on_while_best_weights_are_written_and_what_it_saves_is_written_after_them(
    gate: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, real = list[str](), Folder.write
    monkeypatch.setattr(
        Folder, "write", lambda folder, name, content: (real(folder, name, content), order.append(folder.name))[0]
    )
    store, weights, tensors = CheckpointStore(Folder(tmp_path)), state(7), state(1)
    store.save_best(weights, 0.5, 3)
    store.save(tensors, {"step": 1})  # returns, though nothing can be written yet
    assert not Folder(tmp_path).folders()
    for each in (*weights.values(), *tensors.values()):
        each.zero_()  # the next step
    later = threading.Thread(target=store.save_best, args=(state(8), 0.6, 4))
    later.start()
    later.join(0.1)
    assert later.is_alive()  # its memory is still being written
    gate.set()
    later.join(30)
    found = newest_of(store)
    assert same(found.tensors, state(1))
    assert order == ["best-00000003"] * 3 + ["step-00000001"] * 3 + ["best-00000004"] * 3
    kept = store.best(fail, wanted=(0.5, 3))
    assert kept is not None
    assert same(kept[0], state(7))


def test_a_checkpoint_is_not_written_where_the_best_weights_that_it_speaks_of_could_not_be(
    gate: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(Folder(tmp_path))
    with FailingDisk(monkeypatch, 5, errno.ENOSPC, stays=False):
        store.save_best(state(7), 0.5, 3)
        store.save(state(1), {"step": 1})
        gate.set()
        with pytest.raises(OSError, match="No space left") as caught:
            store.wait()
    assert caught.value.filename == str(tmp_path / "best-00000003" / STATE)
    store.wait()  # told once
    assert store.newest(fail) is None
    store.save(state(2), {"step": 2})
    assert same(newest_of(store).tensors, state(2))


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


def test_checkpoints_can_lie_in_an_object_store(bucket: str) -> None:
    import boto3  # type: ignore[import-untyped]  # it has no types

    folder = Folder(f"{bucket}/sweep/run/checkpoints")
    assert CheckpointStore(folder).newest(fail) is None
    save_all(folder, 1, 2, 3)
    assert folder.folders() == ["step-00000002", "step-00000003"]
    assert same(newest(folder).tensors, state(3))
    boto3.client("s3").put_object(
        Bucket="insects", Key="sweep/run/checkpoints/step-00000003/state.safetensors", Body=b"cut"
    )
    warnings = list[str]()
    assert same(newest(folder, warnings.append).tensors, state(2))
    assert warnings[0].startswith(f"{bucket}/sweep/run/checkpoints/step-00000003/state.safetensors: 3 bytes, where")
    save_weights(folder, begin(0).model)
    load_weights(folder, begin(1).model)
    with pytest.raises(OSError, match=r"s3://gone/checkpoints/step-00000004/progress\.json"):
        save_all(Folder("s3://gone/checkpoints"), 4)


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
    with pytest.raises(DamagedError, match=r"model\.safetensors: .* is torch\.float32 .* where"):
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
