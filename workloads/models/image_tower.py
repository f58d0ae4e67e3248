"""The image tower: any timm model or OpenCLIP's over pixels, or an MLP over precomputed features."""

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.attention import plain_is_faster, without_fused_kernels
from workloads.models.feature_tower import build_feature_tower
from workloads.models.openclip_towers import openclip_image_tower
from workloads.models.pixel_values import PixelValues
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.models.weights import fill, fill_from_run, is_run, load_tensors, published_file
from workloads.spec import ImageTower

TIMM = "timm"
"""What a spec calls timm's own published weights."""


class TimmTower(nn.Module):
    """A timm model without its classifier, and a projection into the shared space; or with the classifier instead.

    Networks with batch normalisation (ResNet-101) compute its statistics over what passes at once: with gradient
    caching that is a micro-batch, and on several workers the share of one of them, not the batch of the loss.
    """

    def __init__(self, spec: ImageTower, embedding_size: int, file: Path | None) -> None:
        super().__init__()
        trunk = timm_model(spec, file)
        self.trunk: nn.Module = trunk
        if plain_is_faster():
            without_fused_kernels(trunk)
        config = trunk.pretrained_cfg
        self.pixels = PixelValues(spec.pixel_values, config["mean"], config["std"])
        # Convolutions run fastest on interleaved colours; a vision transformer has only one, in front.
        self._layout = torch.contiguous_format if _fixed_size(config) else torch.channels_last
        if spec.head == "new":
            # Without its classifier many a network gives more numbers than its last feature map has.
            num_outputs = int(getattr(trunk, "head_hidden_size", trunk.num_features))
            self.head: nn.Module = nn.Linear(num_outputs, embedding_size)
        elif trunk.num_classes == embedding_size:
            self.head = nn.Identity()
        else:
            raise SpecError(
                f"the classifier of timm's {spec.architecture} gives {trunk.num_classes} numbers, "
                f"so the embedding size cannot be {embedding_size}"
            )

    def forward(self, image: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: uint8 pixels, (batch, 3, side, side).

        Returns:
            (batch, embedding), not normalised.
        """
        pixels = self.pixels(image).contiguous(memory_format=self._layout)
        embedded: Tensor = self.head(self.trunk(pixels))
        return embedded


def build_image_tower(
    spec: ImageTower, feature_size: int | None, embedding_size: int, pretrained: bool = True
) -> nn.Module:
    """The image tower of a spec.

    Args:
        spec: the tower.
        feature_size: length of the data set's image features, None where it has pixels.
        embedding_size: size of the shared space.
        pretrained: False leaves the weights as drawn, in the same shapes, and fetches nothing.

    Raises:
        SpecError: the architecture does not exist, or does not take the sizes of the spec.
        WeightsError: the weights cannot be had, or do not fit.
    """
    if spec.kind == "openclip":
        return openclip_image_tower(spec, embedding_size, pretrained)
    if spec.kind == "features":
        return build_feature_tower(spec, feature_size, embedding_size, pretrained)
    return _timm_tower(spec, embedding_size, pretrained)


def _timm_tower(spec: ImageTower, embedding_size: int, pretrained: bool) -> nn.Module:
    weights = spec.weights if pretrained else None
    tower = TimmTower(spec, embedding_size, _timm_file(spec.architecture) if weights == TIMM else None)
    if weights is None or weights == TIMM:
        return tower
    classifier = _classifier_tensors(spec.architecture) if spec.head == "new" else []
    if is_run(weights):
        fill_from_run("image", weights, tower, "image", [f"trunk.{name}" for name in classifier])
    elif Path(weights).is_file():
        fill("image", weights, tower.trunk, load_tensors("image", Path(weights)), classifier)
    else:
        raise WeightsError("image", weights, "there is no such file, and no finished run of that name")
    return tower


def timm_model(spec: ImageTower, file: Path | None) -> Any:
    """The model in the spec's sizes, filled with timm's own published weights where their file is given."""
    declare_missing_operators()
    import timm

    if not timm.is_model(spec.architecture):
        raise SpecError(f"timm has no model '{spec.architecture}'")
    sizes = {
        "img_size": spec.image_size if _fixed_size(_timm_config(spec.architecture)) else None,
        "patch_size": spec.patch_size,
        "embed_dim": spec.width,
        "depth": spec.depth,
        "num_heads": spec.num_heads,
    }
    try:
        model = timm.create_model(
            spec.architecture,
            pretrained=file is not None,
            pretrained_cfg_overlay={"file": str(file), "custom_load": False} if file else None,
            **{name: value for name, value in sizes.items() if value is not None},
        )
    except TypeError as error:  # an argument that the model does not have
        raise SpecError(f"timm's {spec.architecture} does not take every size of the spec ({error})") from error
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError, SafetensorError) as error:
        reason = shorten(str(error) or type(error).__name__, 300)
        if file is None:
            raise SpecError(f"timm's {spec.architecture} cannot be built as the spec asks ({reason})") from error
        raise WeightsError("image", str(file), reason) from error
    if spec.head == "new":
        # Only now: asked for another number of classes, timm takes files that lack any tensor at all.
        model.reset_classifier(0)
    return model


def _timm_file(architecture: str) -> Path:
    """The file of timm's published weights; timm itself adapts them to the spec's image size."""
    config = _timm_config(architecture)
    if not config.get("hf_hub_id"):
        raise WeightsError("image", TIMM, f"timm publishes none for {architecture} on the hub")
    named = config.get("hf_hub_filename")
    names = (named,) if named else ("model.safetensors", "pytorch_model.bin")
    return published_file("image", config["hf_hub_id"], *names)


def _timm_config(architecture: str) -> dict[str, Any]:
    """What timm knows of an architecture's published weights; empty where there are none."""
    declare_missing_operators()
    import timm

    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    return config.to_dict() if config is not None else {}


def _fixed_size(config: dict[str, Any]) -> bool:
    """Whether the network is built for one size of images, as transformers are and convolutional networks are not."""
    return bool(config.get("fixed_input_size"))


def _classifier_tensors(architecture: str) -> list[str]:
    """Names of the tensors of a timm model's classifier, which files have and a trunk lacks."""
    layers = _timm_config(architecture).get("classifier") or ()
    return [
        f"{layer}.{part}" for layer in ([layers] if isinstance(layers, str) else layers) for part in ("weight", "bias")
    ]
