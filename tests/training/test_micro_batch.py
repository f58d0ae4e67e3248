"""How many specimens fit: the search, the count of a forward pass's activations, and what is left unchanged.

That workers agree: test_loss.py. The search by trying on a GPU runs where there is one.
"""

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from workloads.memory import available_bytes
from workloads.training import micro_batch
from workloads.training.loss import contrastive_loss
from workloads.training.micro_batch import fits, largest_micro_batch, largest_that

WIDTH = 16
NUM_MODALITIES = 2


class Towers(nn.Module):
    """Two towers of known activations, with dropout and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        names = ("dna", "text")
        self.towers = nn.ModuleDict({name: _tower() for name in names})
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        return {name: self.towers[name](rows) for name, rows in inputs.items()}, self.log_scale.exp()


def _tower() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.BatchNorm1d(WIDTH), nn.Dropout(0.5), nn.Tanh())


# Of every specimen in fp32: the linear layer's input; tanh's output, which is batch normalisation's input too;
# dropout's mask, with its factor; and the last tanh's output.
BYTES_EACH = NUM_MODALITIES * 4 * WIDTH * 4
# Whatever the batch: batch normalisation's means and deviations, and the scale.
BYTES_FIXED = NUM_MODALITIES * 2 * WIDTH * 4 + 4
INPUTS = {name: torch.ones(3, WIDTH) for name in ("dna", "text")}


def found(share: int, model: nn.Module | None = None) -> int:
    return largest_micro_batch(model or Towers(), INPUTS, contrastive_loss, nullcontext, share=share)


@pytest.mark.parametrize("most", [1, 5, 8, 9, 24, 100, 1000])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 99, 100, 500, 999, 1000, 5000])
def test_the_search_finds_the_largest_that_fits(most: int, limit: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        assert 1 <= size <= most
        tried.append(size)
        return size <= limit

    size = largest_that(fits, most)
    if most <= limit:
        assert size == most
    elif limit >= 8:
        assert size == limit // 8 * 8
    else:
        assert size <= limit < 2 * size + 2
    assert len(tried) == len(set(tried)) <= 16


def test_where_nothing_fits_one_is_left_to_try() -> None:
    assert largest_that(lambda _: False, 100) == 1


@pytest.mark.parametrize(("room", "expected"), [(100, 96), (8, 8), (7, 7), (1, 1), (0, 1), (1000, 1000), (999, 992)])
def test_on_a_cpu_activations_take_half_of_what_is_available(
    room: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batch, "available_bytes", lambda: 2 * (room * BYTES_EACH + BYTES_FIXED))
    assert found(1000) == expected


def test_a_share_that_fits_is_embedded_at_once() -> None:
    assert found(37) == 37


def test_trying_changes_neither_model_nor_gradients() -> None:
    model = Towers()
    model.log_scale.grad = torch.tensor(5.0)
    before = copy.deepcopy(model.state_dict())
    found(37, model)
    assert all(values.equal(before[name]) for name, values in model.state_dict().items())
    assert {name: p.grad for name, p in model.named_parameters() if p.grad is not None} == {"log_scale": 5.0}


def container(folder: Path, groups: Mapping[str, str]) -> Path:
    """A folder in which the system's files say what they are told to."""
    for name, text in groups.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_available_memory_is_the_machine_s_or_less_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=800 * 1024))
    version_2 = {"memory.current": "300000", "memory.stat": "file 9\ninactive_file 50000\n"}
    version_1 = {
        "memory/memory.limit_in_bytes": "200000",
        "memory/memory.usage_in_bytes": "150000",
        "memory/memory.stat": "total_inactive_file 1000\n",
    }
    assert available_bytes(container(tmp_path / "free", {})) == 800 * 1024
    assert available_bytes(container(tmp_path / "unlimited", {"memory.max": "max\n", **version_2})) == 800 * 1024
    assert available_bytes(container(tmp_path / "wide", {"memory.max": "9000000", **version_2})) == 800 * 1024
    assert available_bytes(container(tmp_path / "narrow", {"memory.max": "400000", **version_2})) == 150_000
    assert available_bytes(container(tmp_path / "full", {"memory.max": "100000", **version_2})) == 0
    assert available_bytes(container(tmp_path / "older", version_1)) == 51_000


def test_this_machine_has_memory() -> None:
    assert available_bytes() > 10_000_000


class Limited(Towers):
    """Runs out of memory above a limit, as a GPU does."""

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        if len(inputs["dna"]) > 83:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


def test_a_pass_that_runs_out_of_memory_does_not_fit_and_leaves_no_gradients() -> None:
    model = Limited()
    trial = partial(fits, lambda size: model({name: torch.ones(size, WIDTH) for name in INPUTS}), [*model.parameters()])
    assert trial(83)
    assert not trial(84)
    assert largest_that(trial, 1000) == 80
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_what_fits_is_found_by_trying() -> None:
    device = torch.device("cuda")
    share, model = 3_000_000, Towers().to(device)
    on_device = {name: rows.to(device) for name, rows in INPUTS.items()}
    free, total = torch.cuda.mem_get_info()
    held = torch.empty(free - int(0.05 * total) - 2**30, dtype=torch.uint8, device=device)
    size = largest_micro_batch(model, on_device, _sum, nullcontext, share=share)
    del held
    # Of the gigabyte the loss takes most: embeddings and their gradients, 64 bytes each, of two towers.
    assert 1000 < size < share
    assert size % 8 == 0


def _sum(embedded: Mapping[str, Tensor], scale: Tensor) -> Tensor:
    return scale * torch.stack([rows.sum() for rows in embedded.values()]).sum()
