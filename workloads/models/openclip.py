"""OpenCLIP's models (Tables 12 and 14): published ones whole, to be looked at, and one tower of a spec, to be trained.

    find_openclip ──▶ PublishedClip     where it is from and how it wants its pictures; nothing is built
    load_openclip ──▶ WholeClip         both towers, its own preprocessing and its own tokeniser, ready to embed
    openclip_tower                      OpenAI's, LAION's, CommonPool's or BioCLIP's tower of images, or of texts

A tower is built alone, in the form in which the text tower is a module of its own. Published weights never decide its
sizes, so that a run is rebuilt from its spec without the hub: what they are of must be what the spec describes.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError, first_line
from workloads.models.towers import PixelValues, Tower
from workloads.models.weights import fill, is_run, load_tensors, run_spec, with_first_weights
from workloads.tower_specs import ImageTower, TextTower
from workloads.weight_files import published_file, published_json
from workloads.weight_store import HUB_PREFIX

CONFIG = "open_clip_config.json"
OPENCLIP_TENSORS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TEMPERATURE = ("logit_scale", "logit_bias")
"""Tensors of a whole model that belong to neither tower; some files keep them in another shape."""
_TINY: Mapping[str, Mapping[str, int]] = {
    "vision_cfg": {"width": 8, "head_width": 8, "layers": 1, "patch_size": 1, "image_size": 1},
    "text_cfg": {"width": 8, "heads": 1, "layers": 1, "vocab_size": 1, "context_length": 1},
}
"""Stand in for the other tower, so that hundreds of millions of weights are not drawn for nothing."""
_PARTS = {"image": "visual", "text": "text"}
"""What OpenCLIP calls the two towers."""
_WHOLE = "OpenCLIP"
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


def open_clip_library() -> Any:
    """OpenCLIP, imported when it is first needed."""
    import open_clip

    return open_clip


def architecture_config(architecture: str, weights: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenCLIP's configuration of an architecture, and what it knows of the weights where they are one of its tags.

    Raises:
        SpecError: there is no such architecture.
    """
    open_clip = open_clip_library()
    if architecture not in open_clip.list_models():
        raise SpecError(f"OpenCLIP has no model '{architecture}'")
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    about: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, weights) if weights else {}
    if about.get("quick_gelu"):
        # OpenAI's and some other weights were trained with a cheaper activation, which the plain name does not say.
        config["quick_gelu"] = True
    return config, about


def published_place(about: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The hub's name of a tag's weights, empty where it has none, and the files of which one will do; OpenCLIP writes
    owner/name/file, or owner/name/ where the file has the usual name."""
    place, _, file = str(about.get("hf_hub", "")).rpartition("/")
    return place, (file,) if file else OPENCLIP_TENSORS


def find_openclip(weights: str, tower: str = _WHOLE, architecture: str | None = None) -> PublishedClip:
    """Find a published model on this machine or on the hub; its weights are fetched if need be.

    Args:
        weights: `hf-hub:owner/name`, a local folder in the hub's layout, or `NAME:TAG` of OpenCLIP's own list, such as
            `ViT-B-16:openai`.
        tower: name for messages.
        architecture: the NAME, where weights are but a TAG.

    Raises:
        WeightsError: it is none of these, or cannot be had.
    """
    open_clip = open_clip_library()
    config: Any
    name, tag = (architecture, weights) if architecture else weights.partition(":")[::2]
    if open_clip.is_pretrained_cfg(name, tag):
        shown, tokenizer = weights, name
        config, preprocessing = architecture_config(name, tag)
        place, files = published_place(preprocessing)
        if not place:
            raise WeightsError(tower, weights, "this tag is not on the hub; download it and name a local folder")
    elif weights.startswith(HUB_PREFIX) or Path(weights).is_dir():
        place, files = weights, OPENCLIP_TENSORS
        content = published_json(tower, weights, CONFIG)
        config, preprocessing = content.get("model_cfg"), content.get("preprocess_cfg") or {}
        if not isinstance(config, dict):
            raise WeightsError(tower, weights, f"its {CONFIG} has no model_cfg")
        short = Path(weights).resolve().name if Path(weights).is_dir() else weights.rpartition("/")[2]
        shown = "BioCLIP" if short.casefold() == "bioclip" else short
        tokenizer = _tokenizer_of_folder(weights, config, published_file(tower, weights, CONFIG).parent)
    else:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none, or no such model"
        listed = f"tag of {name} ({known})" if tag else "NAME:TAG of OpenCLIP's list"
        raise WeightsError(tower, weights, f"it is no local folder, no {HUB_PREFIX}owner/name, and no {listed}")
    return PublishedClip(
        weights=weights,
        name=shown,
        config=config,
        preprocessing=_preprocessing(tower, weights, config, preprocessing),
        tokenizer=tokenizer,
        file=published_file(tower, place, *files),
    )


def load_openclip(published: PublishedClip, device: torch.device) -> WholeClip:
    """Build a published model and fill it with its weights; every tensor must fit.

    Raises:
        WeightsError: the weights are not of the model that the configuration describes, or its tokeniser cannot be had.
    """
    open_clip = open_clip_library()
    try:
        model = _drawn(published.config)
    except _BUILDING as error:
        raise WeightsError(_WHOLE, published.weights, f"it cannot be built ({first_line(error)})") from error
    tensors = open_clip.convert.convert_state_dict(model, load_tensors(_WHOLE, published.file))
    tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    tensors.pop("text.transformer.embeddings.position_ids", None)  # a constant that transformers no longer keeps
    # Of no effect on embeddings of unit length.
    temperature = {name: own for name, own in model.state_dict().items() if name in _TEMPERATURE}
    fill(_WHOLE, published.weights, model, tensors | temperature, ignored=_TEMPERATURE)
    preprocessing = open_clip.transform.PreprocessCfg(**published.preprocessing)
    transform = open_clip.transform.image_transform_v2(preprocessing, is_train=False)
    return WholeClip(model.to(device).eval(), transform, _tokenizer(published))


def _drawn(config: Mapping[str, Any]) -> Any:
    """A model with weights as drawn; its tower of texts is a module of its own, which changes no number."""
    open_clip = open_clip_library()
    own = deepcopy(dict(config))
    own.pop("custom_text", None)
    own["vision_cfg"]["timm_model_pretrained"] = False
    own["text_cfg"]["hf_model_pretrained"] = False
    return (open_clip.CoCa if "multimodal_cfg" in own else open_clip.CustomTextCLIP)(**own)


def _preprocessing(tower: str, weights: str, config: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenCLIP does it: what is stated over its defaults, and the size that the image tower has."""
    open_clip = open_clip_library()
    try:
        size = open_clip.CLIPVisionCfg(**config["vision_cfg"]).image_size
        default = open_clip.transform.PreprocessCfg()
        fields: dict[str, Any] = open_clip.transform.merge_preprocess_dict(default, {**stated, "size": size})
        open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**fields), is_train=False)
    except _BUILDING as error:
        raise WeightsError(tower, weights, f"its preprocessing is not known here ({first_line(error)})") from error
    return fields


def _tokenizer_of_folder(weights: str, config: Mapping[str, Any], folder: Path) -> str:
    """The folder, unless it lacks the files of a Hugging Face tokeniser and the hub may have them."""
    wanted = (config.get("text_cfg") or {}).get("hf_tokenizer_name")
    if wanted and weights.startswith(HUB_PREFIX) and not any((folder / name).is_file() for name in _OF_A_TOKENIZER):
        return weights
    return f"local-dir:{folder}"


def _tokenizer(published: PublishedClip) -> Any:
    remedy = f"put its {_OF_A_TOKENIZER[0]} beside its {CONFIG}"
    try:
        tokenizer = open_clip_library().get_tokenizer(published.tokenizer)
    except _BUILDING as error:
        reason = f"its tokeniser cannot be had ({first_line(error)}); {remedy}"
        raise WeightsError(_WHOLE, published.weights, reason) from error
    words = getattr(tokenizer, "tokenizer", None)
    if words is not None and len(words) <= len(set(words.all_special_tokens)):
        # transformers takes a folder without a vocabulary for an empty one, and every word would be unknown.
        raise WeightsError(_WHOLE, published.weights, f"its tokeniser has no words; {remedy}")
    return tokenizer


def openclip_tower(spec: ImageTower | TextTower, embedding_size: int, weights: str | None) -> Tower:
    """CLIP's image tower, or its causal text transformer, which is read at the end of the text.

    Behind its projection stands a head where the shared space is of another size. Frozen means all of it. The authors'
    code freezes only `transformer.*`, so that in the frozen rows of their Table 12 the token and position embeddings,
    the last norm and the projection of the text tower still learn.

    Args:
        spec: `architecture` by OpenCLIP's name, with the overrides that the spec has; `weights` a tag that OpenCLIP
            knows for it, `hf-hub:owner/name`, a local folder in the hub's layout, or the folder of a finished run. Of
            texts `width`, `depth`, `num_heads` and `hidden_width` always hold; there is no dropout, CLIP's own pooling
            and 77 tokens, whatever the spec says of these.
        embedding_size: size of the shared space; where it is the model's own, there is no new head.
        weights: those of the spec; None leaves the tower as drawn, in the same shapes, and fetches nothing.

    Raises:
        SpecError: there is no such architecture, or it does not take the sizes of the spec.
        WeightsError: the weights cannot be had, or are of a model that the spec does not describe.
    """
    modality: Literal["image", "text"] = "image" if isinstance(spec, ImageTower) else "text"
    config, pixels = _described_by(spec)
    trunk = getattr(_drawn({**_TINY, **config}), _PARTS[modality])
    size = config["embed_dim"]
    head = nn.Identity() if embedding_size == size else nn.Linear(size, embedding_size)
    prepare = PixelValues(spec.pixel_values, pixels["mean"], pixels["std"]) if isinstance(spec, ImageTower) else None
    if weights is not None and is_run(weights):
        before = run_spec(modality, weights).tower(modality)
        if before.kind != "openclip":
            reason = f"the run's {modality} tower is not OpenCLIP's but of kind '{before.kind}'"
            raise WeightsError(modality, weights, reason)
        _refuse_difference(modality, weights, spec, *_described_by(before))
    fill_published = partial(_fill_published, modality, trunk, spec)
    return with_first_weights(modality, weights, Tower(trunk, head, prepare), fill_published)


def _fill_published(modality: str, trunk: nn.Module, spec: ImageTower | TextTower, weights: str) -> None:
    clip = find_openclip(weights, modality, spec.architecture)
    _refuse_difference(modality, weights, spec, clip.config, clip.preprocessing)
    named = open_clip_library().model.convert_to_custom_text_state_dict(load_tensors(modality, clip.file))
    own, other = (f"{_PARTS[name]}." for name in sorted(_PARTS, key=lambda name: name != modality))
    tensors = {name.removeprefix(own): tensor for name, tensor in named.items() if not name.startswith(other)}
    fill(modality, weights, trunk, tensors, ignored=_TEMPERATURE)


def _described_by(spec: ImageTower | TextTower) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The part of OpenCLIP's `model_cfg` that a spec describes, and its `PreprocessCfg`."""
    config, about = architecture_config(spec.architecture, spec.weights)
    if "multimodal_cfg" in config:
        raise SpecError("OpenCLIP's captioning models are not known here; choose a plain CLIP")
    if isinstance(spec, ImageTower):
        sizes = {"vision_cfg": {**config["vision_cfg"], **_image_sizes(spec, config["vision_cfg"])}}
    else:
        sizes = {"text_cfg": {**config["text_cfg"], **_text_sizes(spec, config["text_cfg"])}}
    transform = open_clip_library().transform
    shared = {"embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}
    return {**shared, **sizes}, transform.merge_preprocess_dict(transform.PreprocessCfg(), about)


def _image_sizes(spec: ImageTower, usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec says of a `vision_cfg`."""
    stated = {"image_size": spec.image_size, "patch_size": spec.patch_size, "width": spec.width, "layers": spec.depth}
    if spec.num_heads is not None:
        width = spec.width or usual.get("width")
        if width is None or width % spec.num_heads:
            raise SpecError(f"an image tower of width {width} cannot have {spec.num_heads} heads")
        stated["head_width"] = width // spec.num_heads
    sizes = {name: value for name, value in stated.items() if value is not None}
    if "timm_model_name" in usual and sizes.keys() != {"image_size"}:
        raise SpecError(f"OpenCLIP's {spec.architecture} has timm's image tower, whose sizes are fixed")
    return sizes


def _text_sizes(spec: TextTower, usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a spec says of a `text_cfg`."""
    if usual.get("hf_model_name") or usual.get("hf_tokenizer_name"):
        raise SpecError(f"OpenCLIP's {spec.architecture} has another text tower than CLIP's; only CLIP's is known here")
    if spec.width % spec.num_heads:
        raise SpecError(f"a text tower of width {spec.width} cannot have {spec.num_heads} heads")
    # OpenCLIP rounds width × ratio down; half a unit more keeps the rounding from going one too far.
    ratio = spec.hidden_width / spec.width
    exact = ratio if int(spec.width * ratio) == spec.hidden_width else (spec.hidden_width + 0.5) / spec.width
    return {"width": spec.width, "layers": spec.depth, "heads": spec.num_heads, "mlp_ratio": exact}


def _refuse_difference(
    modality: str,
    weights: str,
    spec: ImageTower | TextTower,
    config: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
) -> None:
    """Compare the model of a spec with that of weights, by OpenCLIP's configurations; the first difference is named."""
    wanted = _compared(spec, *_described_by(spec))
    try:
        theirs = _compared(spec, config, preprocessing)
    except (TypeError, KeyError) as error:
        raise WeightsError(modality, weights, f"its {CONFIG} is of another version of OpenCLIP ({error})") from error
    for name, value in wanted.items():
        if theirs[name] != value:
            hint = "; the architecture's name ends in -quickgelu where it is meant" if name == "quick_gelu" else ""
            reason = f"it was made with {name} = {theirs[name]}, the spec describes {value}{hint}"
            raise WeightsError(modality, weights, reason)


def _compared(
    spec: ImageTower | TextTower, config: Mapping[str, Any], preprocessing: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that decides what a tower computes, by the spec's names where it has one.

    The mean and deviation of pixels count where the spec normalises pixels.
    """
    open_clip = open_clip_library()
    compared = {"embed_dim": config["embed_dim"], "quick_gelu": bool(config.get("quick_gelu"))}
    if isinstance(spec, ImageTower):
        sizes = asdict(open_clip.CLIPVisionCfg(**config["vision_cfg"]))
        sizes["num_heads"] = sizes["width"] // sizes.pop("head_width")
        if spec.pixel_values == "normalised":
            compared |= {name: tuple(round(value, 6) for value in preprocessing[name]) for name in ("mean", "std")}
    else:
        sizes = asdict(open_clip.CLIPTextCfg(**config["text_cfg"]))
        sizes["num_heads"] = sizes.pop("heads")
    sizes["depth"] = sizes.pop("layers")
    sizes["hidden_width"] = int(sizes["width"] * sizes.pop("mlp_ratio"))
    fetched = ("timm_model_pretrained", "hf_model_pretrained")
    return {name: size for name, size in sizes.items() if name not in fetched} | compared
