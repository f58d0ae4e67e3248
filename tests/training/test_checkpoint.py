"""Checkpoints: everything comes back as it was, and what is damaged is named."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from workloads.errors import DamagedError
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import (
    MODEL,
    OPTIMIZER,
    PROGRESS,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from workloads.training.loop import build_optimizer, build_schedule


@dataclass
class Training:
    """A small model in the middle of its training."""

    model: nn.Module
    optimizer: AdamW
    schedule: OneCycleLR

    def step(self, number: int) -> None:
        random = torch.Generator().manual_seed(number)
        self.optimizer.zero_grad()
        self.model(torch.randn(5, 3, generator=random)).square().sum().backward()
        self.optimizer.step()
        self.schedule.step()


@pytest.fixture
def spec() -> ExperimentSpec:
    return ExperimentSpec(dataset="d", data_fingerprint="f", max_learning_rate=1e-2, initial_learning_rate=1e-3)


def begin(spec: ExperimentSpec, seed: int, width: int = 4) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 2))
    optimizer = build_optimizer(spec, model)
    return Training(model, optimizer, build_schedule(spec, optimizer, 10))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(spec: ExperimentSpec, tmp_path: Path) -> None:
    undisturbed = begin(spec, seed=0)
    for number in range(4):
        undisturbed.step(number)
    save_checkpoint(tmp_path, undisturbed.model, undisturbed.optimizer, undisturbed.schedule, next_epoch=2)
    resumed = begin(spec, seed=1)
    assert load_checkpoint(tmp_path, resumed.model, resumed.optimizer, resumed.schedule) == 2
    assert resumed.schedule.get_last_lr() == undisturbed.schedule.get_last_lr()
    for number in range(4, 10):
        undisturbed.step(number)
        resumed.step(number)
        assert same(resumed.model.state_dict(), undisturbed.model.state_dict())
    assert resumed.schedule.get_last_lr() == undisturbed.schedule.get_last_lr()


def test_a_checkpoint_holds_no_pickles(spec: ExperimentSpec, tmp_path: Path) -> None:
    training = begin(spec, seed=0)
    training.step(0)
    save_checkpoint(tmp_path, training.model, training.optimizer, training.schedule, next_epoch=1)
    assert {file.name for file in tmp_path.iterdir()} == {MODEL, OPTIMIZER, PROGRESS}
    assert json.loads((tmp_path / PROGRESS).read_text())["next_epoch"] == 1


def test_weights_come_back_as_they_were(spec: ExperimentSpec, tmp_path: Path) -> None:
    saved, other = begin(spec, seed=0).model, begin(spec, seed=1).model
    save_weights(tmp_path, saved)
    assert not same(saved.state_dict(), other.state_dict())
    load_weights(tmp_path, other)
    assert same(saved.state_dict(), other.state_dict())


def test_weights_of_another_model_are_refused(spec: ExperimentSpec, tmp_path: Path) -> None:
    save_weights(tmp_path, begin(spec, seed=0).model)
    with pytest.raises(DamagedError, match=MODEL):
        load_weights(tmp_path, begin(spec, seed=0, width=5).model)


def test_missing_weights_are_named(spec: ExperimentSpec, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=MODEL):
        load_weights(tmp_path, begin(spec, seed=0).model)


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, PROGRESS])
@pytest.mark.parametrize("share", [0.0, 0.5, None])
def test_a_cut_or_missing_file_of_a_checkpoint_is_refused(
    name: str, share: float | None, spec: ExperimentSpec, tmp_path: Path
) -> None:
    training = begin(spec, seed=0)
    training.step(0)
    save_checkpoint(tmp_path, training.model, training.optimizer, training.schedule, next_epoch=1)
    file = tmp_path / name
    if share is None:
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedError, match=str(tmp_path)):
        load_checkpoint(tmp_path, training.model, training.optimizer, training.schedule)
