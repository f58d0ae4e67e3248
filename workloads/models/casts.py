"""One copy of an attention's states in lower precision, where query, key and value would make and keep one each."""

from typing import Any

import torch
from torch import Tensor, nn

from workloads.models.fine_tuning import QKV_PARTS


def share_casts(trunk: nn.Module) -> None:
    """Have every attention with layers `query`, `key` and `value` share one cast; names and numbers stay the same."""
    for module in trunk.modules():
        if all(isinstance(getattr(module, name, None), nn.Linear) for name in QKV_PARTS):
            _OneCast().join(module)


class _OneCast:
    """Under autocast query, key and value each cast the states and keep the copy; here they share one.

    Each still has a node of its own in the graph, so gradients are added in the order and precision that they had.
    Adapted layers cast for their adapters themselves; compiled ones share of themselves.
    """

    def __init__(self) -> None:
        self._copy: Tensor | None = None

    def join(self, attention: nn.Module) -> None:
        """Work in an attention from now on."""
        attention.register_forward_pre_hook(self._begin)
        for name in QKV_PARTS:
            attention.get_submodule(name).register_forward_pre_hook(self._give)
        attention.register_forward_hook(self._end, always_call=True)

    def _begin(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        device = given[0].device.type
        if not torch.compiler.is_compiling() and device != "meta" and torch.is_autocast_enabled(device):
            self._copy = given[0].detach().to(torch.get_autocast_dtype(device))

    def _give(self, _: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return None if self._copy is None else (_Copied.apply(given[0], self._copy),)

    def _end(self, *_: object) -> None:
        self._copy = None


class _Copied(torch.autograd.Function):
    """States in another precision, of which there is a copy already."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, copy: Tensor) -> Tensor:
        ctx.dtype = states.dtype
        return copy.view_as(copy)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[0].to(ctx.dtype), None
