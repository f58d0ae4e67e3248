"""The tower over features that another model computed, of images or of barcodes."""

from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.weights import begin
from workloads.spec import DnaTower, ImageTower

WIDTH, DEPTH = 512, 3
"""Where the spec leaves them open, as in the authors' code."""


class FeatureTower(nn.Module):
    """An MLP over precomputed features; it is trained whole whatever the fine-tuning, unless frozen.

    The authors' code has three linear layers with ReLU between them, 512 wide, for images and DNA. The norm in front,
    which makes any scale of features welcome, and the dropout are ours.

    Args:
        feature_size: length of a feature vector.
        embedding_size: size of the shared space.
        width: of the hidden layers.
        depth: number of linear layers, the head included.
        dropout: after each hidden layer.
    """

    def __init__(self, feature_size: int, embedding_size: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        if depth < 1:
            raise SpecError(f"a tower over features needs a linear layer at least, got a depth of {depth}")
        layers: list[nn.Module] = [nn.LayerNorm(feature_size)]
        size = feature_size
        for _ in range(depth - 1):
            layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout)]
            size = width
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(size, embedding_size)

    def forward(self, features: Tensor) -> Tensor:
        """Embed features, (batch, feature) to (batch, embedding), not normalised."""
        embedded: Tensor = self.head(self.trunk(features))
        return embedded


def build_feature_tower(
    spec: ImageTower | DnaTower, feature_size: int | None, embedding_size: int, pretrained: bool = True
) -> FeatureTower:
    """The tower over features of a spec.

    Args:
        spec: the tower.
        feature_size: length of the data set's features, None where it has none.
        embedding_size: size of the shared space.
        pretrained: whether the spec's weights are put in; without them the shapes are the same.

    Raises:
        WeightsError: the data set has no features, or the weights are not those of a finished run or do not fit.
    """
    of_images = isinstance(spec, ImageTower)
    tower, modality, instead = ("image", "image", "pixels") if of_images else ("DNA", "dna", "barcodes")
    if feature_size is None:
        raise WeightsError(tower, "features", f"the data set holds {instead}, not {tower} features")
    width, depth = (WIDTH if spec.width is None else spec.width), (DEPTH if spec.depth is None else spec.depth)
    module = FeatureTower(feature_size, embedding_size, width, depth, spec.dropout)
    nowhere = "a tower over features begins from scratch or from a finished run"
    begin(tower, spec.weights if pretrained else None, module, modality, nowhere)
    return module
