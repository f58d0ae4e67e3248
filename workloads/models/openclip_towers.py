"""The image and the text tower of an OpenCLIP model: OpenAI's, LAION's, CommonPool's, BioCLIP (Tables 12 and 14).

Each tower is built alone, in the form in which the text tower is a module of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.openclip_plan import (
    Part,
    Plan,
    image_plan,
    open_clip_library,
    plan_of,
    plan_of_folder,
    plan_of_run,
    published_config,
    refuse_difference,
    text_plan,
)
from workloads.models.pixel_values import PixelValues
from workloads.models.weights import HUB_PREFIX, fill, fill_from_run, is_run, load_tensors, published_file
from workloads.spec import ImageTower, TextTower

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TEMPERATURE = ("logit_scale", "logit_bias")
"""Tensors of a whole model that belong to neither tower; some files keep them in another shape."""

_TINY_IMAGE = {"width": 8, "head_width": 8, "layers": 1, "patch_size": 1, "image_size": 1}
_TINY_TEXT = {"width": 8, "heads": 1, "layers": 1, "vocab_size": 1, "context_length": 1}
"""Stand in for the other tower, so that hundreds of millions of weights are not drawn for nothing."""


class OpenClipTower(nn.Module):
    """CLIP's vision transformer, or its causal text transformer, which is read at the end of the text.

    Behind its projection stands a head where the shared space is of another size. Frozen means all of it. The authors'
    code freezes only `transformer.*`, so that in the frozen rows of their Table 12 the token and position embeddings,
    the last norm and the projection of the text tower still learn.
    """

    def __init__(self, plan: Plan, embedding_size: int, pixels: nn.Module) -> None:
        super().__init__()
        self.trunk = _network(plan)
        self.pixels = pixels
        fits = embedding_size == plan.embedding_size
        self.head = nn.Identity() if fits else nn.Linear(plan.embedding_size, embedding_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed uint8 pixels, (batch, 3, side, side), or token ids, (batch, 77): (batch, embedding), not normalised."""
        embedded: Tensor = self.head(self.trunk(self.pixels(inputs)))
        return embedded


class OpenClipTokenizer:
    """CLIP's byte-pair tokeniser, which comes with OpenCLIP and needs no network."""

    pad_id = 0

    def __init__(self) -> None:
        self._tokenizer = open_clip_library().SimpleTokenizer()
        self.vocabulary_size: int = self._tokenizer.vocab_size

    def ids(self, labels: Sequence[str], max_tokens: int, whole_length: bool) -> npt.NDArray[np.int64]:
        """Token ids, (len(labels), 77), padded with 0; longer labels are cut and keep their end mark.

        CLIP's context has its own length, whatever is asked for.
        """
        ids: npt.NDArray[np.int64] = self._tokenizer(list(labels)).numpy()
        return ids


def openclip_image_tower(spec: ImageTower, embedding_size: int, pretrained: bool = True) -> nn.Module:
    """The image tower of an OpenCLIP model.

    Args:
        spec: `architecture` by OpenCLIP's name, with the overrides that the spec has; `weights` a tag that OpenCLIP
            knows for it, `hf-hub:owner/name`, a local folder in the hub's layout, or the folder of a finished run.
        embedding_size: size of the shared space; where it is the model's own, there is no new head.
        pretrained: False leaves the weights as drawn, in the same shapes, and fetches nothing.

    Raises:
        SpecError: there is no such architecture, or it does not take the sizes of the spec.
        WeightsError: the weights cannot be had, or are of a model that the spec does not describe.
    """
    plan = image_plan(spec)
    tower = OpenClipTower(plan, embedding_size, PixelValues(spec.pixel_values, plan.mean, plan.std))
    if pretrained and spec.weights is not None:
        _load("image", spec.architecture, spec.weights, plan, tower, pixels=spec.pixel_values == "normalised")
    return tower


def openclip_text_tower(spec: TextTower, embedding_size: int, pretrained: bool = True) -> nn.Module:
    """The text tower of an OpenCLIP model.

    Args:
        spec: as for the image tower, but `width`, `depth`, `num_heads` and `hidden_width` always hold. It has no
            dropout, its own pooling and 77 tokens, whatever the spec says of these.
        embedding_size: as for the image tower.
        pretrained: as for the image tower.

    Raises:
        SpecError: as for the image tower.
        WeightsError: as for the image tower.
    """
    plan = text_plan(spec)
    tower = OpenClipTower(plan, embedding_size, nn.Identity())
    if pretrained and spec.weights is not None:
        _load("text", spec.architecture, spec.weights, plan, tower, pixels=False)
    return tower


def _load(tower: str, architecture: str, weights: str, plan: Plan, module: nn.Module, pixels: bool) -> None:
    """Fill a tower, after making sure that the weights are of the model that the spec describes."""
    open_clip = open_clip_library()
    if is_run(weights):
        refuse_difference(tower, weights, plan, plan_of_run(tower, weights), pixels)
        fill_from_run(tower, weights, module, tower)
        return
    if open_clip.is_pretrained_cfg(architecture, weights):
        config, tag = published_config(architecture, weights)
        theirs, file = plan_of(config, tag, plan.part), file_of_tag(tower, weights, tag)
    elif weights.startswith(HUB_PREFIX) or Path(weights).is_dir():
        theirs, file = plan_of_folder(tower, weights, plan.part), published_file(tower, weights, *WEIGHTS)
    else:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        reason = f"it is no local folder, no {HUB_PREFIX}owner/name, and no tag of {architecture} ({known})"
        raise WeightsError(tower, weights, reason)
    refuse_difference(tower, weights, plan, theirs, pixels)
    tensors = _tensors_of(tower, weights, load_tensors(tower, file), plan.part)
    fill(tower, weights, module.get_submodule("trunk"), tensors)


def _network(plan: Plan) -> nn.Module:
    """The tower of a plan, with weights as drawn."""
    model = open_clip_library().CustomTextCLIP(
        embed_dim=plan.embedding_size,
        quick_gelu=plan.quick_gelu,
        vision_cfg=dict(plan.sizes) if plan.part == "visual" else _TINY_IMAGE,
        text_cfg=dict(plan.sizes) if plan.part == "text" else _TINY_TEXT,
    )
    tower: nn.Module = getattr(model, plan.part)
    return tower


def file_of_tag(tower: str, weights: str, tag: Mapping[str, Any]) -> Path:
    """OpenCLIP writes the place as owner/name/file, or owner/name/ where the file has the usual name."""
    repository, _, name = str(tag.get("hf_hub", "")).rpartition("/")
    if not repository:
        raise WeightsError(tower, weights, "this tag is not on the hub; download it and name a local folder")
    return published_file(tower, repository, *((name,) if name else WEIGHTS))


def _tensors_of(tower: str, weights: str, tensors: Mapping[str, Tensor], part: Part) -> dict[str, Tensor]:
    """The tensors of one tower of a whole model, whether its text tower is a module of its own or not."""
    convert = open_clip_library().model.convert_to_custom_text_state_dict
    named: dict[str, Tensor] = convert(dict(tensors))
    unknown = sorted(name for name in named if not name.startswith(("visual.", "text.")) and name not in TEMPERATURE)
    if unknown:
        raise WeightsError(tower, weights, f"{len(unknown)} tensor(s) are of no tower, {unknown[0]} first")
    return {name.removeprefix(f"{part}."): value for name, value in named.items() if name.startswith(f"{part}.")}
