"""What SimCLR shows of an image: a random crop, mirrored, in random colours, blurred.

CLIBD, section B.1, as the authors' code has it: a crop of 8 to 100 % of the area, mirrored with probability 1/2;
colours changed with probability 0.8 (brightness, contrast and saturation by up to 80 %, hue by up to a fifth of its
circle); grey with probability 0.2; always blurred. On uint8 pixels: each change rounds to whole levels.
"""

import math
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
import numpy.typing as npt

from workloads.data.files.images import Pixels, decode
from workloads.data.inputs.augment import Turn, random_box, view_of

Colour = Literal["brightness", "contrast", "saturation", "hue"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

STRENGTH = 0.8
"""Brightness, contrast and saturation are multiplied by 0.2 to 1.8."""
HUE = 0.2
"""Largest turn of the hue, in circles."""
CHANGED, GREY = 0.8, 0.2
"""Probabilities that the colours change, and that none is left."""
SIGMA = (0.1, 2.0)
"""Deviation of the blur, pixels."""
BLURRED = 0.1
"""Width of the blur's kernel over the side of the view."""
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


class Look(NamedTuple):
    """How the colours of a view are changed."""

    changes: tuple[tuple[Colour, float], ...]
    """Each colour and its factor (of the hue: its turn), in the order in which they are applied; none for no change."""
    grey: bool
    sigma: float
    """Deviation of the blur, pixels."""


def simclr_view(content: bytes, size: int, random: np.random.Generator) -> Pixels:
    """A random part of the image, mirrored, recoloured and blurred at random, (size, size, 3).

    Args:
        content: JPEG or PNG.
        size: side of the view, pixels.
        random: of this view of this specimen in this epoch; the view depends on nothing else.

    Raises:
        RecordError: the image does not decode.
    """
    pixels = decode(content, "RGBX")
    box = random_box(pixels.shape[0], pixels.shape[1], random)
    mirror = bool(random.random() < 0.5)
    return looked_at(view_of(pixels, box, Turn(mirror, flip=False, angle=0.0), size), random_look(random))


def random_look(random: np.random.Generator) -> Look:
    """Whether, in which order and how much the colours change, whether they are left out, and the blur."""
    changes: tuple[tuple[Colour, float], ...] = ()
    if random.random() < CHANGED:
        factors = [*random.uniform(1 - STRENGTH, 1 + STRENGTH, 3).tolist(), random.uniform(-HUE, HUE)]
        changes = tuple((COLOURS[place], factors[place]) for place in random.permutation(4).tolist())
    grey = bool(random.random() < GREY)
    return Look(changes, grey, random.uniform(*SIGMA))


def looked_at(pixels: Pixels, look: Look) -> Pixels:
    """A square image with changed colours and blurred, of the same shape."""
    for colour, factor in look.changes:
        pixels = _CHANGES[colour](pixels, factor)
    if look.grey:
        pixels = saturated(pixels, 0.0)
    return blurred(pixels, look.sigma)


def brightened(pixels: Pixels, factor: float) -> Pixels:
    """Every value times a factor."""
    return _mixed(pixels, factor * np.eye(3), 0.0)


def contrasted(pixels: Pixels, factor: float) -> Pixels:
    """Values moved away from the mean grey of the image, or towards it."""
    mean = float(_GREY_WEIGHTS @ cv2.mean(pixels)[:3])
    return _mixed(pixels, factor * np.eye(3), (1 - factor) * mean)


def saturated(pixels: Pixels, factor: float) -> Pixels:
    """Values moved away from the grey of their pixel, or towards it; a factor of 0 leaves only grey."""
    return _mixed(pixels, factor * np.eye(3) + (1 - factor) * np.tile(_GREY_WEIGHTS, (3, 1)), 0.0)


def hue_turned(pixels: Pixels, circles: float) -> Pixels:
    """The hue of every pixel moved along its circle; its saturation and value stay."""
    hsv = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), dtype=np.float32)
    # OpenCV takes degrees past the circle for those on it, but no negative ones.
    hsv[..., 0] += np.float32(360 * (circles % 1))
    return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), alpha=255), dtype=np.uint8)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Smoothed by a Gaussian whose kernel is a tenth of the side, made odd: 21 pixels at 224.

    The paper says 22; the authors' code takes the odd number below. Beyond its edges the image is mirrored.
    """
    # Weights past 4.5 deviations add up to less than 0.01 levels, and take most of the time where sigma is small.
    reach = min(kernel_width(len(pixels)) // 2, math.ceil(4.5 * sigma))
    weights = cv2.getGaussianKernel(2 * reach + 1, sigma)
    return np.asarray(cv2.sepFilter2D(pixels, -1, weights, weights), dtype=np.uint8)


def kernel_width(size: int) -> int:
    """Of the blur of a view of this side, pixels."""
    width = int(BLURRED * size)
    return width if width % 2 else max(1, width - 1)


def _mixed(pixels: Pixels, matrix: npt.NDArray[np.float64], offset: float) -> Pixels:
    """Red, green and blue of every pixel times a matrix, plus an offset, rounded into 0 to 255."""
    return np.asarray(cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)])), dtype=np.uint8)


_CHANGES = {"brightness": brightened, "contrast": contrasted, "saturation": saturated, "hue": hue_turned}
