"""How many specimens can be embedded at a time with their activations.

On a GPU by trying, with room set aside for the rest of a training step; on a CPU, where trying would end the process or
start it swapping, from the activations that two small forward passes keep.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.training.gradient_cache import KeptBuffers, Kernels, LossFunction, RandomState

_STEP = 8
"""Larger micro-batches are multiples of this, as matrix units like them."""
_SPARE = 0.05
"""Share of a GPU's memory that is left alone: what is free lies in pieces."""
_CPU_SHARE = 0.5
"""Share of the available memory that activations may take; the rest is for gradients, the loss and other processes."""
_GRADIENT_AND_MOMENTS = 3
"""What a step holds beside each trained parameter, in its size."""


def largest_micro_batch(
    model: nn.Module, inputs: Mapping[str, Tensor], loss: LossFunction, kernels: Kernels, *, share: int
) -> int:
    """The most specimens of this worker's share of a batch that fit into memory at a time, the same on all workers.

    Model, gradients and random state are left as they are; on a GPU the statistics of peak memory start anew. Under a
    process group every worker must call it. Towers that are compiled are compiled again for sizes that are tried.

    Args:
        model: in training mode, on the device of the inputs; it may be wrapped in DistributedDataParallel.
        inputs: specimens to try with, by name, at least one; their rows are repeated as often as needed.
        loss: of `share` embeddings by input name, and the scale.
        kernels: context of every forward pass.
        share: specimens of this worker in a global batch.

    Returns:
        `share` if all fit, else a multiple of 8, else what is less. It is 1 at least, even if that does not fit.
    """
    device = next(iter(inputs.values())).device
    plain = model.module if isinstance(model, DistributedDataParallel) else model
    trial = _Trial(plain, inputs, kernels)
    with _unchanged(plain, device):
        if device.type == "cuda":
            with _room_for_the_rest(trial, loss, share):
                found = largest_that(trial.fits, share)
        else:
            room = _CPU_SHARE * available_bytes() / _workers_on_this_machine()
            found = _rounded(trial.specimens_within(room), share)
    return _least_of_workers(found, device)


def largest_that(fits: Callable[[int], bool], most: int) -> int:
    """The largest size that fits: `most`, else a multiple of 8, else a size below 8 found by halving, at least 1.

    Doubles until a size does not fit, then halves the interval.
    """
    good, bad = 0, min(_STEP, most)
    while fits(bad):
        if bad == most:
            return most
        good, bad = bad, min(2 * bad, most)
    if good == 0:
        while bad > 1 and not fits(bad := bad // 2):
            pass
        return bad
    while bad - good > _STEP:
        middle = max((good + bad) // 2 // _STEP, good // _STEP + 1) * _STEP
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _rounded(size: int, most: int) -> int:
    return most if size >= most else max(size // _STEP * _STEP, min(size, _STEP), 1)


class _Trial:
    """Forward and backward passes of a model over a few specimens, which leave no gradients."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor], kernels: Kernels) -> None:
        self.model, self.inputs, self.kernels = model, inputs, kernels
        self.device = next(iter(inputs.values())).device
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def embed(self, size: int) -> tuple[dict[str, Tensor], Tensor]:
        """Embeddings of that many specimens, and the scale."""
        with self.kernels():
            embedded, scale = self.model({name: _repeated(rows, size) for name, rows in self.inputs.items()})
        return embedded, scale

    def fits(self, size: int) -> bool:
        """Whether a GPU has the memory for a forward and a backward pass."""
        try:
            self._pass(size)
            passed = True
        except torch.cuda.OutOfMemoryError:
            passed = False
        torch.cuda.empty_cache()  # only here, where the error no longer holds on to tensors
        return passed

    def _pass(self, size: int) -> None:
        embedded, _ = self.embed(size)
        if ends := [rows for rows in embedded.values() if rows.requires_grad]:
            torch.autograd.grad(ends, self.trained, [torch.ones_like(end) for end in ends], allow_unused=True)

    def saved_bytes(self, size: int) -> int:
        """What a forward pass keeps for the backward pass, the model itself aside."""
        own = {tensor.untyped_storage().data_ptr() for tensor in (*self.model.parameters(), *self.model.buffers())}
        saved: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            # Held until the end, so that no other tensor takes its place uncounted; detached, because an output that
            # leads back to its own node would never be freed.
            saved[tensor.untyped_storage().data_ptr()] = tensor.detach()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.embed(size)
        return sum(tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in own)

    def specimens_within(self, room: float) -> int:
        """How many specimens' activations fit into so many bytes."""
        two, four = self.saved_bytes(2), self.saved_bytes(4)
        each = max((four - two) / 2, 1.0)
        return max(1, int((room - (two - 2 * each)) / each))


def _repeated(rows: Tensor, size: int) -> Tensor:
    return rows[torch.arange(size, device=rows.device) % len(rows)]


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts random state and running statistics back."""
    state, buffers = RandomState.now(device), KeptBuffers(model)
    try:
        yield
    finally:
        state.restore()
        buffers.restore()


@contextmanager
def _room_for_the_rest(trial: _Trial, loss: LossFunction, share: int) -> Iterator[None]:
    """Holds as much of a GPU's memory as a step needs beside activations."""
    of_parameters = sum(parameter.nbytes for parameter in trial.trained)
    spare = int(_SPARE * torch.cuda.get_device_properties(trial.device).total_memory)
    needed = _GRADIENT_AND_MOMENTS * of_parameters + spare + _bytes_of_loss(trial, loss, share)
    torch.cuda.empty_cache()
    held = torch.empty(needed, dtype=torch.uint8, device=trial.device)
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(trial.device)


def _bytes_of_loss(trial: _Trial, loss: LossFunction, share: int) -> int:
    """Peak of the loss over a whole share, forward and backward, embeddings included."""
    with torch.no_grad():
        embedded, scale = trial.embed(2)
    torch.cuda.reset_peak_memory_stats(trial.device)
    before = torch.cuda.memory_allocated(trial.device)
    leaves = {name: _repeated(rows, share).requires_grad_() for name, rows in embedded.items()}
    loss(leaves, scale).backward()
    return torch.cuda.max_memory_allocated(trial.device) - before


def available_bytes(system: Path = Path("/")) -> int:
    """Memory that this machine can give, within the limit of the container, if there is one.

    Args:
        system: where `proc` and `sys` are.
    """
    found = [_available_on_machine(system / "proc/meminfo"), *_available_in_container(system / "sys/fs/cgroup")]
    return max(0, min(found))


def _available_on_machine(meminfo: Path) -> int:
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # not Linux: what it has, not what is free


def _available_in_container(groups: Path) -> list[int]:
    """By the files of control groups, version 2 and 1; what can be dropped from the page cache is available."""
    found = []
    for limit, usage, statistics, droppable in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        if not (groups / limit).exists() or (text := (groups / limit).read_text().strip()) == "max":
            continue
        cached = dict(line.split() for line in (groups / statistics).read_text().splitlines())
        found.append(int(text) - int((groups / usage).read_text()) + int(cached[droppable]))
    return found


def _workers_on_this_machine() -> int:
    if not dist.is_initialized():
        return 1
    names: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(names, socket.gethostname())
    return names.count(socket.gethostname())


def _least_of_workers(size: int, device: torch.device) -> int:
    if not dist.is_initialized():
        return size
    least = torch.tensor(size, device=device)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least.item())
