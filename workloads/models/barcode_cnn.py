"""The small network of the Bayesian zero-shot paper, over the bases of a barcode (Badirli et al., NeurIPS 2021).

It sees a barcode as an image of 660 rows, one a base, and 5 columns, one a letter: A, C, G, T and any other. Three
times comes a convolution along the bases, ReLU, batch norm and the largest of three neighbours; then a layer of 500
values, which are the class descriptions of that paper once the network has learned its classes.

The shapes are those of BarcodeBERT's restatement in PyTorch, whose kernels are three bases high and one column wide.
The first authors' notebook, in Keras, has kernels three columns wide as well, over 658 aligned positions. As there, the
500 values are taken behind the tanh; the restatement takes them in front of it.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.models.weights import begin
from workloads.spec import DnaTower

NUM_LETTERS = barcode.UNCERTAIN_BASE + 1
DESCRIPTION_SIZE = 500
_CHANNELS = (1, 64, 32, 16)
_HEIGHT = 3  # of kernels and of pools, bases


class BarcodeCnn(nn.Module):
    """Embeds the bases of barcodes.

    Batch normalisation computes its statistics over what passes at once: with gradient caching that is a micro-batch,
    and on several workers the share of one of them, not the batch of the loss.
    """

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.trunk = _trunk()
        self.head = nn.Linear(DESCRIPTION_SIZE, embedding_size)

    def forward(self, codes: Tensor) -> Tensor:
        """Embed barcodes.

        Args:
            codes: 0 to 3 for A, C, G and T, 4 for any other letter, 5 past the end; (batch, 660) of int64.

        Returns:
            (batch, embedding), not normalised.
        """
        letters = F.one_hot(codes, barcode.NO_BASE + 1)[..., :NUM_LETTERS]  # (batch, 660, 5), zero past the end
        image = letters.unsqueeze(1).to(self.head.weight.dtype)
        embedded: Tensor = self.head(self.trunk(image))
        return embedded


def _trunk() -> nn.Sequential:
    """(batch, 1, 660, 5) to (batch, 500)."""
    layers: list[nn.Module] = []
    length = barcode.MAX_BASES
    for before, after in pairwise(_CHANNELS):
        layers += [
            nn.Conv2d(before, after, kernel_size=(_HEIGHT, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(after),
            nn.MaxPool2d(kernel_size=(_HEIGHT, 1)),
        ]
        length //= _HEIGHT  # 660, 220, 73, 24
    flat = _CHANNELS[-1] * length * NUM_LETTERS  # 1,920
    return nn.Sequential(*layers, nn.Flatten(), nn.BatchNorm1d(flat), nn.Linear(flat, DESCRIPTION_SIZE), nn.Tanh())


def build_barcode_cnn(spec: DnaTower, embedding_size: int, pretrained: bool = True) -> BarcodeCnn:
    """The small network, whose size is fixed.

    Args:
        spec: the tower; of it only the weights matter.
        embedding_size: size of the shared space.
        pretrained: whether the spec's weights are put in.

    Raises:
        WeightsError: the weights are not those of a finished run, or do not fit.
    """
    tower = BarcodeCnn(embedding_size)
    nowhere = "nobody publishes any for this network; name the folder of a finished run"
    begin("DNA", spec.weights if pretrained else None, tower, "dna", nowhere)
    return tower
