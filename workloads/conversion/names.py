"""Names of tensors in the authors' checkpoints and in ours, and what becomes of their adapters.

Their names, which changed once; both are the state of their `SimpleCLIP`:

    image_encoder.lora_vit.*          or  image_encoder.base_image_encoder.*        a timm vision transformer
    dna_encoder.lora_barcode_bert.*   or  dna_encoder.base_dna_encoder.*            a BertForMaskedLM, its decoder new
    language_encoder.lora_bert.*      or  language_encoder.base_language_encoder.*  a BertModel with its pooler
    language_encoder.proj.*                                                         the head behind it
    logit_scale                                                                     log of the inverse temperature

An adapted layer keeps its own weight W one name deeper, with A and B beside, and adds B A x without any factor. In the
vision transformer the adapters are there even in models said to be fully fine-tuned. They are added to W here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from workloads.errors import ConversionError, WeightsError, first_line
from workloads.spec import MODALITIES, Modality

TOWER_NAMES: Mapping[Modality, str] = {"image": "image", "dna": "DNA", "text": "text"}
"""As messages call them."""

_ENCODERS: Mapping[Modality, str] = {"image": "image_encoder.", "dna": "dna_encoder.", "text": "language_encoder."}
_TRANSFORMERS: Mapping[Modality, tuple[str, str]] = {
    "image": ("image_encoder.lora_vit.", "image_encoder.base_image_encoder."),
    "dna": ("dna_encoder.lora_barcode_bert.", "dna_encoder.base_dna_encoder."),
    "text": ("language_encoder.lora_bert.", "language_encoder.base_language_encoder."),
}
_BEGINNINGS = {name: (theirs, f"towers.{name}.") for name, theirs in _ENCODERS.items()}
_OPENCLIP = ("open_clip_model.", "dna_projection.")
_LOG_SCALE = "logit_scale"
_TEXT_HEAD = "language_encoder.proj."

_RENAMED: Mapping[Modality, tuple[tuple[str, str], ...]] = {
    "image": (("head.", "head."), ("", "trunk.")),
    "dna": (("bert.", "trunk."), ("cls.predictions.transform.", "transform."), ("cls.predictions.decoder.", "head.")),
    "text": (("embeddings.", "trunk.embeddings."), ("encoder.", "trunk.encoder.")),
}
"""Beginnings of names inside a transformer, theirs and ours; the first that fits is taken."""
_LEFTOVERS: Mapping[Modality, tuple[str, ...]] = {
    "image": (),
    # Numbers from 0 on, which older versions of transformers stored, and the bias of the decoder that was replaced.
    "dna": ("bert.embeddings.position_ids", "cls.predictions.bias"),
    "text": ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"),
}
"""What plays no part in their embeddings."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A model under our names, and the account of how it came to be."""

    tensors: Mapping[str, Tensor]
    """By our names, fp32."""
    origin: Mapping[str, str]
    """Their name of each."""
    leftovers: tuple[str, ...]
    """Their names of what was dropped."""
    num_merged: int
    """Adapters that were added to their layers; an adapted block of any tower has two."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those that have a tower."""
        return tuple(name for name in MODALITIES if self.tower(name))

    def tower(self, modality: Modality) -> dict[str, Tensor]:
        """The tensors of one tower, without `towers.<modality>.`."""
        prefix = f"towers.{modality}."
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


_DNA_HEAD = ("towers.dna.transform.", "towers.dna.head.")


def without_dna_head(model: Renamed) -> Renamed:
    """A model whose embedding of DNA is a state: its masked-language head is dead weight."""
    dead = [name for name in model.tensors if name.startswith(_DNA_HEAD)]
    return replace(
        model,
        tensors={name: tensor for name, tensor in model.tensors.items() if name not in dead},
        leftovers=tuple(sorted([*model.leftovers, *(model.origin[name] for name in dead)])),
    )


def is_released_model(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are names of the authors' whole model, of a kind that can be converted or not."""
    return any(name.startswith((*_ENCODERS.values(), *_OPENCLIP)) for name in tensors)


def rename(path: Path, tensors: Mapping[str, Tensor]) -> Renamed:
    """The authors' model under our names, adapters merged.

    Args:
        path: of the checkpoint, for messages.
        tensors: by their names, old or new.

    Raises:
        WeightsError: a tensor is of no model that was released, is there twice, or holds something else than numbers.
    """
    plain, num_merged = merge_adapters(path, tensors)
    own: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    leftovers = []
    for name, tensor in plain.items():
        new_name = _own_name(path, name)
        if new_name is None:
            leftovers.append(name)
        elif new_name in own:
            both = f"{name} and {origin[new_name]}"
            raise WeightsError(tower_of(name), str(path), f"{both} are one tensor under two names")
        else:
            own[new_name], origin[new_name] = numbers(path, name, tensor), name
    if "log_scale" not in own:
        raise ConversionError(str(path), f"it lacks {_LOG_SCALE}")
    own["log_scale"] = own["log_scale"].reshape(())
    return Renamed(own, origin, tuple(sorted(leftovers)), num_merged)


def numbers(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A tensor in fp32.

    Raises:
        WeightsError: it holds integers, NaN or infinity.
    """
    if not tensor.is_floating_point():
        raise WeightsError(tower_of(name), str(path), f"{name} holds {tensor.dtype}, not weights")
    if not tensor.isfinite().all():
        raise WeightsError(tower_of(name), str(path), f"{name} holds NaN or infinity")
    return tensor.to(torch.float32)


def tower_of(name: str) -> str:
    """The tower of one of their names or of ours, as messages call it."""
    found = (called for modality, called in TOWER_NAMES.items() if name.startswith(_BEGINNINGS[modality]))
    return next(found, "every")


def _own_name(path: Path, name: str) -> str | None:
    """Our name of a tensor, None for a leftover."""
    if name == _LOG_SCALE:
        return "log_scale"
    if name.startswith(_TEXT_HEAD):
        return f"towers.text.head.{name.removeprefix(_TEXT_HEAD)}"
    for modality, prefixes in _TRANSFORMERS.items():
        if name.startswith(prefixes):
            inner = name.split(".", 2)[2]
            return _own_name_inside(path, modality, name, inner)
    if name.startswith(_OPENCLIP):
        raise ConversionError(str(path), f"{name} is of an OpenCLIP model, {_RELEASED}")
    raise WeightsError(tower_of(name), str(path), f"{name} is of no vision transformer and of no BERT, {_RELEASED}")


_RELEASED = "and only models of image and DNA, image and text, or all three with these encoders were released"


def _own_name_inside(path: Path, modality: Modality, name: str, inner: str) -> str | None:
    if inner in _LEFTOVERS[modality]:
        return None
    for theirs, ours in _RENAMED[modality]:
        if inner.startswith(theirs):
            return f"towers.{modality}.{ours}{inner.removeprefix(theirs)}"
    raise WeightsError(TOWER_NAMES[modality], str(path), f"{name} is not known to be of any use, nor to be of none")


_FUSED, _SEPARATE = ".qkv.weight", ".w.weight"


def merge_adapters(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Tensors with every update B A added to its layer, and how many there were.

    The sum is made in float64, so that its only rounding is the last one.

    Args:
        path: of the checkpoint, for messages.
        tensors: `X.qkv.{weight,bias}` and `X.linear_{a,b}_{q,v}.weight` for a fused layer X = `….attn.qkv`, of whose
            outputs the first third are queries and the last third values; `X.w.{weight,bias}` and `X.w_{a,b}.weight`
            for any other.

    Raises:
        WeightsError: half of an adapter is missing, or does not fit its layer.
    """
    rest, num_merged = dict(tensors), 0
    for name in tensors:
        layer = name.removesuffix(_FUSED)
        if layer.endswith(".attn.qkv") and layer != name:
            width = tensors[name].shape[-1]
            parts = {"q": slice(0, width), "v": slice(2 * width, 3 * width)}
            halves = {f"linear_{{}}_{part}": rows for part, rows in parts.items()}
        elif name.endswith(_SEPARATE):
            layer, halves = name.removesuffix(_SEPARATE), {"w_{}": slice(None)}
        else:
            continue
        _merge(path, rest, layer, name, halves)
        num_merged += len(halves)
    return rest, num_merged


def _merge(path: Path, rest: dict[str, Tensor], layer: str, wrapped: str, halves: Mapping[str, slice]) -> None:
    """Replace the wrapped weight of a layer, and its adapters, by a plain weight."""
    try:
        weight = rest.pop(wrapped).to(torch.float64, copy=True)
        for half, rows in halves.items():
            down, up = (rest.pop(f"{layer}.{half.format(letter)}.weight").double() for letter in "ab")
            if (update := up @ down).shape != weight[rows].shape:
                raise RuntimeError(f"{tuple(update.shape)} cannot be added to {tuple(weight[rows].shape)}")
            weight[rows] += update
    except (KeyError, RuntimeError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else first_line(error)
        raise WeightsError(tower_of(layer), str(path), f"the adapters of {layer} cannot be merged: {reason}") from error
    for kind, tensor in (("weight", weight.float()), ("bias", rest.pop(_bias_of(wrapped), None))):
        if tensor is not None and rest.setdefault(f"{layer}.{kind}", tensor) is not tensor:
            raise WeightsError(tower_of(layer), str(path), f"{layer} has a {kind} with adapters and another without")


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"
