"""What makes a picture poor evidence, by three plain measures of its grey values at a longest side of 256 pixels.

    tiny      its shorter side has fewer than 48 pixels
    uniform   the standard deviation of its grey values, 0 to 255, is below 4: paper, a lens cap
    blurred   variance of the Laplacian over variance of the grey values is below 0.002

The last is the focus measure of Pech-Pacheco et al. (2000), divided by the contrast so that a pale picture is not
taken for a blurred one. A flag says that somebody should look; it decides nothing.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from workloads.data.files.images import open_image
from workloads.errors import RecordError

_TINY, _UNIFORM, _BLURRED = 48, 4.0, 0.002
_SIDE = 256
_POOR = "poor image: "


def faults_of(content: bytes) -> Sequence[str]:
    """The flags of an encoded picture; none where it does not decode, which is said elsewhere."""
    try:
        image = open_image(content)
    except RecordError:
        return ()
    flags = [f"{_POOR}tiny"] if min(image.size) < _TINY else []
    image.thumbnail((_SIDE, _SIDE))
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    contrast = float(grey.var())
    if contrast < _UNIFORM**2:
        return [*flags, f"{_POOR}uniform"]
    focus = float(cv2.Laplacian(grey, cv2.CV_32F).var()) / contrast
    return [*flags, f"{_POOR}blurred"] if focus < _BLURRED else flags
