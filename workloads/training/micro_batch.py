"""How many specimens can be embedded at a time with their activations, and what is said where memory runs out.

On a GPU by trying, with room set aside for the rest of a training step; on a CPU, where trying would end the process or
start it swapping, from the activations that two small forward passes keep.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.memory import available_bytes
from workloads.placement import least_of_workers
from workloads.training.gradient_cache import Kernels, LossFunction, buffers_kept

_STEP = 8
"""Larger micro-batches are multiples of this, as matrix units like them."""
_SPARE = 0.05
"""Share of a GPU's memory that is left alone: what is free lies in pieces."""
_CPU_SHARE = 0.5
"""Share of the available memory that activations may take; the rest is for gradients, the loss and other processes."""
_GRADIENT_AND_MOMENTS = 3
"""What a step holds beside each trained parameter, in its size."""
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
"""What is in messages where there is no memory: of CUDA and of torch on a CPU, and of the libraries that allocate for
themselves what torch has left them."""


class NoRoomError(Exception):
    """A worker has no memory for its part of a step; all of them learn so together."""

    def __init__(self, worker: int) -> None:
        super().__init__(worker)
        self.worker = worker


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory, in whatever words."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError)


@contextmanager
def all_fit() -> Iterator[None]:
    """Surrounds what each worker of a group computes apart; in the end they tell each other whether they could.

    Raises:
        NoRoomError: one of them had no memory for it; raised on all alike.
    """
    without = dist.get_rank()
    with _unless_out_of_memory():
        yield
        without = dist.get_world_size()
    if (worker := least_of_workers(without)) < dist.get_world_size():
        raise NoRoomError(worker)


@contextmanager
def _unless_out_of_memory() -> Iterator[None]:
    """Goes on behind the block where there is no memory for it."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise


_Embed = Callable[[int], tuple[dict[str, Tensor], Tensor]]
"""Embeddings of so many specimens, and the scale."""


def largest_micro_batch(
    model: nn.Module, inputs: Mapping[str, Tensor], loss: LossFunction, kernels: Kernels, *, share: int
) -> int:
    """The most specimens of a share that fit into memory at a time, the same on all workers.

    Model and gradients are left as they are, random numbers are drawn; on a GPU the statistics of peak memory start
    anew. Under a process group every worker must call it. Towers that are compiled are compiled again for sizes that
    are tried.

    Args:
        model: in training mode, on the device of the inputs; it may be wrapped in DistributedDataParallel.
        inputs: specimens to try with, by name, at least one; their rows are repeated as often as needed.
        loss: of `share` embeddings by input name, and the scale.
        kernels: context of every forward pass.
        share: the most that are of use.

    Returns:
        `share` if all fit, else a multiple of 8, else what is less. It is 1 at least, even if that does not fit.
    """
    device = next(iter(inputs.values())).device
    plain = model.module if isinstance(model, DistributedDataParallel) else model
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    embed = partial(_embed, plain, inputs, kernels)
    with buffers_kept(plain):
        if device.type == "cuda":
            largest = 1
            with _unless_out_of_memory(), _room_for_the_rest(embed, trained, loss, share, device):
                largest = largest_that(partial(fits, embed, trained), share)
        else:
            room = _CPU_SHARE * available_bytes() / _workers_on_this_machine()
            largest = _rounded(_specimens_within(room, plain, embed), share)
    return least_of_workers(largest)


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


def fits(embed: _Embed, trained: Sequence[Tensor], size: int) -> bool:
    """Whether a GPU has the memory for a forward and a backward pass; no gradients are left.

    Args:
        embed: gives the embeddings of that many specimens, and the scale.
        trained: parameters.
        size: how many.
    """
    passed, ends = False, list[Tensor]()
    with _unless_out_of_memory():
        ends = [rows for rows in embed(size)[0].values() if rows.requires_grad]
        if ends:
            torch.autograd.grad(ends, trained, [torch.ones_like(end) for end in ends], allow_unused=True)
        passed = True
    ends = []
    torch.cuda.empty_cache()  # only here, where neither the error nor anything else holds on to tensors
    return passed


def _specimens_within(room: float, model: nn.Module, embed: _Embed) -> int:
    """How many specimens' activations fit into so many bytes."""
    two, four = _saved_bytes(model, embed, 2), _saved_bytes(model, embed, 4)
    each = max((four - two) / 2, 1.0)
    return max(1, int((room - (two - 2 * each)) / each))


def _saved_bytes(model: nn.Module, embed: _Embed, size: int) -> int:
    """What a forward pass keeps for the backward pass, the model itself aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    # By their places, and held until the end, so that no other tensor takes a place uncounted; detached, because an
    # output that leads back to its own node would never be freed.
    saved: dict[int, Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.setdefault(tensor.untyped_storage().data_ptr(), tensor.detach()), lambda tensor: tensor
    ):
        embed(size)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in own)


def _embed(
    model: nn.Module, inputs: Mapping[str, Tensor], kernels: Kernels, size: int
) -> tuple[dict[str, Tensor], Tensor]:
    with kernels():
        embedded, scale = model({name: _repeated(rows, size) for name, rows in inputs.items()})
    return embedded, scale


def _repeated(rows: Tensor, size: int) -> Tensor:
    return rows[torch.arange(size, device=rows.device) % len(rows)]


@contextmanager
def _room_for_the_rest(
    embed: _Embed, trained: Sequence[Tensor], loss: LossFunction, share: int, device: torch.device
) -> Iterator[None]:
    """Holds as much of a GPU's memory as a step needs beside activations."""
    of_parameters = sum(parameter.nbytes for parameter in trained)
    spare = int(_SPARE * torch.cuda.get_device_properties(device).total_memory)
    needed = _GRADIENT_AND_MOMENTS * of_parameters + spare + _bytes_of_loss(embed, loss, share, device)
    torch.cuda.empty_cache()
    held = torch.empty(needed, dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _bytes_of_loss(embed: _Embed, loss: LossFunction, share: int, device: torch.device) -> int:
    """Peak of the loss over a whole share, forward and backward, embeddings included."""
    with torch.no_grad():
        embedded, scale = embed(2)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    leaves = {name: _repeated(rows, share).requires_grad_() for name, rows in embedded.items()}
    loss(leaves, scale).backward()
    return torch.cuda.max_memory_allocated(device) - before


def _workers_on_this_machine() -> int:
    if not dist.is_initialized():
        return 1
    names: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(names, socket.gethostname())
    return names.count(socket.gethostname())
