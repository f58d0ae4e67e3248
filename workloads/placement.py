"""Where this process stands: its device, its rank among the workers, what they share, and what its kernels need."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@dataclass(frozen=True, slots=True)
class Placement:
    """One worker of a training or embedding job."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    num_workers: int = 1
    loader_processes: int = 0
    """Processes that prepare batches beside this one; 0 prepares them in turn."""

    @staticmethod
    def here(device: torch.device, loader_processes: int = 0) -> "Placement":
        """The place of this process in the process group, or alone without one."""
        if not dist.is_initialized():
            return Placement(device, 0, 1, loader_processes)
        return Placement(device, dist.get_rank(), dist.get_world_size(), loader_processes)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"


@contextmanager
def kernels(device: torch.device, precision: str) -> Iterator[None]:
    """Autocast, and the attention kernel that is fast on this device, for forward passes.

    On a CPU the fused attention's backward pass in bf16 takes 70 % of a small tower's step (docs/log.md); the plain
    form is 2.5 to 4 times faster there and gives the same numbers up to rounding.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        if device.type == "cpu":
            with sdpa_kernel(SDPBackend.MATH):
                yield
        else:
            yield


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """fp32 products and convolutions in TF32 where the precision says so, forward and backward, and nowhere else.

    Of itself torch takes convolutions, such as the first layer of a vision transformer, in TF32 on a GPU.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def share_buffers(model: nn.Module, placement: Placement) -> None:
    """Give every worker the first one's buffers; running statistics of batch normalisation are else each worker's own.

    Called on every worker alike.
    """
    if placement.num_workers > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def is_same_for_all(number: int, placement: Placement) -> bool:
    """Whether all workers give the same number; called on every worker alike, and the same on each."""
    if placement.num_workers == 1:
        return True
    most = torch.tensor([number, -number], device=placement.device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    highest, lowest = most.tolist()
    return bool(highest == -lowest)
