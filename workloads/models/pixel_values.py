"""From the bytes of an image to the numbers a network expects."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class PixelValues(nn.Module):
    """Bytes to [0, 1], and then centred and scaled by the mean and deviation that a network's weights expect.

    The authors feed timm's towers values in [0, 1], although those weights were trained with a mean and deviation of
    0.5 (`docs/fidelity.md`); `unit` does the same. The two constants belong to the architecture and are no weights, so
    they are not stored.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, values: Literal["normalised", "unit"], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalised = values == "normalised"
        self.register_buffer("mean", torch.tensor(tuple(mean)).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).reshape(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels as the network expects them.

        Args:
            image: uint8, (batch, 3, side, side).

        Returns:
            float32 of the same shape.
        """
        pixels = image.to(torch.float32).div_(255)
        return pixels.sub_(self.mean).div_(self.std) if self.normalised else pixels
