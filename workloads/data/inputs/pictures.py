"""Pictures of chosen specimens as squares: as towers see them in evaluation, or whole. For figures; free of torch."""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from workloads.data.files.images import Pixels, decode
from workloads.data.inputs.augment import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError

Extent = Literal["middle", "whole"]
"""What of an image is seen: its middle, as in every evaluation, or all of it, squeezed into a square."""


def find_pictures(dataset: PreparedDataset, splits: Sequence[str], ids: Collection[str]) -> dict[str, bytes]:
    """The images of some specimens, as they are stored.

    Raises:
        MissingPathError: the data set has none in these splits.
        UsageError: one of the specimens is not there, or the data set has no images.
    """
    found = dataset.find(splits, ["image"], ids)
    contents: dict[str, bytes] = dict(zip(found["specimen_id"].to_pylist(), found["image"].to_pylist(), strict=True))
    for specimen in sorted(ids):
        if specimen not in contents:
            raise UsageError(f"{dataset.folder} has no specimen {specimen}; name the data set that was evaluated")
        if contents[specimen] is None:
            raise UsageError(f"{dataset.folder} has no image of specimen {specimen}, only features or nothing")
    return contents


def square(content: bytes, side: int, extent: Extent = "middle") -> Pixels:
    """One picture, (side, side, 3).

    Raises:
        RecordError: the image does not decode.
    """
    if extent == "middle":
        return evaluation_view(content, side)
    return np.array(Image.fromarray(decode(content)).resize((side, side), Image.Resampling.BILINEAR))
