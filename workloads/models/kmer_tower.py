"""The tower over counts of k-mers, which knows no places: what moves in a barcode moves nothing in its counts.

Of counts c it makes x, of this hidden layers h, and with W, the last layer `head`, the embedding:

    standardised    x = (c - mean(c)) / deviation(c), of each k-mer by itself over what is trained on
    hellinger       x = (sqrt(c / sum(c)) - m) sqrt(k-mers), of each size of k-mers by itself
    relu            W h(x)          h: Linear, ReLU, dropout, depth - 1 times
    residual        W [h(x), x]     h: Linear, layer norm, GELU, dropout, depth - 1 times

The cosine of two sqrt(c / sum(c)) is Bhattacharyya's coefficient. Most of it all barcodes share, so m, the mean of
nineteen orders' consensus of COI, is taken away; of a barcode without a k-mer x is -m. What is `kept` of x stands
behind the embedding (`Kept`), where other modalities are zero. Nothing in `hellinger` and
`residual` depends on what else is in the batch.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.data.specimens.coi_consensus import CONSENSUS
from workloads.data.specimens.kmers import kmer_counts, num_kmers
from workloads.models.feature_tower import feature_tower
from workloads.models.towers import Tower
from workloads.models.weights import with_first_weights
from workloads.tower_specs import DnaTower


def kmer_tower(spec: DnaTower, embedding_size: int, weights: str | None) -> Tower:
    """An MLP over counts of k-mers; it is trained whole whatever the fine-tuning, unless frozen.

    Args:
        spec: the tower; its depth is the number of linear layers, the head included.
        embedding_size: size of the shared space.
        weights: what it begins with.

    Raises:
        SpecError: there is no layer in it, or no hidden one where it takes some.
        WeightsError: the weights are not those of a finished run, or do not fit.
    """
    size = sum(num_kmers(each, spec.strand) for each in spec.kmers)
    norm = Hellinger(spec) if spec.counts == "hellinger" else nn.BatchNorm1d(size, affine=False)
    tower = feature_tower(spec, size, embedding_size - beside_counts(spec), None, norm)
    if spec.kept:
        tower.head = Kept(tower.head, size, spec.kept)
    return with_first_weights("dna", weights, tower, "a tower over counts begins from scratch or from a finished run")


def beside_counts(spec: DnaTower) -> int:
    """Dimensions of the shared space that counts have for themselves; 0 where none are kept."""
    return sum(num_kmers(each, spec.strand) for each in spec.kmers) if spec.kept else 0


class Kept(nn.Module):
    """The last layer of a residual tower, whose embeddings end with the counts themselves.

        [sqrt(1 - kept) W [h(x), x] / |W [h(x), x]|, sqrt(kept) x / |x|]

    Args:
        linear: W.
        size: of x.
        kept: share of the squared length.
    """

    def __init__(self, linear: nn.Module, size: int, kept: float) -> None:
        super().__init__()
        self.linear, self._size = linear, size
        self._learned, self._counts = math.sqrt(1 - kept), math.sqrt(kept)

    def forward(self, beside: Tensor) -> Tensor:
        """(batch, width + size) to (batch, embedding); a barcode without a k-mer has what is learned alone."""
        learned, counts = F.normalize(self.linear(beside), dim=1), F.normalize(beside[:, -self._size :], dim=1)
        return torch.cat([self._learned * learned, self._counts * counts], dim=1)


class Hellinger(nn.Module):
    """Counts to the square roots of their shares less those of COI, (batch, k-mers) to the same shape."""

    centre: Tensor

    def __init__(self, spec: DnaTower) -> None:
        super().__init__()
        self._sizes = [num_kmers(size, spec.strand) for size in spec.kmers]
        counts = torch.tensor(kmer_counts(list(CONSENSUS.values()), spec.kmers, spec.strand))  # on the device in force
        self.register_buffer("centre", _roots(counts, self._sizes).mean(0), persistent=False)

    def forward(self, counts: Tensor) -> Tensor:
        """As the module says."""
        return _roots(counts, self._sizes) - self.centre


def _roots(counts: Tensor, sizes: Sequence[int]) -> Tensor:
    """sqrt(c / sum(c)) sqrt(k-mers) of each size, (batch, k-mers); 0 where nothing is counted."""
    parts = torch.split(counts, list(sizes), dim=1)
    shares = [part / part.sum(1, keepdim=True).clamp(min=1) for part in parts]
    return torch.cat([share.sqrt() * math.sqrt(share.shape[1]) for share in shares], dim=1)
