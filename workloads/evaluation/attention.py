"""Where a vision transformer looks: its attention, rolled out over its blocks (CLIBD, Figures 5 and 11 to 13).

Attention roll-out (Abnar and Zuidema, arXiv:2005.00928) follows attention from the output back to the patches. Each
block's heads are joined to one map, of which only the strongest entries are kept, and half of what a token holds stays
with it (the residual connection):

    a = (A + I) / 2,  each row divided by its sum;   R = a[last] … a[first];   mask = R[read, patches] / max

The paper joins by the maximum, keeps the strongest tenth and takes the second to the sixth of twelve blocks, as later
maps hold artefacts (arXiv:2309.16588). The authors' code differs in three ways, which recipe `authors` follows:

- it divides column j by the sum of row j, so that rows no longer sum to one;
- it keeps the strongest tenth of a map as a whole, so that the row which is read may lose all its entries; we keep the
  strongest tenth of every row under `corrected`, and a tenth of the whole under `paper`, which says nothing of it;
- it leaves out the first and the last six blocks, however many there are.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.models.towers import Tower
from workloads.spec import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """How attention is rolled out."""

    blocks: Literal["second_to_middle", "authors", "all"] = "second_to_middle"
    """The second to the sixth of twelve, and as far in other depths; all but the first and the last six; or all."""
    heads: Literal["max", "mean"] = "max"
    """How the heads of a block become one map."""
    discard: float = 0.9
    """Share of the weakest entries that is set to zero, in [0, 1)."""
    discarded_from: Literal["rows", "map"] = "rows"
    """Whether weak entries are discarded from each row, or from the whole map but for its very first entry."""
    normalised: Literal["rows", "authors"] = "rows"
    """Each row by its own sum, or as in the authors' code column j by the sum of row j."""


ROLLOUTS: dict[Recipe, Rollout] = {
    "paper": Rollout(discarded_from="map"),
    "authors": Rollout(blocks="authors", discarded_from="map", normalised="authors"),
    "corrected": Rollout(),
}


def chosen_blocks(num_blocks: int, blocks: Literal["second_to_middle", "authors", "all"]) -> range:
    """The blocks that are rolled out, counted from 0.

    Raises:
        SpecError: the authors' choice leaves none of so few.
    """
    everything = range(num_blocks)
    if blocks == "all":
        return everything
    if blocks == "second_to_middle":
        return everything[1 : max(2, num_blocks // 2)] or everything
    if chosen := everything[1:-6]:
        return chosen
    raise SpecError(
        f"of {num_blocks} blocks none is left without the first and the last six, as the authors have it; "
        "choose the recipe 'corrected'"
    )


def roll_out(maps: Sequence[Tensor], how: Rollout) -> Tensor:
    """Attention of the last block's tokens to the first one's.

    Args:
        maps: of the chosen blocks in the order they run, (batch, heads, tokens, tokens) each; rows sum to one.
        how: the settings; `how.blocks` was applied before.

    Returns:
        (batch, tokens, tokens); its rows sum to one where they were normalised.
    """
    size = maps[0].shape[-1]
    identity = torch.eye(size, dtype=maps[0].dtype, device=maps[0].device)
    rolled = identity.expand(len(maps[0]), size, size)
    for heads in maps:
        joined = heads.amax(dim=1) if how.heads == "max" else heads.mean(dim=1)
        mixed = (_strongest(joined, how) + identity) / 2
        sums = mixed.sum(dim=-1)
        mixed = mixed / (sums[:, :, None] if how.normalised == "rows" else sums[:, None, :])
        rolled = mixed @ rolled
    return rolled


def _strongest(joined: Tensor, how: Rollout) -> Tensor:
    """The map without its weakest entries, of equal ones the first, (batch, tokens, tokens)."""
    lists = joined.flatten(1) if how.discarded_from == "map" else joined
    order = lists.argsort(dim=-1, stable=True)
    weakest = order[..., : int(lists.shape[-1] * how.discard)]
    kept = lists.scatter(-1, weakest, 0.0)
    if how.discarded_from == "map":
        kept[:, 0] = lists[:, 0]  # the authors never drop it
    return kept.view_as(joined)


def attention_masks(tower: nn.Module, images: Tensor, how: Rollout) -> Tensor:
    """Where a tower looks in each image.

    Args:
        tower: of a timm vision transformer.
        images: uint8 pixels, (batch, 3, side, side), on the tower's device.
        how: the settings.

    Returns:
        What each patch adds to the output, (batch, rows, columns), in [0, 1] with a maximum of 1; all zero where
        nothing that is read was kept.

    Raises:
        SpecError: the tower is no such transformer, or has too few blocks.
    """
    trunk = _vision_transformer(tower)
    maps = attention_maps(tower, images, chosen_blocks(len(trunk.blocks), how.blocks))
    rolled = roll_out(maps, how)
    to_patches = rolled[:, :, trunk.num_prefix_tokens :]
    # The output is the class token's, or the mean over the patches.
    mask = to_patches[:, 0] if trunk.global_pool == "token" else to_patches[:, trunk.num_prefix_tokens :].mean(dim=1)
    mask = mask / mask.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(mask.dtype).tiny)
    on_grid: Tensor = mask.unflatten(-1, trunk.patch_embed.grid_size)
    return on_grid


def attention_maps(tower: nn.Module, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """The attention of some blocks in evaluation mode, after the softmax; the tower is left as it was.

    Args:
        tower: of a timm vision transformer, with or without adapters.
        images: uint8 pixels, (batch, 3, side, side).
        blocks: counted from 0.

    Returns:
        By block, (batch, heads, tokens, tokens); tokens in the model's order: class, registers, patches.

    Raises:
        SpecError: the tower is no such transformer, or its blocks do not attend from every token to every other.
    """
    trunk = _vision_transformer(tower)
    layers = [trunk.blocks[block].attn for block in blocks]
    with torch.inference_mode(), _laid_open(tower, layers) as seen:
        tower(images)
    size = trunk.num_prefix_tokens + trunk.patch_embed.num_patches
    shapes = {tuple(taken.shape[-2:]) for taken in seen}
    if len(seen) != len(layers) or shapes != {(size, size)}:
        raise SpecError(f"the attention of a {type(trunk).__name__} is not between all of its {size} tokens")
    return seen


@contextmanager
def _laid_open(tower: nn.Module, layers: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Collects the attention of some layers in evaluation mode, without fused kernels, which never form it."""
    seen: list[Tensor] = []
    with ExitStack() as after:
        for module in tower.modules():
            after.callback(setattr, module, "training", module.training)
        tower.eval()
        for layer in layers:
            after.callback(setattr, layer, "fused_attn", layer.fused_attn)
            layer.fused_attn = False
            hooked = layer.attn_drop.register_forward_hook(lambda _module, _inputs, given: seen.append(given.float()))
            after.callback(hooked.remove)
        yield seen


def _vision_transformer(tower: nn.Module) -> Any:
    """The trunk of a tower, if it is a transformer over patches whose attention can be followed."""
    trunk: Any = tower.trunk if isinstance(tower, Tower) else tower
    layers = [getattr(block, "attn", None) for block in getattr(trunk, "blocks", ())]
    followed = layers and all(hasattr(layer, "attn_drop") and hasattr(layer, "fused_attn") for layer in layers)
    pooled = getattr(trunk, "global_pool", None)
    if not followed or not hasattr(trunk, "num_prefix_tokens") or pooled not in ("token", "avg"):
        raise SpecError(
            f"the attention of a {type(trunk).__name__} cannot be rolled out; it needs a timm vision transformer whose "
            "output is its class token or the mean of its patches"
        )
    return trunk
