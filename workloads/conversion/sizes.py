"""Reads the sizes of a model off the shapes of its tensors, and states them as a spec.

What shapes do not tell is the number of attention heads. Every head of the vision transformers and BERTs that were
released is 64 wide, and that is taken for granted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor

from workloads.conversion.names import TOWER_NAMES, Renamed
from workloads.data.specimens import barcode
from workloads.errors import ConversionError, WeightsError
from workloads.models.bert import FIELDS
from workloads.recipes import with_recipe
from workloads.spec import WITHOUT_HEAD, DnaPooling, DnaTower, ExperimentSpec, ImageTower, Modality, TextTower

HEAD_WIDTH = 64
AUTHORS_BATCH = 2000
_PATCH = 16
_ARCHITECTURES = {(768, 12): "vit_base_patch16_224", (1024, 24): "vit_large_patch16_224"}
"""By width and depth; other sizes are stated as differences from the first."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads shapes of the tensors of one transformer."""

    path: Path
    """Of the checkpoint, for messages."""
    tower: str
    tensors: Mapping[str, Tensor]

    def shape(self, name: str, num_sizes: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            WeightsError: it is not there, or has not so many sizes.
        """
        if name not in self.tensors:
            raise WeightsError(self.tower, str(self.path), f"it lacks {name}")
        found = tuple(self.tensors[name].shape)
        if len(found) != num_sizes:
            raise WeightsError(self.tower, str(self.path), f"{name} is {found}, which should be {num_sizes} sizes")
        return found

    def num_heads(self, width: int) -> int:
        """How many heads share a width.

        Raises:
            WeightsError: heads of 64 do not fill it.
        """
        if width < HEAD_WIDTH or width % HEAD_WIDTH:
            reason = f"its width is {width}, which no number of heads of {HEAD_WIDTH} fills"
            raise WeightsError(self.tower, str(self.path), reason)
        return width // HEAD_WIDTH

    def depth(self, prefix: str) -> int:
        """Number of blocks, named `<prefix><number>.`."""
        numbers = {name.removeprefix(prefix).split(".")[0] for name in self.tensors if name.startswith(prefix)}
        return len(numbers)


def bert_sizes(reader: Reader, prefix: str) -> dict[str, int]:
    """Sizes of the BERT whose names start with a prefix, as transformers calls them."""
    embeddings, blocks = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    vocabulary_size, width = reader.shape(f"{embeddings}word_embeddings.weight", 2)
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": width,
        "num_hidden_layers": reader.depth(blocks),
        "num_attention_heads": reader.num_heads(width),
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
    depth, num_heads = reader.depth(f"{prefix}blocks."), reader.num_heads(width)
    tower = ImageTower(image_size=side * patch, patch_size=None if patch == _PATCH else patch)
    if architecture := _ARCHITECTURES.get((width, depth)):
        return replace(tower, architecture=architecture)
    return replace(tower, width=width, depth=depth, num_heads=num_heads)


def _tower_sizes(reader: Reader, vocabulary_size: int | None = None) -> dict[str, Any]:
    """What a tower's spec says of its BERT."""
    sizes = bert_sizes(reader, "trunk.")
    if vocabulary_size not in (None, sizes["vocab_size"]):
        reason = f"its vocabulary has {sizes['vocab_size']} tokens, 5-mers have {vocabulary_size}"
        raise WeightsError(reader.tower, str(reader.path), reason)
    return {ours: sizes[theirs] for theirs, (ours, _) in FIELDS.items()}


def spec_of(path: Path, model: Renamed, dataset: str, epochs: int, pooling: DnaPooling) -> ExperimentSpec:
    """The experiment that a converted model stands for, by the recipe of the authors' code.

    Args:
        path: of the checkpoint, for messages.
        model: under our names.
        dataset: what it was trained on.
        epochs: for how long.
        pooling: of DNA; without meaning where there is no such tower.

    Raises:
        WeightsError: fewer than two towers, or shapes that fit no tower of ours.
    """
    if len(model.modalities) < 2:
        raise ConversionError(str(path), f"it has {len(model.modalities)} tower(s), and aligned are two at least")
    reader: dict[Modality, Reader] = {
        name: Reader(path, TOWER_NAMES[name], model.tower(name)) for name in model.modalities
    }
    spec = ExperimentSpec(
        dataset=dataset,
        data_fingerprint="converted",
        modalities=model.modalities,
        image=image_tower(reader["image"], "trunk.") if "image" in reader else ImageTower(),
        dna=DnaTower(**_tower_sizes(reader["dna"], barcode.VOCABULARY_SIZE)) if "dna" in reader else DnaTower(),
        text=TextTower(**_tower_sizes(reader["text"])) if "text" in reader else TextTower(),
        embedding_size=_embedding_size(reader, pooling),
        batch_size=AUTHORS_BATCH,
        epochs=epochs,
    )
    spec = with_recipe(spec, "authors")
    dna = replace(spec.dna, pooling=pooling) if "dna" in reader else spec.dna
    return replace(spec, dna=dna, image=replace(spec.image, fine_tuning="full"))  # the adapters are merged


def _embedding_size(readers: Mapping[Modality, Reader], pooling: DnaPooling) -> int:
    """What the heads give; of a DNA tower without one the width of its states."""
    sizes = {
        reader.tower: reader.shape("trunk.embeddings.word_embeddings.weight", 2)[1]
        if modality == "dna" and pooling in WITHOUT_HEAD
        else reader.shape("head.weight", 2)[0]
        for modality, reader in readers.items()
    }
    if len(set(sizes.values())) > 1:
        path = next(iter(readers.values())).path
        raise ConversionError(str(path), f"its towers do not share a space: {sizes}")
    return next(iter(sizes.values()))
