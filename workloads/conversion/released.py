"""What the authors released: files, under one roof on the Hugging Face Hub, and names and shapes of their tensors.

The names, which changed once; both are the state of their `SimpleCLIP`:

    image_encoder.lora_vit.*          or  image_encoder.base_image_encoder.*        a timm vision transformer
    dna_encoder.lora_barcode_bert.*   or  dna_encoder.base_dna_encoder.*            a BertForMaskedLM, its decoder new
    language_encoder.lora_bert.*      or  language_encoder.base_language_encoder.*  a BertModel with its pooler
    language_encoder.proj.*                                                         the head behind it
    logit_scale                                                                     log of the inverse temperature

An adapted layer keeps its own weight W one name deeper, with A and B beside, and adds B A x without any factor. In the
vision transformer the adapters are there even in models said to be fully fine-tuned. They are added to W here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workloads.errors import ConversionError, WeightsError, first_line
from workloads.models.bert import CONVERTED_WEIGHTS
from workloads.models.fine_tuning import QKV_PARTS, plain_layers
from workloads.models.weights import TOWER_NAMES
from workloads.spec import Modality
from workloads.tower_specs import DnaPooling

REPOSITORY = "bioscan-ml/clibd"
PUBLISHED_AT = f"https://huggingface.co/{REPOSITORY}/resolve/main/"
"""Where a browser finds the files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedFile:
    """One file, and what its name says of it."""

    file: str
    """In the repository."""
    dataset: str = "bioscan_1m"
    """What a model was trained on; a file that was renamed is taken for one of the paper's own data set."""
    epochs: int = 50
    dna_pooling: DnaPooling | None = "softmax_mean"
    """How a model pools DNA, which its tensors do not tell; None where its name does not either."""


_MODELS = {"image-dna": "image_dna_4gpu", "image-dna-text": "image_dna_text_4gpu", "image-text": "image_text_4gpu"}
_DATASETS = {"": ("bioscan_1m", 50), "5m-": ("bioscan_5m", 20)}
"""Prefix of the short name, and for how many epochs the paper trains on the data set."""

PUBLISHED: Mapping[str, ReleasedFile] = {
    CONVERTED_WEIGHTS: ReleasedFile(file="ckpt/BarcodeBERT/old_checkpoints/trained_with_canada_1_5M/model_41.pth"),
    **{
        f"clibd-{prefix}{name}": ReleasedFile(
            file=f"ckpt/bioscan_clip/ver_1_0/{dataset}/{folder}/best.pth", dataset=dataset, epochs=epochs
        )
        for prefix, (dataset, epochs) in _DATASETS.items()
        for name, folder in _MODELS.items()
    },
}
"""By the names that `clibd convert` takes instead of a path."""


_POOLINGS: Mapping[str, DnaPooling] = {
    "_using_logit_without_softmax": "logits_mean",
    "_4gpu_logits_mean": "logits_mean",
    "_using_hidden_state_mean": "hidden_mean",
    "_4gpu_hidden_state_mean": "hidden_mean",
    "_using_cls_for_dna": "cls_token",
    "_text_cls_token": "cls_token",
}
"""What the authors' branch 33 calls configurations, and folders of their checkpoints, that pool DNA in another way."""


def released_as(path: Path) -> ReleasedFile:
    """What the name of a checkpoint, and of the folders it lies in, says of it."""
    for published in PUBLISHED.values():
        if path.absolute().as_posix().endswith(f"/{published.file}"):
            return published
    marks = (mark for mark in _POOLINGS if any(mark in part for part in path.parts[-2:]))
    return ReleasedFile(file=path.name, dna_pooling=_POOLINGS.get(next(marks, "")))


ENCODERS: Mapping[Modality, str] = {"image": "image_encoder.", "dna": "dna_encoder.", "text": "language_encoder."}
_TRANSFORMERS: Mapping[str, Modality] = {
    "image_encoder.lora_vit.": "image",
    "image_encoder.base_image_encoder.": "image",
    "dna_encoder.lora_barcode_bert.": "dna",
    "dna_encoder.base_dna_encoder.": "dna",
    "language_encoder.lora_bert.": "text",
    "language_encoder.base_language_encoder.": "text",
}
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
_DNA_HEAD = ("cls.predictions.transform.", "cls.predictions.decoder.")


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


def rename(path: Path, tensors: Mapping[str, Tensor], without_dna_head: bool) -> Renamed:
    """The authors' model under our names, adapters merged.

    Args:
        path: of the checkpoint, for messages.
        tensors: by their names, old or new.
        without_dna_head: whether the embedding of DNA is a state, so that its masked-language head is dead weight.

    Raises:
        ConversionError: they are of none of the models that can be converted.
        WeightsError: a tensor is of no model that was released, is there twice, or holds something else than numbers.
    """
    if not any(name.startswith((*ENCODERS.values(), *_OPENCLIP)) for name in tensors):
        raise ConversionError(str(path), f"{next(iter(tensors))} is of none of the models that can be converted")
    plain, num_merged = _without_adapters(path, tensors)
    own: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    leftovers = []
    for name, tensor in plain.items():
        new_name = _own_name(path, name, without_dna_head)
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
    own = (modality for modality, theirs in ENCODERS.items() if name.startswith((theirs, f"towers.{modality}.")))
    modality = next(own, None)
    return TOWER_NAMES[modality] if modality else "every"


def _own_name(path: Path, name: str, without_dna_head: bool) -> str | None:
    """Our name of a tensor, None for a leftover."""
    if name == _LOG_SCALE:
        return "log_scale"
    if name.startswith(_TEXT_HEAD):
        return f"towers.text.head.{name.removeprefix(_TEXT_HEAD)}"
    if name.startswith(_OPENCLIP):
        raise ConversionError(str(path), f"{name} is of an OpenCLIP model, {_RELEASED}")
    beginning = next((beginning for beginning in _TRANSFORMERS if name.startswith(beginning)), None)
    if beginning is None:
        raise WeightsError(tower_of(name), str(path), f"{name} is of no vision transformer and of no BERT, {_RELEASED}")
    modality, inner = _TRANSFORMERS[beginning], name.removeprefix(beginning)
    if inner in _LEFTOVERS[modality] or (without_dna_head and modality == "dna" and inner.startswith(_DNA_HEAD)):
        return None
    for theirs, ours in _RENAMED[modality]:
        if inner.startswith(theirs):
            return f"towers.{modality}.{ours}{inner.removeprefix(theirs)}"
    raise WeightsError(TOWER_NAMES[modality], str(path), f"{name} is not known to be of any use, nor to be of none")


_RELEASED = "and only models of image and DNA, image and text, or all three with these encoders were released"
_HALVES: Mapping[str, Mapping[str, str]] = {
    "qkv": {
        "linear_a_q": "query.lora_A",
        "linear_b_q": "query.lora_B",
        "linear_a_v": "value.lora_A",
        "linear_b_v": "value.lora_B",
    },
    "w": {"w_a": "lora_A", "w_b": "lora_B"},
}
"""What they call halves of adapters, and what peft does; by their name of the weight of the layer itself."""


def _without_adapters(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Tensors with every update B A added to its layer, and how many there were.

    Args:
        path: of the checkpoint, for messages.
        tensors: `X.qkv.{weight,bias}` and `X.linear_{a,b}_{q,v}.weight` for a fused layer X = `….attn.qkv`, of whose
            outputs the first third are queries and the last third values; `X.w.{weight,bias}` and `X.w_{a,b}.weight`
            for any other.

    Raises:
        WeightsError: half of an adapter is missing, or does not fit its layer.
    """
    as_in_peft, num_merged = dict(tensors), 0
    for name in tensors:
        layer, own, kind = ("", "", *name.rsplit(".", 2))[-3:]
        if kind != "weight" or own not in _HALVES or (own == "qkv" and not layer.endswith(".attn.qkv")):
            continue
        for theirs, ours in _HALVES[own].items():
            if (half := as_in_peft.pop(f"{layer}.{theirs}.weight", None)) is None:
                reason = f"the adapters of {layer} cannot be merged: {layer}.{theirs}.weight is missing"
                raise WeightsError(tower_of(layer), str(path), reason)
            as_in_peft[f"{layer}.{ours}.default.weight"] = half
            num_merged += "lora_A" in ours
        for kind in ("weight", "bias"):
            if (tensor := as_in_peft.pop(f"{layer}.{own}.{kind}", None)) is None:
                continue
            if f"{layer}.{kind}" in tensors:
                reason = f"{layer} has a {kind} with adapters and another without"
                raise WeightsError(tower_of(layer), str(path), reason)
            thirds = tensor.chunk(3) if own == "qkv" and tensor.dim() else ()
            split = {f"{layer}.{part}.{kind}": third for part, third in zip(QKV_PARTS, thirds, strict=False)}
            as_in_peft |= split or {f"{layer}.{kind}": tensor}
    try:
        return plain_layers(as_in_peft, 1.0), num_merged
    except (KeyError, RuntimeError) as error:
        layer = first_line(error).strip("'")
        raise WeightsError(tower_of(layer), str(path), f"the adapters cannot be merged: {layer}") from error
