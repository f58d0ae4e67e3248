"""Which form of attention is fast on this machine."""

import torch
from torch import nn


def plain_is_faster() -> bool:
    """Whether attention as plain matrix products beats the fused kernels: so it is on CPUs (docs/log.md)."""
    return not torch.cuda.is_available()


def without_fused_kernels(trunk: nn.Module) -> None:
    """Let timm's attention layers multiply plainly, in place; the numbers are the same up to rounding."""
    for module in trunk.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]  # an attribute of timm's, no submodule
