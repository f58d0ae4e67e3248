"""Sizes of others' transformers, read off the shapes of their tensors, which do not tell the number of attention heads.

Heads of the widths that were released are 64 wide; of any other width somebody has to say it, the file itself or
whoever converts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

from torch import Tensor

from workloads.errors import WeightsError
from workloads.tower_specs import ImageTower

_HEAD_WIDTH = 64
_RELEASED_WIDTHS = (512, 768, 1024)
"""Of BERT-small, of BarcodeBERT and ViT-B, and of ViT-L."""
_PATCH = 16
_ARCHITECTURES = {(768, 12): "vit_base_patch16_224", (1024, 24): "vit_large_patch16_224"}
"""By width and depth; other sizes are stated as differences from the first."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads shapes of the tensors of one transformer."""

    path: Path
    """The checkpoint's, for messages."""
    tower: str
    tensors: Mapping[str, Tensor]
    head_width: int | None = None
    """Of each attention head, where somebody says it."""
    num_heads: int | None = None
    """How many there are, where the file says it."""

    def shape(self, name: str, num_sizes: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            WeightsError: it is not there, or has not so many sizes.
        """
        if name not in self.tensors:
            raise WeightsError(self.tower, str(self.path), f"it lacks {name}")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != num_sizes:
            raise WeightsError(self.tower, str(self.path), f"{name} is {shape}, which should be {num_sizes} sizes")
        return shape


def _num_heads(reader: Reader, width: int) -> int:
    """How many heads share a width.

    Raises:
        WeightsError: nothing says it, or such heads do not fill it.
    """
    if reader.head_width is None and reader.num_heads is None and width not in _RELEASED_WIDTHS:
        reason = f"its width is {width}, and nothing in it says how many attention heads share that"
        remedy = "Say how wide each of them is: --head-width 64, or what it was trained with."
        raise WeightsError(reader.tower, str(reader.path), reason, remedy)
    head_width = reader.head_width or _HEAD_WIDTH
    num_heads = reader.num_heads or width // head_width
    if num_heads < 1 or width % num_heads or (not reader.num_heads and width % head_width):
        of = "" if reader.num_heads else f" of {head_width}"
        reason = f"its width is {width}, which {num_heads or 'no number of'} heads{of} do not fill"
        raise WeightsError(reader.tower, str(reader.path), reason, "Give --head-width as it was trained with.")
    return num_heads


def _depth(reader: Reader, prefix: str) -> int:
    """Number of blocks, named `<prefix><number>.`."""
    return len({name.removeprefix(prefix).split(".")[0] for name in reader.tensors if name.startswith(prefix)})


def bert_sizes(reader: Reader, prefix: str) -> dict[str, int]:
    """Sizes of the BERT whose names start with a prefix, as transformers calls them."""
    embeddings, blocks = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    vocabulary_size, width = reader.shape(f"{embeddings}word_embeddings.weight", 2)
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": width,
        "num_hidden_layers": _depth(reader, blocks),
        "num_attention_heads": _num_heads(reader, width),
        "intermediate_size": reader.shape(f"{blocks}0.intermediate.dense.weight", 2)[0],
        "max_position_embeddings": reader.shape(f"{embeddings}position_embeddings.weight", 2)[0],
        "type_vocab_size": reader.shape(f"{embeddings}token_type_embeddings.weight", 2)[0],
    }


def image_tower(reader: Reader, prefix: str) -> ImageTower:
    """The vision transformer whose names start with a prefix.

    Raises:
        WeightsError: its images are not square.
    """
    width, _, patch, _ = reader.shape(f"{prefix}patch_embed.proj.weight", 4)
    num_patches = reader.shape(f"{prefix}pos_embed", 3)[1] - 1  # the first position is that of the class token
    side = isqrt(max(num_patches, 0))
    if side * side != num_patches or not side:
        raise WeightsError(reader.tower, str(reader.path), f"{prefix}pos_embed has {num_patches} patches, no square")
    depth, num_heads = _depth(reader, f"{prefix}blocks."), _num_heads(reader, width)
    tower = ImageTower(image_size=side * patch, patch_size=None if patch == _PATCH else patch)
    architecture = _ARCHITECTURES.get((width, depth))
    if architecture and num_heads * _HEAD_WIDTH == width:
        return replace(tower, architecture=architecture)
    return replace(tower, width=width, depth=depth, num_heads=num_heads)
