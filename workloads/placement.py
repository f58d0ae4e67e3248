"""Where this process stands: its device, its rank among the workers, what they share, and what its kernels need."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from joblib import cpu_count
from torch import Tensor, nn
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


def join_group(device: torch.device, patience: timedelta, **where: Any) -> None:
    """Join the process group: gloo for what processors tell each other, and NCCL where this worker has a GPU.

    Args:
        device: this worker's, with its number where it is a GPU; NCCL is bound to it and connects at once.
        patience: for the slowest worker.
        where: the others meet, as torch has it; by default as torchrun's environment says.
    """
    backend, bound = ("cpu:gloo,cuda:nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(backend, timeout=patience, device_id=bound, **where)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"


def this_device(cpu_only: bool = False) -> torch.device:
    """The GPU, where there is one and it may be used."""
    return torch.device("cuda" if torch.cuda.is_available() and not cpu_only else "cpu")


def loaders_beside(device: torch.device, num_gpus: int = 1) -> int:
    """Processes that prepare batches of a GPU: its share of the cores but for two, 6 at most; a CPU computes itself."""
    return max(0, min(6, cpu_count() // num_gpus - 2)) if device.type == "cuda" else 0


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


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32, whatever is chosen around it."""
    with torch.autocast(device.type, enabled=False), matrix_products("fp32"):
        yield


def gathered(share: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """The rows of all workers, by rank. Called on every worker alike, with gradient.

    The gradient of a worker's rows is the sum over what all workers make of them.

    Args:
        share: this worker's rows.
        sizes: how many rows each worker has; None: all as many.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return share
    whole: Tensor = _Gathered.apply(share, list(sizes or [len(share)] * dist.get_world_size()))
    return whole


class _Gathered(torch.autograd.Function):
    """Gloo only gathers tensors of one shape, so shorter shares are filled up; that is a chunk's embeddings at most."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        whole = share.new_empty((len(sizes) * max(sizes), *share.shape[1:]))
        parts = whole.chunk(len(sizes))
        dist.all_gather(list(parts), _filled(share, max(sizes)))
        return whole if min(sizes) == max(sizes) else torch.cat([p[:n] for p, n in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        parts = [_filled(part, max(ctx.sizes)) for part in upstream[0].contiguous().split(ctx.sizes)]
        share = torch.empty_like(parts[0])
        dist.reduce_scatter(share, parts)
        return share[: ctx.sizes[dist.get_rank()]], None


def _filled(rows: Tensor, count: int) -> Tensor:
    """So many rows, those that are there and then zeros."""
    if len(rows) == count:
        return rows.contiguous()
    return torch.cat([rows, rows.new_zeros((count - len(rows), *rows.shape[1:]))])


def share_buffers(model: nn.Module, placement: Placement) -> None:
    """Give every worker the first one's buffers; running statistics of batch normalisation are else each worker's own.

    Called on every worker alike.
    """
    if placement.num_workers > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def least_of_workers(number: int) -> int:
    """The least number that a worker gives; called on every worker alike, and the same on each.

    It goes from processor to processor: what a GPU has to do is not waited for.
    """
    if not dist.is_initialized():
        return int(number)
    least = torch.tensor(int(number))
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least.item())
