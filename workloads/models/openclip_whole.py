"""A whole OpenCLIP model as it was published: both towers, its own preprocessing and its own tokeniser.

    find_openclip ──▶ PublishedClip       where it is from and how it wants its pictures; nothing is built
    load_openclip ──▶ WholeClip           ready to embed

The towers of `workloads.models.openclip_towers` are built from a spec and trained; a whole model is only looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from workloads.errors import WeightsError, first_line
from workloads.models.openclip_plan import CONFIG, open_clip_library, published_config
from workloads.models.openclip_towers import TEMPERATURE, WEIGHTS, file_of_tag
from workloads.models.weights import HUB_PREFIX, fill, load_tensors, published_file, published_json

_TOWER = "OpenCLIP"
_OF_A_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "tokenizer.model")
_BUILDING = (TypeError, KeyError, ValueError, AttributeError, AssertionError, RuntimeError, OSError)
"""What OpenCLIP and transformers raise at configurations that they do not know, or cannot fetch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedClip:
    """Where a published model is from, and what is known before it is built."""

    weights: str
    """As it was asked for."""
    name: str
    """For tables; `BioCLIP` as the paper writes it."""
    config: Mapping[str, Any]
    """Its `model_cfg`."""
    preprocessing: Mapping[str, Any]
    """Every field of OpenCLIP's `PreprocessCfg`: size, mean, std, interpolation, resize_mode and so on."""
    tokenizer: str
    """What OpenCLIP's `get_tokenizer` takes."""
    file: Path
    """Its tensors."""


@dataclass(frozen=True, slots=True)
class WholeClip:
    """A published model, ready to embed."""

    model: Any
    """A module of one of OpenCLIP's classes, with `encode_image` and `encode_text`; fp32, in evaluation mode."""
    transform: Callable[[Image.Image], Tensor]
    """From an RGB picture to what `encode_image` takes, (3, height, width)."""
    tokenizer: Callable[[Sequence[str]], Tensor]
    """From texts to what `encode_text` takes, int64 (texts, context)."""


def find_openclip(weights: str) -> PublishedClip:
    """Find a published model on this machine or on the hub; its weights are fetched if need be.

    Args:
        weights: `hf-hub:owner/name`, a local folder in the hub's layout, or `NAME:TAG` of OpenCLIP's own list, such as
            `ViT-B-16:openai`.

    Raises:
        WeightsError: it is none of these, or cannot be had.
    """
    is_folder = Path(weights).is_dir()
    if not weights.startswith(HUB_PREFIX) and not is_folder:
        return _of_tag(weights)
    content = published_json(_TOWER, weights, CONFIG)
    config = content.get("model_cfg")
    if not isinstance(config, dict):
        raise WeightsError(_TOWER, weights, f"its {CONFIG} has no model_cfg")
    folder = published_file(_TOWER, weights, CONFIG).parent
    short = Path(weights).resolve().name if is_folder else weights.rpartition("/")[2]
    return PublishedClip(
        weights=weights,
        name="BioCLIP" if short.casefold() == "bioclip" else short,
        config=config,
        preprocessing=_preprocessing(weights, config, content.get("preprocess_cfg") or {}),
        tokenizer=_tokenizer_of_folder(weights, config, folder),
        file=published_file(_TOWER, weights, *WEIGHTS),
    )


def load_openclip(found: PublishedClip, device: torch.device) -> WholeClip:
    """Build a published model and fill it with its weights; every tensor must fit.

    Raises:
        WeightsError: the weights are not of the model that the configuration describes, or its tokeniser cannot be had.
    """
    open_clip = open_clip_library()
    model = _network(found)
    own = model.state_dict()
    # Of no effect on embeddings of unit length.
    temperature = {name: own[name] for name in TEMPERATURE if name in own}
    fill(_TOWER, found.weights, model, _tensors(found, model) | temperature, ignored=TEMPERATURE)
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**found.preprocessing), is_train=False
    )
    return WholeClip(model.to(device).eval(), transform, _tokenizer(found))


def _of_tag(weights: str) -> PublishedClip:
    name, _, tag = weights.partition(":")
    if not tag:
        reason = f"it is no local folder, no {HUB_PREFIX}owner/name, and no NAME:TAG of OpenCLIP's list"
        raise WeightsError(_TOWER, weights, reason)
    open_clip = open_clip_library()
    if not open_clip.is_pretrained_cfg(name, tag):
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none, or no such model"
        raise WeightsError(_TOWER, weights, f"'{tag}' is no tag of {name} in OpenCLIP's list ({known})")
    config, about = published_config(name, tag)
    return PublishedClip(
        weights=weights,
        name=weights,
        config=config,
        preprocessing=_preprocessing(weights, config, about),
        tokenizer=name,
        file=file_of_tag(_TOWER, weights, about),
    )


def _preprocessing(weights: str, config: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenCLIP does it: what is stated over its defaults, and the size that the image tower has."""
    open_clip = open_clip_library()
    try:
        size = open_clip.CLIPVisionCfg(**config["vision_cfg"]).image_size
        merged = open_clip.transform.merge_preprocess_dict(asdict(open_clip.transform.PreprocessCfg()), stated)
        found = {**merged, "size": size}
        open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**found), is_train=False)
    except _BUILDING as error:
        raise WeightsError(_TOWER, weights, f"its preprocessing is not known here ({first_line(error)})") from error
    return found


def _tokenizer_of_folder(weights: str, config: Mapping[str, Any], folder: Path) -> str:
    """The folder, unless it lacks the files of a Hugging Face tokeniser and the hub may have them."""
    wanted = (config.get("text_cfg") or {}).get("hf_tokenizer_name")
    if wanted and weights.startswith(HUB_PREFIX) and not any((folder / name).is_file() for name in _OF_A_TOKENIZER):
        return weights
    return f"local-dir:{folder}"


def _network(found: PublishedClip) -> Any:
    """The model with weights as drawn; the tower of texts is a module of its own, which changes no number."""
    open_clip = open_clip_library()
    config = deepcopy(dict(found.config))
    config.pop("custom_text", None)
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        config["vision_cfg"]["timm_model_pretrained"] = False
        config["text_cfg"]["hf_model_pretrained"] = False
        return kind(**config)
    except _BUILDING as error:
        raise WeightsError(_TOWER, found.weights, f"it cannot be built ({first_line(error)})") from error


def _tensors(found: PublishedClip, model: nn.Module) -> dict[str, Tensor]:
    open_clip = open_clip_library()
    tensors = open_clip.convert.convert_state_dict(model, load_tensors(_TOWER, found.file))
    named: dict[str, Tensor] = open_clip.model.convert_to_custom_text_state_dict(tensors)
    # transformers no longer keeps this constant among the weights of a text tower.
    named.pop("text.transformer.embeddings.position_ids", None)
    return named


def _tokenizer(found: PublishedClip) -> Any:
    remedy = f"put its {_OF_A_TOKENIZER[0]} beside its {CONFIG}"
    try:
        tokenizer = open_clip_library().get_tokenizer(found.tokenizer)
    except _BUILDING as error:
        reason = f"its tokeniser cannot be had ({first_line(error)}); {remedy}"
        raise WeightsError(_TOWER, found.weights, reason) from error
    words = getattr(tokenizer, "tokenizer", None)
    if words is not None and len(words) <= len(set(words.all_special_tokens)):
        # transformers takes a folder without a vocabulary for an empty one, and every word would be unknown.
        raise WeightsError(_TOWER, found.weights, f"its tokeniser has no words; {remedy}")
    return tokenizer
