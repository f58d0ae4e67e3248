"""The tower over features that another model computed, of images or of barcodes."""

from torch import Tensor, nn

from workloads.errors import SpecError


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
