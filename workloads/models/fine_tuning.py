"""What of a tower learns: all of it, the head, or low-rank adapters beside query and value, through peft.

peft adapts linear layers. Where a network keeps query, key and value in one layer (timm, DNABERT-2) or in bare
parameters (PyTorch's own attention, so OpenCLIP), an adapter on the whole would change the key too and share one
down-projection among the three. There the layer is split into its parts first, which changes no number;
`plain_layers` joins them again.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.tower_specs import DnaTower, ImageTower, Lora, TextTower

_FUSED = ("qkv", "Wqkv")
"""What timm and DNABERT-2 call the one layer for query, key and value."""
_SEPARATE = (("query", "value"), ("q_proj", "v_proj"))
"""What BERT and the other models of Hugging Face call the two layers."""


class SplitQkv(nn.Module):
    """A fused query-key-value layer as three layers; gives the same numbers."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        size, width = weight.shape[0] // 3, weight.shape[1]
        self.query, self.key, self.value = (
            nn.Linear(width, size, bias=bias is not None, device=weight.device, dtype=weight.dtype) for _ in range(3)
        )
        with torch.no_grad():
            for part, layer in enumerate((self.query, self.key, self.value)):
                layer.weight.copy_(weight[part * size : (part + 1) * size])
                if bias is not None:
                    layer.bias.copy_(bias[part * size : (part + 1) * size])

    def forward(self, states: Tensor) -> Tensor:
        """(…, width) to (…, 3 width), in the order query, key, value."""
        return torch.cat([self.query(states), self.key(states), self.value(states)], dim=-1)


class SplitAttention(nn.Module):
    """PyTorch's attention of a sequence to itself, with linear layers for query and value that can be adapted.

    Takes the arguments of `nn.MultiheadAttention` that OpenCLIP gives, and returns the same pair.
    """

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads = fused.num_heads
        self.dropout = fused.dropout
        self.in_proj = SplitQkv(fused.in_proj_weight, fused.in_proj_bias)
        self.out_proj = fused.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            query: states, (batch, tokens, width).
            key: the same states.
            value: the same states.
            need_weights: the weights are never given back.
            attn_mask: added to the scores, (tokens, tokens) or (batch × heads, tokens, tokens).

        Returns:
            The attended states, (batch, tokens, width), and None for the weights.
        """
        batch, tokens, width = query.shape
        if attn_mask is not None and attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (batch, self.num_heads))
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.in_proj.query(query), self.in_proj.key(key), self.in_proj.value(value))
        )
        # Under autocast the scores are in lower precision than the mask was made in.
        attn_mask = attn_mask.to(query.dtype) if attn_mask is not None else None
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, tokens, width)), None


def apply_fine_tuning(tower: nn.Module, spec: ImageTower | DnaTower | TextTower) -> None:
    """Decide what of a tower learns, in place. Its head always does.

    Args:
        tower: with a `trunk`, a `head`, and perhaps more pre-trained parts.
        spec: its `fine_tuning`, of which `full` leaves it as it is; `frozen` lets nothing but the head learn; `lora`
            adapts the trunk and freezes the rest; `full_and_lora` adapts the trunk and lets everything learn. And the
            rank, scale and blocks of the adapters.

    Raises:
        SpecError: the trunk has nothing to adapt, or not those blocks.
    """
    # An MLP over features has no attention to adapt; it is small and is trained whole.
    if spec.fine_tuning == "full" or (spec.fine_tuning != "frozen" and spec.kind in ("features", "kmers")):
        return
    constant = [parameter for parameter in tower.parameters() if not parameter.requires_grad]
    tower.requires_grad_(False)
    tower.get_submodule("head").requires_grad_(True)
    if spec.fine_tuning != "frozen":
        add_lora(tower.get_submodule("trunk"), spec.lora)
    if spec.fine_tuning == "full_and_lora":
        tower.requires_grad_(True)
        for parameter in constant:
            parameter.requires_grad_(False)


def add_lora(trunk: nn.Module, lora: Lora) -> None:
    """Freeze a trunk and put adapters beside its queries and values, in place.

    An adapter of a layer has rank × (in + out) parameters. It starts at zero, so the outputs do not change (paper,
    section C.3; the authors' code has the same start and a scale of 1).

    Args:
        trunk: a network with attention.
        lora: rank, scale, and which blocks, counted from 0 in the order they run.

    Raises:
        SpecError: the trunk has no attention to adapt, or not those blocks.
    """
    from peft import LoraConfig, inject_adapter_in_model

    blocks = [name for name, module in trunk.named_modules() if _attends(module)]  # in the order they run
    if not blocks:
        kind = type(trunk).__name__
        raise SpecError(f"a {kind} has no attention layers to adapt; choose fine-tuning 'full' or 'frozen'")
    chosen = range(len(blocks)) if lora.layers is None else lora.layers
    if absent := [layer for layer in chosen if not 0 <= layer < len(blocks)]:
        raise SpecError(f"there is no block {absent[0]} to adapt; they are numbered 0 to {len(blocks) - 1}")
    if not chosen:
        raise SpecError("adaptation of no block at all is no adaptation; choose fine-tuning 'frozen'")
    adapted = [name for layer in chosen for name in _query_and_value(trunk, blocks[layer])]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules="|".join(re.escape(name) for name in adapted),
    )
    inject_adapter_in_model(config, trunk)


def _attends(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return module.batch_first and module.in_proj_weight is not None
    if type(module).__name__ == "AttentionPool2d":
        return False  # CLIP's ResNets pool with it; it reads the weights of its layers and would pass by an adapter
    return any(_has_linear(module, name) for name in _FUSED) or any(_has_linear(module, *pair) for pair in _SEPARATE)


def _has_linear(module: nn.Module, *names: str) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Linear) for name in names)


def _query_and_value(trunk: nn.Module, block: str) -> list[str]:
    """Names of the two layers of one attention module, which is split where they are one."""
    module = trunk.get_submodule(block)
    prefix = f"{block}." if block else ""
    if isinstance(module, nn.MultiheadAttention):
        parent, _, own = block.rpartition(".")
        setattr(trunk.get_submodule(parent), own, SplitAttention(module))
        return [f"{prefix}in_proj.query", f"{prefix}in_proj.value"]
    for name in _FUSED:
        if isinstance(fused := getattr(module, name, None), nn.Linear):
            # BEiT, EVA and Swin V2 keep the biases elsewhere and read the bare weight; MaxViT has query, key and value
            # of each head side by side.
            if hasattr(module, "q_bias") or getattr(module, "head_first", False):
                raise SpecError(
                    f"queries and values of this architecture's {type(module).__name__} cannot be adapted by "
                    "themselves; choose fine-tuning 'full' or 'frozen'"
                )
            setattr(module, name, SplitQkv(fused.weight, fused.bias))
            return [f"{prefix}{name}.query", f"{prefix}{name}.value"]
    pair = next(pair for pair in _SEPARATE if _has_linear(module, *pair))
    return [prefix + name for name in pair]


_HALF = re.compile(r"(?P<layer>.+)\.lora_[AB]\.default\.weight")
QKV_PARTS = ("query", "key", "value")
_PART = re.compile(rf"(?P<layer>.*\b(?:qkv|Wqkv|in_proj))\.(?P<part>{'|'.join(QKV_PARTS)})\.(?P<kind>weight|bias)")


def plain_layers(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Tensors of an adapted network under the names, and with the numbers, of one without adapters.

    Every update is added to its layer, W + scale B A, in float64, so that its only rounding is the last one. Then the
    parts of a layer that was split are joined again, in the order query, key, value.

    Raises:
        KeyError: half an adapter, the layer that it adapts, or a part of a split layer is missing.
        RuntimeError: an update does not fit its layer.
    """
    halves = {name: match["layer"] for name in tensors if (match := _HALF.fullmatch(name))}
    merged = {name.replace(".base_layer.", "."): tensor for name, tensor in tensors.items() if name not in halves}
    for layer in dict.fromkeys(halves.values()):
        down, up = (tensors[f"{layer}.lora_{half}.default.weight"].double() for half in "AB")
        weight, update = merged[f"{layer}.weight"].double(), scale * up @ down
        if update.shape != weight.shape:
            raise RuntimeError(f"{layer}: {tuple(update.shape)} cannot be added to {tuple(weight.shape)}")
        merged[f"{layer}.weight"] = (weight + update).float()
    plain: dict[str, Tensor] = {}
    for name, tensor in merged.items():
        match = _PART.fullmatch(name)
        if match is None:
            plain[name] = tensor
        elif match["part"] == "query":
            layer, kind = match["layer"], match["kind"]
            # PyTorch's own attention has no layer for the three but bare parameters.
            joint = f"{layer}_{kind}" if layer.endswith("in_proj") else f"{layer}.{kind}"
            plain[joint] = torch.cat([merged[f"{layer}.{part}.{kind}"] for part in QKV_PARTS])
    return plain
