"""Checkpoints of training: weights and optimiser state as safetensors, progress as JSON; no pickles."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workloads.errors import DamagedError

MODEL, OPTIMIZER, PROGRESS = "model.safetensors", "optimizer.safetensors", "progress.json"


def save_weights(folder: Path, model: nn.Module) -> None:
    """Write the model's weights."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / MODEL)


def load_weights(folder: Path, model: nn.Module) -> None:
    """Read weights that `save_weights` wrote for the same spec.

    Raises:
        DamagedError: the file is not there, damaged, or of another model.
    """
    try:
        model.load_state_dict(load_file(folder / MODEL))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise DamagedError(str(folder / MODEL), str(error).strip().splitlines()[0]) from error


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler, next_epoch: int
) -> None:
    """Write everything that the next epoch depends on.

    Random states are not part of it: every epoch seeds its own from (seed, epoch, rank).
    """
    save_weights(folder, model)
    state = optimizer.state_dict()
    tensors = {f"{index}.{name}": value for index, values in state["state"].items() for name, value in values.items()}
    save_file(tensors, folder / OPTIMIZER)
    progress = {
        "next_epoch": next_epoch,
        "learning_rates": [group["lr"] for group in state["param_groups"]],
        "schedule": schedule.state_dict(),
    }
    (folder / PROGRESS).write_text(json.dumps(progress))


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler) -> int:
    """Restore what `save_checkpoint` wrote; returns the epoch to go on with.

    Raises:
        DamagedError: the checkpoint cannot be read.
    """
    load_weights(folder, model)
    try:
        progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
        tensors = load_file(folder / OPTIMIZER)
    except (SafetensorError, ValueError, OSError) as error:
        raise DamagedError(str(folder), str(error).strip().splitlines()[0]) from error
    if missing := {"next_epoch", "learning_rates", "schedule"} - progress.keys():
        raise DamagedError(str(folder / PROGRESS), f"it lacks {', '.join(sorted(missing))}")
    state = optimizer.state_dict()
    state["state"] = _by_parameter(tensors)
    for group, rate in zip(state["param_groups"], progress["learning_rates"], strict=True):
        group["lr"] = rate
    optimizer.load_state_dict(state)
    schedule.load_state_dict(progress["schedule"])
    return int(progress["next_epoch"])


def _by_parameter(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    nested: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        nested.setdefault(int(index), {})[key] = tensor
    return nested
