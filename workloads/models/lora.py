"""Low-rank adaptation of query and value in every attention layer, through peft.

timm keeps query, key and value in one linear layer, and an adapter on that would change the key too and share one
down-projection among the three. So the layer is split into its three parts first, which changes nothing else.
"""

import torch
from torch import Tensor, nn

from workloads.spec import Lora

_QUERY_AND_VALUE = r".*\.(query|value|q_proj|v_proj)"


class SplitQkv(nn.Module):
    """A fused query-key-value layer as three layers; gives the same numbers."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        size = fused.out_features // 3
        self.query, self.key, self.value = (
            nn.Linear(fused.in_features, size, bias=fused.bias is not None) for _ in range(3)
        )
        with torch.no_grad():
            for part, layer in enumerate((self.query, self.key, self.value)):
                layer.weight.copy_(fused.weight[part * size : (part + 1) * size])
                if fused.bias is not None:
                    layer.bias.copy_(fused.bias[part * size : (part + 1) * size])

    def forward(self, states: Tensor) -> Tensor:
        """(…, width) to (…, 3 width), in the order query, key, value."""
        return torch.cat([self.query(states), self.key(states), self.value(states)], dim=-1)


def add_lora(transformer: nn.Module, lora: Lora) -> None:
    """Freeze a transformer and put adapters beside its queries and values, in place.

    The adapters start at zero, so the outputs do not change.
    """
    from peft import LoraConfig, inject_adapter_in_model

    for module in list(transformer.modules()):
        if isinstance(fused := getattr(module, "qkv", None), nn.Linear):
            module.qkv = SplitQkv(fused)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules=_QUERY_AND_VALUE)
    inject_adapter_in_model(config, transformer)
