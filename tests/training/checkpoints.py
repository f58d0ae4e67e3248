"""Checkpoints for tests: a small training, what is saved of it, and a disk that fails."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from workloads.storage import Folder
from workloads.training.checkpoint import Checkpoint, CheckpointStore, restore_training, training_tensors


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
