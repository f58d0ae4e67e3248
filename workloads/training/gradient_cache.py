"""Gradients of a batch that is larger than what fits into memory with its activations; exact.

The loss needs all embeddings of the batch, but not the activations behind them (GradCache, arXiv:2101.06983):

    embed chunk by chunk without activations -> loss -> gradients of the embeddings
    chunk by chunk: embed again with activations and the same random numbers, send the gradients through

The last chunk's activations are kept from the first pass, so all but one are embedded twice. Gradients are those of the
whole batch at once, dropout and temperature included, up to the rounding of sums.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

LossFunction = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Global mean loss of this worker's embeddings by input name, and the scale."""
Kernels = Callable[[], AbstractContextManager[None]]
"""What every forward pass of the towers runs under, such as autocast."""


def accumulate_gradients(
    model: nn.Module, inputs: Mapping[str, Tensor], loss: LossFunction, *, micro_batch: int, kernels: Kernels
) -> Tensor:
    """Add the gradients of a batch's loss to those of the parameters, where not all of its activations fit.

    The batch is cut into the fewest chunks that fit, of equal size up to one specimen. Random numbers are drawn in the
    order of chunks, and the random state ends as one pass leaves it. The statistics of batch normalisation are each
    chunk's own; running statistics are updated once for every chunk.

    Args:
        model: gives embeddings by input name, and the scale; takes any part of the inputs, and treats each input on its
            own, in order. It may be wrapped in DistributedDataParallel, which then reduces gradients once.
        inputs: this worker's share of the batch, by name, (batch / workers, ...) each.
        loss: draws no random numbers.
        micro_batch: most specimens whose activations are held at a time, less than there are.
        kernels: context of every forward pass.

    Returns:
        The loss, without a graph, as `loss` gave it.
    """
    share = len(next(iter(inputs.values())))
    return _Cached(model, inputs, -(-share // micro_batch), kernels)(loss)


@contextmanager
def unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts random state and buffers back in the end, such as the running statistics of batch normalisation."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _random_state(device: torch.device) -> list[Tensor]:
    """What a forward pass on a device draws from: the processor's generator, and the GPU's. Does not wait for it."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


class _Cached:
    """One batch in two or more chunks."""

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor], num_chunks: int, kernels: Kernels) -> None:
        split = {name: values.tensor_split(num_chunks) for name, values in inputs.items()}
        self.chunks = [{name: parts[number] for name, parts in split.items()} for number in range(num_chunks)]
        self.model, self.kernels = model, kernels
        self.device = next(iter(inputs.values())).device
        self.states: list[list[Tensor]] = []
        """Before each chunk but the last."""
        self.drawing: set[str] = set()
        """Inputs whose towers draw random numbers."""

    def __call__(self, loss: LossFunction) -> Tensor:
        """Both passes.

        The kept chunk goes back first, the others in order. Gradients are reduced with the last to go, so the scale's
        gradient goes with it; the kept chunk cannot be that one, because the others would then come in between.
        """
        with self._unreduced():
            parts = [self._embed(chunk) for chunk in self.chunks[:-1]]
            with self.kernels():
                kept, scale = self.model(self.chunks[-1])
        trained = {name for name, rows in kept.items() if rows.requires_grad}
        embedded = {name: torch.cat([*(part[name] for part in parts), kept[name].detach()]) for name in kept}
        del parts
        value, gradients, of_scale = _gradients(loss, embedded, scale, trained)
        pieces = {name: gradient.tensor_split(len(self.chunks)) for name, gradient in gradients.items()}
        with unchanged(self.model, self.device):
            with self._unreduced():
                _send_back([(kept[name], pieces[name][-1]) for name in pieces])
                del kept, embedded
                for number in range(len(self.chunks) - 2):
                    replayed, _ = self._replay(number, trained)
                    _send_back([(replayed[name], pieces[name][number]) for name in pieces])
            replayed, scale = self._replay(len(self.chunks) - 2, trained)
            ends = [(replayed[name], pieces[name][-2]) for name in pieces]
            _send_back(ends if of_scale is None else [*ends, (scale, of_scale)])
        return value

    @torch.no_grad()
    def _embed(self, chunk: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings alone, one input at a time to see which towers draw random numbers."""
        self.states.append(_random_state(self.device))
        embedded: dict[str, Tensor] = {}
        for name, values in chunk.items():
            before = _random_state(self.device)
            with self.kernels():
                embedded |= self.model({name: values})[0]
            if not all(map(torch.equal, before, _random_state(self.device))):
                self.drawing.add(name)
        return embedded

    def _replay(self, number: int, trained: set[str]) -> tuple[dict[str, Tensor], Tensor]:
        """A chunk again, with activations.

        Frozen towers are left out, unless they draw random numbers: those that follow would draw others then.
        """
        torch.set_rng_state(self.states[number][0])
        for of_gpu in self.states[number][1:]:
            torch.cuda.set_rng_state(of_gpu, self.device)
        wanted = trained | self.drawing
        with self.kernels():
            embedded, scale = self.model({n: values for n, values in self.chunks[number].items() if n in wanted})
        return embedded, scale

    def _unreduced(self) -> AbstractContextManager[None]:
        """Keeps DistributedDataParallel from reducing gradients after every chunk."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()


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
