"""What an OpenCLIP model is: its sizes, its activation and its pixels, from a spec or from published weights.

    spec ──▶ Plan          what is built; needs no network
    folder or run ──▶ Plan what the weights are of; must be the same

Published weights never decide a size, so that a run is rebuilt from its spec without the hub.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from workloads.errors import SpecError, WeightsError
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.models.weights import published_json
from workloads.spec import ImageTower, TextTower, spec_from_dict

Part = Literal["visual", "text"]
"""What OpenCLIP calls the two towers."""

CONFIG = "open_clip_config.json"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pixels (Radford et al., 2021); OpenCLIP assumes them where a model says nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One tower of a CLIP model as OpenCLIP configures it."""

    part: Part
    embedding_size: int
    quick_gelu: bool
    sizes: Mapping[str, Any]
    """Its `vision_cfg` or `text_cfg`."""
    mean: Sequence[float] = _MEAN
    std: Sequence[float] = _STD


def image_plan(spec: ImageTower) -> Plan:
    """What the spec of an image tower describes.

    Raises:
        SpecError: there is no such architecture, or it does not take the sizes of the spec.
    """
    plan = plan_of(*published_config(spec.architecture, spec.weights), "visual")
    width = spec.width or plan.sizes.get("width")
    overrides = {
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "width": spec.width,
        "layers": spec.depth,
    }
    if spec.num_heads is not None:
        if width is None or width % spec.num_heads:
            raise SpecError(f"an image tower of width {width} cannot have {spec.num_heads} heads")
        overrides["head_width"] = width // spec.num_heads
    given = {name: value for name, value in overrides.items() if value is not None}
    if "timm_model_name" in plan.sizes and given.keys() != {"image_size"}:
        raise SpecError(f"OpenCLIP's {spec.architecture} has timm's image tower, whose sizes are fixed")
    return replace(plan, sizes={**plan.sizes, **given})


def text_plan(spec: TextTower) -> Plan:
    """What the spec of a text tower describes.

    Raises:
        SpecError: as for the image tower.
    """
    plan = plan_of(*published_config(spec.architecture, spec.weights), "text")
    if plan.sizes.get("hf_model_name") or plan.sizes.get("hf_tokenizer_name"):
        raise SpecError(f"OpenCLIP's {spec.architecture} has another text tower than CLIP's; only CLIP's is known here")
    if spec.width % spec.num_heads:
        raise SpecError(f"a text tower of width {spec.width} cannot have {spec.num_heads} heads")
    # OpenCLIP rounds width × ratio down; half a unit more keeps the rounding from going one too far.
    ratio = spec.hidden_width / spec.width
    exact = ratio if int(spec.width * ratio) == spec.hidden_width else (spec.hidden_width + 0.5) / spec.width
    sizes = {"width": spec.width, "layers": spec.depth, "heads": spec.num_heads, "mlp_ratio": exact}
    return replace(plan, sizes={**plan.sizes, **sizes})


def published_config(architecture: str, weights: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenCLIP's configuration of an architecture, and what it knows of the weights where they are one of its tags.

    Raises:
        SpecError: there is no such architecture.
    """
    open_clip = open_clip_library()
    if architecture not in open_clip.list_models():
        raise SpecError(f"OpenCLIP has no model '{architecture}'")
    config: dict[str, Any] = open_clip.get_model_config(architecture)
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, weights) if weights else {}
    if tag.get("quick_gelu"):
        # OpenAI's and some other weights were trained with a cheaper activation, which the plain name does not say.
        config["quick_gelu"] = True
    return config, tag


def plan_of(config: Mapping[str, Any], preprocessing: Mapping[str, Any], part: Part) -> Plan:
    """One tower of a configuration, and of what is known of its pixels.

    Raises:
        SpecError: it is of a captioning model.
    """
    if "multimodal_cfg" in config:
        raise SpecError("OpenCLIP's captioning models are not known here; choose a plain CLIP")
    return Plan(
        part=part,
        embedding_size=config["embed_dim"],
        quick_gelu=bool(config.get("quick_gelu")),
        sizes=config["vision_cfg" if part == "visual" else "text_cfg"],
        mean=tuple(preprocessing.get("mean") or _MEAN),
        std=tuple(preprocessing.get("std") or _STD),
    )


def plan_of_folder(tower: str, weights: str, part: Part) -> Plan:
    """What the configuration beside published weights says that they are.

    Raises:
        WeightsError: it cannot be had or read.
    """
    content = published_json(tower, weights, CONFIG)
    try:
        return plan_of(content["model_cfg"], content.get("preprocess_cfg") or {}, part)
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(tower, weights, f"its {CONFIG} cannot be read ({error})") from error


def plan_of_run(tower: str, weights: str) -> Plan:
    """What the spec of a finished run says its tower is.

    Raises:
        WeightsError: the run has no such tower.
    """
    try:
        spec = spec_from_dict(json.loads((Path(weights) / "spec.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, SpecError) as error:
        raise WeightsError(tower, weights, f"its spec.json cannot be read ({error})") from error
    own = spec.image if tower == "image" else spec.text
    if own.kind != "openclip":
        raise WeightsError(tower, weights, f"the run's {tower} tower is not OpenCLIP's but of kind '{own.kind}'")
    return image_plan(own) if isinstance(own, ImageTower) else text_plan(own)


def refuse_difference(tower: str, weights: str, ours: Plan, theirs: Plan, pixels: bool) -> None:
    """Compare the model of the spec with that of the weights.

    Args:
        tower: name for messages.
        weights: where they are from, for messages.
        ours: what the spec describes.
        theirs: what the weights are.
        pixels: whether the mean and deviation of the pixels must agree too.

    Raises:
        WeightsError: they differ; the first difference is named.
    """
    try:
        wanted, found = _described(ours, pixels), _described(theirs, pixels)
    except TypeError as error:
        raise WeightsError(tower, weights, f"its {CONFIG} is of another version of OpenCLIP ({error})") from error
    for name, value in wanted.items():
        if found[name] != value:
            hint = "; the architecture's name ends in -quickgelu where it is meant" if name == "quick_gelu" else ""
            reason = f"it was made with {name} = {found[name]}, the spec describes {value}{hint}"
            raise WeightsError(tower, weights, reason)


def _described(plan: Plan, pixels: bool) -> dict[str, Any]:
    """Everything that decides what a tower computes, by the spec's names where it has one."""
    open_clip = open_clip_library()
    config = open_clip.CLIPVisionCfg if plan.part == "visual" else open_clip.CLIPTextCfg
    sizes = asdict(config(**plan.sizes))
    sizes["depth"] = sizes.pop("layers")
    width = sizes["width"]
    sizes["num_heads"] = width // sizes.pop("head_width") if plan.part == "visual" else sizes.pop("heads")
    sizes["hidden_width"] = int(width * sizes.pop("mlp_ratio"))
    for fetched in ("timm_model_pretrained", "hf_model_pretrained"):
        sizes.pop(fetched, None)
    described = {**sizes, "embed_dim": plan.embedding_size, "quick_gelu": plan.quick_gelu}
    if pixels:
        described |= {name: tuple(round(value, 6) for value in getattr(plan, name)) for name in ("mean", "std")}
    return described


def open_clip_library() -> Any:
    """OpenCLIP, imported when it is first needed."""
    declare_missing_operators()
    import open_clip

    return open_clip
