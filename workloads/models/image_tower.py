"""The image tower: a timm vision transformer over pixels, or an MLP over precomputed features."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.spec import ImageTower

_MEAN = _STD = 0.5
"""What timm's ViT weights expect; the authors' code leaves images in [0, 1] (docs/fidelity.md)."""


class VisionTower(nn.Module):
    """A transformer over patches; the class token is projected into the shared space."""

    def __init__(self, spec: ImageTower, embedding_size: int) -> None:
        super().__init__()
        declare_missing_operators()
        import timm

        sizes = {
            "patch_size": spec.patch_size,
            "embed_dim": spec.width,
            "depth": spec.depth,
            "num_heads": spec.num_heads,
        }
        overrides = {name: value for name, value in sizes.items() if value is not None}
        local = spec.weights is not None and spec.weights != "timm"
        if local and not Path(str(spec.weights)).is_file():
            raise WeightsError("image", str(spec.weights), "there is no such file")
        try:
            self.transformer = timm.create_model(
                spec.architecture,
                pretrained=spec.weights is not None,
                pretrained_cfg_overlay={"file": spec.weights} if local else None,
                img_size=spec.image_size,
                num_classes=0,
                **overrides,
            )
        except (RuntimeError, OSError, ValueError, SafetensorError) as error:
            raise WeightsError(
                "image", spec.weights or spec.architecture, str(error).strip().splitlines()[0]
            ) from error
        self.head = nn.Linear(self.transformer.num_features, embedding_size)

    def forward(self, image: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: uint8 pixels, (batch, 3, side, side).

        Returns:
            (batch, embedding), not normalised.
        """
        pixels = image.to(torch.float32).div(255).sub(_MEAN).div(_STD)
        features: Tensor = self.head(self.transformer(pixels))
        return features


class FeatureTower(nn.Module):
    """An MLP over features that another model computed."""

    def __init__(self, spec: ImageTower, feature_size: int, embedding_size: int) -> None:
        super().__init__()
        width, depth = spec.width or 512, spec.depth or 3
        self.norm = nn.LayerNorm(feature_size)
        layers: list[nn.Module] = []
        size = feature_size
        for _ in range(depth - 1):
            layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(spec.dropout)]
            size = width
        self.layers = nn.Sequential(*layers, nn.Linear(size, embedding_size))

    def forward(self, image: Tensor) -> Tensor:
        """Embed features, (batch, feature) to (batch, embedding)."""
        embedded: Tensor = self.layers(self.norm(image))
        return embedded


def build_image_tower(spec: ImageTower, feature_size: int | None, embedding_size: int) -> nn.Module:
    """The image tower of a spec.

    Args:
        spec: the tower.
        feature_size: length of the data set's image features, None where it has pixels.
        embedding_size: size of the shared space.
    """
    if spec.kind == "vit":
        return VisionTower(spec, embedding_size)
    if feature_size is None:
        raise WeightsError("image", "features", "the data set holds pixels, not image features")
    return FeatureTower(spec, feature_size, embedding_size)
