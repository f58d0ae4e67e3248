"""Whether the disk that a run is kept on has room for it, known before the first step."""

from pathlib import Path

from torch import nn

from workloads.disk_errors import free_at
from workloads.storage import Folder
from workloads.training.checkpoint import KEPT

_MOMENTS = 2
"""AdamW's, of each parameter that learns."""


def needed(model: nn.Module, selects: bool) -> int:
    """Bytes of a run's weights and checkpoints at their most, when one more is written than will stay.

    Args:
        model: with the parameters that learn marked as such.
        selects: whether the weights of the best epoch are kept beside.
    """
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    learned: int = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return (KEPT + 1) * (weights + _MOMENTS * learned) + (selects * (KEPT + 1) + 1) * weights


def little_room(run: Folder, model: nn.Module, selects: bool) -> str | None:
    """A sentence where less is free than a run may come to need, beyond what it has written already; else None."""
    if not run.is_local:
        return None
    there = sum(path.stat().st_size for path in Path(run.path).rglob("*.safetensors"))
    wanted, free = needed(model, selects) - there, free_at(Path(run.path))
    if free is None or wanted <= free:
        return None
    return (
        f"{run}: its checkpoints and weights may come to need {wanted:,} bytes more, and {free:,} are free there; "
        "make room, or name another folder of runs"
    )
