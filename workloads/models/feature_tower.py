"""Towers over numbers that another model computed, or counts: layers in a row, or beside what they are given."""

import torch
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.towers import Tower
from workloads.models.weights import with_first_weights
from workloads.tower_specs import DnaTower, ImageTower

_FEATURE_WIDTH, _FEATURE_DEPTH = 512, 3
"""Size of the MLP where the spec leaves it open, as in the authors' code."""


def feature_tower(
    spec: ImageTower | DnaTower,
    feature_size: int | None,
    embedding_size: int,
    weights: str | None,
    norm: nn.Module | None = None,
) -> Tower:
    """An MLP over precomputed features; it is trained whole whatever the fine-tuning, unless frozen.

    The authors' code has three linear layers with ReLU between them, 512 wide, for images and DNA. The norm in front,
    which makes any scale of features welcome, the dropout and the noise are ours.

    Args:
        spec: the tower; its depth is the number of linear layers, the head included.
        feature_size: length of the data set's features, None where it has none; of counts their number.
        embedding_size: size of the shared space.
        weights: what it begins with.
        norm: what is in front of the layers; None: a layer norm.

    Raises:
        SpecError: there is no layer in it.
        WeightsError: the data set has no features, or the weights are not those of a finished run or do not fit.
    """
    of_images = isinstance(spec, ImageTower)
    if feature_size is None:
        name, instead = ("image", "pixels") if of_images else ("DNA", "barcodes")
        raise WeightsError(name, "features", f"the data set holds {instead}, not {name} features")
    width = _FEATURE_WIDTH if spec.width is None else spec.width
    depth = _FEATURE_DEPTH if spec.depth is None else spec.depth
    if depth < 1:
        raise SpecError(f"a tower over features needs a linear layer at least, got a depth of {depth}")
    nowhere = "a tower over features begins from scratch or from a finished run"
    norm = norm or nn.LayerNorm(feature_size)
    if isinstance(spec, ImageTower) and spec.noise:  # a learned scale would drown the noise
        norm = nn.Sequential(nn.LayerNorm(feature_size, elementwise_affine=False), Noise(spec.noise))
    if spec.hidden == "residual":
        tower = residual_tower(norm, feature_size, width, depth, spec.dropout, embedding_size)
        return with_first_weights("image" if of_images else "dna", weights, tower, nowhere)
    layers: list[nn.Module] = [norm]
    size = feature_size
    for _ in range(depth - 1):
        layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(spec.dropout)]
        size = width
    tower = Tower(nn.Sequential(*layers), nn.Linear(size, embedding_size))
    return with_first_weights("image" if of_images else "dna", weights, tower, nowhere)


def residual_tower(norm: nn.Module, size: int, width: int, depth: int, dropout: float, embedding_size: int) -> Tower:
    """Hidden layers whose result stands beside what they were given: W [h(x), x], with h of layer norm and GELU.

    Args:
        norm: makes x of the inputs, (batch, size).
        size: of x.
        width: of h.
        depth: linear layers, W included.
        dropout: in h.
        embedding_size: size of the shared space.

    Raises:
        SpecError: there is no hidden layer.
    """
    if depth < 2:
        raise SpecError(f"a residual tower needs two linear layers at least, got a depth of {depth}")
    return Tower(nn.Sequential(norm, Residual(size, width, depth, dropout)), nn.Linear(width + size, embedding_size))


class Residual(nn.Module):
    """Hidden layers whose result stands beside what they were given, (batch, size) to (batch, width + size)."""

    def __init__(self, size: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in [size, *[width] * (depth - 2)]:
            layers += [nn.Linear(before, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """What the hidden layers make of it, and itself."""
        return torch.cat([self.layers(inputs), inputs], dim=1)


class Noise(nn.Module):
    """Normal noise on every input, which is of variance 1, in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self._deviation = deviation

    def forward(self, inputs: Tensor) -> Tensor:
        """Of any shape; as it is in evaluation."""
        return inputs + self._deviation * torch.randn_like(inputs) if self.training else inputs
