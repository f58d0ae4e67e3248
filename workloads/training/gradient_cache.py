"""Gradients of a batch that is embedded in chunks; exact, also where not all of its activations fit into memory.

The loss needs all embeddings of the batch, but not the activations behind them (GradCache, arXiv:2101.06983):

    embed chunk by chunk without activations -> loss -> gradients of the embeddings
    chunk by chunk: embed again with activations and the same random numbers, send the gradients through

The last chunk's activations are kept from the first pass, so all but one are embedded twice. Gradients are those of the
whole batch at once, dropout and temperature included, up to the rounding of sums.

Workers meet in two places alone: in the loss, which gathers embeddings, and in the last backward pass, with which
DistributedDataParallel reduces gradients. What they do between, where memory runs out, each does `apart`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.data.inputs.batches import THERE

LossFunction = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Global mean loss of this worker's embeddings by input name, and the scale."""
Kernels = Callable[[], AbstractContextManager[None]]
"""What every forward pass of the towers runs under, such as autocast."""
Apart = Callable[[], AbstractContextManager[None]]
"""What surrounds work in which no worker waits for another; entered equally often by all."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a worker's share of a batch is embedded: slice by slice, each with random numbers of its own.

    The statistics of batch normalisation are each chunk's own; running statistics are updated once for every chunk.
    """

    sizes: Sequence[int]
    """Specimens of each."""
    seed: Callable[[int], object]
    """Called with a chunk's place among them before it is embedded, and again before it is embedded again."""

    def of(self, inputs: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The inputs of each."""
        split = {name: values.split(list(self.sizes)) for name, values in inputs.items()}
        return [{name: parts[number] for name, parts in split.items()} for number in range(len(self.sizes))]


def embed_at_once(
    model: nn.Module, inputs: Mapping[str, Tensor], chunks: Chunks, kernels: Kernels, apart: Apart = nullcontext
) -> tuple[dict[str, Tensor], Tensor]:
    """The embeddings of all chunks with their activations, for one backward pass, and the scale.

    Args:
        model: as in `accumulate_gradients`.
        inputs: this worker's share of the batch, by name, (share, ...) each.
        chunks: of the share.
        kernels: context of every forward pass.
        apart: around all of them.
    """
    parts: list[dict[str, Tensor]] = []
    with apart(), _unreduced(model):
        for number, chunk in enumerate(chunks.of(inputs)):
            if parts:
                torch.clear_autocast_cache()  # chunks' gradients of one bf16 copy of a weight would be added in bf16
            chunks.seed(number)
            with kernels():
                parts.append(model(chunk)[0])
        whole = parts[0] if len(parts) == 1 else {n: torch.cat([part[n] for part in parts]) for n in parts[0]}
    return whole, _reduced_next(model, kernels)


def accumulate_gradients(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    loss: LossFunction,
    chunks: Chunks,
    kernels: Kernels,
    apart: Apart = nullcontext,
) -> Tensor:
    """Add the gradients of a batch's loss to those of the parameters, with the activations of one chunk at a time.

    Args:
        model: gives embeddings by input name, and the scale; takes any part of the inputs, and treats each input on its
            own, in order. It may be wrapped in DistributedDataParallel, which then reduces gradients once.
        inputs: this worker's share of the batch, by name, (share, ...) each.
        loss: draws no random numbers.
        chunks: of the share.
        kernels: context of every forward pass.
        apart: around what precedes the loss, and around what follows it up to the last backward pass.

    Returns:
        The loss, without a graph, as `loss` gave it.
    """
    return _Cached(model, inputs, chunks, kernels, apart)(loss)


def kept_buffers(model: nn.Module) -> Callable[[], None]:
    """What puts buffers back to what they are now, such as the running statistics of batch normalisation."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]

    @torch.no_grad()
    def put_back() -> None:
        for buffer, value in kept:
            buffer.copy_(value)

    return put_back


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Puts them back in the end."""
    put_back = kept_buffers(model)
    try:
        yield
    finally:
        put_back()


def _unreduced(model: nn.Module) -> AbstractContextManager[None]:
    """Keeps DistributedDataParallel from reducing the gradients of what is embedded inside."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _reduced_next(model: nn.Module, kernels: Kernels) -> Tensor:
    """Has DistributedDataParallel reduce gradients with the next backward pass, which includes that of the scale.

    It prepares itself in a forward pass, here one of nothing; after one of specimens it would wait for a backward pass
    that does not come where another worker has no memory.

    Returns:
        The scale.
    """
    with kernels():
        scale: Tensor = model({})[1]
    return scale


def _random_state(device: torch.device) -> list[Tensor]:
    """What a forward pass on a device draws from: the processor's generator, and the GPU's. Does not wait for it."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


class _Cached:
    """One batch in two or more chunks."""

    def __init__(
        self, model: nn.Module, inputs: Mapping[str, Tensor], chunks: Chunks, kernels: Kernels, apart: Apart
    ) -> None:
        self.model, self.chunks, self.kernels, self.apart = model, chunks, kernels, apart
        self.inputs = chunks.of(inputs)
        self.device = next(iter(inputs.values())).device
        self.drawing: set[str] = set()
        """Inputs whose towers draw random numbers."""

    def __call__(self, loss: LossFunction) -> Tensor:
        """Both passes.

        The kept chunk goes back first, the others in order; gradients are reduced with the last to go.
        """
        last = len(self.inputs) - 1
        with self.apart(), _unreduced(self.model):
            parts = [self._embed(number) for number in range(last)]
            self.chunks.seed(last)
            with self.kernels():
                kept, scale = self.model(self.inputs[last])
            trained = {name for name, rows in kept.items() if rows.requires_grad}
            embedded = {name: torch.cat([*(part[name] for part in parts), kept[name].detach()]) for name in kept}
        del parts
        value, gradients, of_scale = _gradients(loss, embedded, scale, trained)
        pieces = {name: gradient.split(list(self.chunks.sizes)) for name, gradient in gradients.items()}
        del embedded
        with buffers_kept(self.model):
            with self.apart(), _unreduced(self.model):
                for number in range(last):
                    _send_back([(kept[name], pieces[name][number - 1]) for name in pieces])
                    kept = self._replay(number, trained)
            scale = _reduced_next(self.model, self.kernels)
            ends = [(kept[name], pieces[name][last - 1]) for name in pieces]
            _send_back(ends if of_scale is None else [*ends, (scale, of_scale)])
        return value

    @torch.no_grad()
    def _embed(self, number: int) -> dict[str, Tensor]:
        """Embeddings alone, one input at a time to see which towers draw random numbers."""
        self.chunks.seed(number)
        embedded: dict[str, Tensor] = {}
        for name in self.inputs[number]:
            if name.endswith(THERE):
                continue
            before = _random_state(self.device)
            with self.kernels():
                embedded |= self.model(self._some(number, {name}))[0]
            if not all(map(torch.equal, before, _random_state(self.device))):
                self.drawing.add(name)
        return embedded

    def _replay(self, number: int, trained: set[str]) -> dict[str, Tensor]:
        """A chunk again, with activations.

        Frozen towers are left out, unless they draw random numbers: those that follow would draw others then.
        """
        self.chunks.seed(number)
        wanted = trained | self.drawing
        with self.kernels():
            embedded: dict[str, Tensor]
            embedded, _ = self.model(self._some(number, wanted))
        return embedded

    def _some(self, number: int, names: Collection[str]) -> dict[str, Tensor]:
        """Some of a chunk's inputs, each with which specimens have it."""
        return {name: values for name, values in self.inputs[number].items() if name.removesuffix(THERE) in names}


def _gradients(
    loss: LossFunction, embedded: Mapping[str, Tensor], scale: Tensor, trained: set[str]
) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
    """The loss, its gradients with respect to what is trained of the embeddings, and to the scale if it is trained."""
    leaves = {name: rows.detach().requires_grad_(name in trained) for name, rows in embedded.items()}
    leaf = scale.detach().requires_grad_(scale.requires_grad)
    value = loss(leaves, leaf)
    value.backward()
    return value.detach(), {name: rows.grad for name, rows in leaves.items() if rows.grad is not None}, leaf.grad


def _send_back(ends: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Backward pass from tensors with given gradients."""
    if ends:
        torch.autograd.backward([end for end, _ in ends], [gradient for _, gradient in ends])
