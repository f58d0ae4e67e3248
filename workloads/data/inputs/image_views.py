"""What is seen of an image: its middle in evaluation, a random view of it in training, or for figures all of it.

The first two follow the authors' code (their transforms: resize the shorter side to 256, then crop 224), on uint8
pixels. Stored images have a shorter side of at most 256 already, and the random crop is drawn in fractions of the
image, so that nothing is resized before it is cropped.

SimCLR shows a random crop, mirrored, in random colours, blurred (CLIBD, section B.1, as the authors' code has it): a
crop of 8 to 100 % of the area, mirrored with probability 1/2; colours changed with probability 0.8 (brightness,
contrast and saturation by up to 80 %, hue by up to a fifth of its circle); grey with probability 0.2; always blurred.
On uint8 pixels: each change rounds to whole levels.
"""

import math
from functools import cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from workloads.arrays import Doubles
from workloads.data.files.images import Pixels, decode

AREA = (0.08, 1.0)
"""Share of the image that a random crop covers."""
ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop, drawn evenly in its logarithm."""
ANGLE = math.pi / 4
"""Largest turn, radians."""
_ATTEMPTS = 10
_SHORTER_SIDE = 256 / 224
"""Shorter side of the image whose middle is cropped, in lengths of the crop."""
_COARSEST = 1.5
"""Pixels a pixel up to which bilinear sampling alone comes closer to an ideal resize and turn than averaging areas
before it: 45 against 44 dB at 1.3, 43 against 44 dB at 1.5, 39 against 44 dB at 3."""


_STRENGTH = 0.8
"""Brightness, contrast and saturation are multiplied by 0.2 to 1.8."""
_HUE = 0.2
"""Largest turn of the hue, in circles."""
_CHANGED, _GREY = 0.8, 0.2
"""Probabilities that the colours change, and that none is left."""
_SIGMA = (0.1, 2.0)
"""Deviation of the blur, pixels."""
_BLURRED = 0.1
"""Width of the blur's kernel over the side of the view."""
_GREY_OF_RGB = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


Extent = Literal["middle", "whole"]
"""What of an image a figure shows: its middle, as in every evaluation, or all of it, squeezed into a square."""


class Box(NamedTuple):
    """A part of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class Turn(NamedTuple):
    """How a crop is laid into the view."""

    mirror: bool
    """Left and right are exchanged."""
    flip: bool
    """Above and below are exchanged."""
    angle: float
    """Radians about the middle of the view, after the exchanges; positive is anticlockwise."""


class Look(NamedTuple):
    """How the colours of a view are changed."""

    changes: tuple[tuple[str, float], ...]
    """Brightness, contrast, saturation and hue with their factors (of the hue: its turn), in the order in which they
    are applied; none for no change."""
    grey: bool
    sigma: float
    """Deviation of the blur, pixels."""


def evaluation_view(content: bytes, size: int, extent: Extent = "middle") -> Pixels:
    """The middle of the image after its shorter side is resized to 256/224 of `size`, or all of it, (size, size, 3).

    Where the image has that shorter side nothing is resized, and its middle holds pixels of the image as they are.

    Raises:
        RecordError: the image does not decode.
    """
    pixels = decode(content)
    if extent == "whole":
        return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    height, width = pixels.shape[:2]
    shorter = round(size * _SHORTER_SIDE)
    if min(height, width) == shorter:
        top, left = round((height - size) / 2), round((width - size) / 2)
        return np.ascontiguousarray(pixels[top : top + size, left : left + size])
    new_height, new_width = (shorter * side // min(height, width) for side in (height, width))
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    box = (
        left * width / new_width,
        top * height / new_height,
        (left + size) * width / new_width,
        (top + size) * height / new_height,
    )
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box))


def training_view(content: bytes, size: int, random: np.random.Generator) -> Pixels:
    """A random part of the image, mirrored, flipped and turned at random, (size, size, 3).

    A crop of 8 to 100 % of the area, each exchange with probability 1/2, a turn of at most 45 degrees; corners that the
    turn uncovers are black.

    Args:
        content: JPEG or PNG.
        size: side of the view, pixels.
        random: of this specimen in this epoch; the view depends on nothing else.

    Raises:
        RecordError: the image does not decode.
    """
    pixels = decode(content, "RGBX")  # OpenCV turns four channels twice as fast as three
    box = random_box(pixels.shape[0], pixels.shape[1], random)
    return view_of(pixels, box, random_turn(random), size)


def random_box(height: int, width: int, random: np.random.Generator) -> Box:
    """A box of random area and aspect at a random place inside the image.

    Ten boxes are drawn until one fits. Otherwise it is the largest one in the middle whose aspect is allowed.
    """
    lowest, highest = math.log(ASPECT[0]), math.log(ASPECT[1])
    for _ in range(_ATTEMPTS):
        share, shape, down, right = random.random(4).tolist()
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        aspect = math.exp(lowest + shape * (highest - lowest))
        box_height, box_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < box_height <= height and 0 < box_width <= width:
            top, left = int(down * (height - box_height + 1)), int(right * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_height = min(height, round(width / ASPECT[0]))
    box_width = min(width, round(height * ASPECT[1]))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def random_turn(random: np.random.Generator) -> Turn:
    """Mirrored or not, flipped or not, and an angle."""
    mirror, flip, angle = random.random(3).tolist()
    return Turn(mirror < 0.5, flip < 0.5, (2 * angle - 1) * ANGLE)


def view_of(pixels: Pixels, box: Box, turn: Turn, size: int) -> Pixels:
    """Part of an image as a square, exchanged and turned, (size, size, 3).

    Resize, exchanges and turn are one affine map, so that every pixel is interpolated once.

    Args:
        pixels: (height, width, 4), of which the last channel is left out.
        box: the part.
        turn: how it is laid.
        size: side of the square, pixels.
    """
    _use_one_thread()
    crop = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    if max(box.height, box.width) > _COARSEST * size:
        smaller = (min(box.width, size), min(box.height, size))
        crop = np.asarray(cv2.resize(crop, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    matrix = _place_in_crop(crop.shape[0], crop.shape[1], turn, size)
    view = cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(cv2.cvtColor(view, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _place_in_crop(height: int, width: int, turn: Turn, size: int) -> Doubles:
    """The matrix that takes (x, y, 1) of a pixel in the view to its place in the crop, (2, 3).

    Pixels are counted by their centres: the middle of the view, (size - 1) / 2, is the middle of the crop.
    """
    across = (-1 if turn.mirror else 1) * width / size
    down = (-1 if turn.flip else 1) * height / size
    cosine, sine = math.cos(turn.angle), math.sin(turn.angle)
    middle = (size - 1) / 2
    left = (width - 1) / 2 - across * (cosine - sine) * middle
    top = (height - 1) / 2 - down * (sine + cosine) * middle
    return np.array([[across * cosine, -across * sine, left], [down * sine, down * cosine, top]])


@cache
def _use_one_thread() -> None:
    """OpenCV would start threads even for one small image; the workers of a data loader share the cores already."""
    cv2.setNumThreads(1)


# --- SimCLR -------------------------------------------------------------------------------------------------------


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
    changes: tuple[tuple[str, float], ...] = ()
    if random.random() < _CHANGED:
        factors = [*random.uniform(1 - _STRENGTH, 1 + _STRENGTH, 3).tolist(), random.uniform(-_HUE, _HUE)]
        named = list(zip(_CHANGES, factors, strict=True))
        changes = tuple(named[place] for place in random.permutation(4).tolist())
    grey = bool(random.random() < _GREY)
    return Look(changes, grey, random.uniform(*_SIGMA))


def looked_at(pixels: Pixels, look: Look) -> Pixels:
    """A square image with changed colours and _blurred, of the same shape."""
    for colour, factor in look.changes:
        pixels = _CHANGES[colour](pixels, factor)
    if look.grey:
        pixels = _saturated(pixels, 0.0)
    return _blurred(pixels, look.sigma)


def _brightened(pixels: Pixels, factor: float) -> Pixels:
    """Every value times a factor."""
    return _mixed(pixels, factor * np.eye(3), 0.0)


def _contrasted(pixels: Pixels, factor: float) -> Pixels:
    """Values moved away from the mean grey of the image, or towards it."""
    mean = float(_GREY_OF_RGB @ cv2.mean(pixels)[:3])
    return _mixed(pixels, factor * np.eye(3), (1 - factor) * mean)


def _saturated(pixels: Pixels, factor: float) -> Pixels:
    """Values moved away from the grey of their pixel, or towards it; a factor of 0 leaves only grey."""
    return _mixed(pixels, factor * np.eye(3) + (1 - factor) * np.tile(_GREY_OF_RGB, (3, 1)), 0.0)


def _hue_turned(pixels: Pixels, circles: float) -> Pixels:
    """The hue of every pixel moved along its circle; its saturation and value stay."""
    hsv = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), dtype=np.float32)
    # OpenCV takes degrees past the circle for those on it, but no negative ones.
    hsv[..., 0] += np.float32(360 * (circles % 1))
    return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), alpha=255), dtype=np.uint8)


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Smoothed by a Gaussian whose kernel is a tenth of the side, made odd: 21 pixels at 224.

    The paper says 22; the authors' code takes the odd number below. Beyond its edges the image is mirrored.
    """
    width = int(_BLURRED * len(pixels))
    # Weights past 4.5 deviations add up to less than 0.01 levels, and take most of the time where sigma is small.
    reach = min(max(0, width - 1) // 2, math.ceil(4.5 * sigma))
    weights = cv2.getGaussianKernel(2 * reach + 1, sigma)
    return np.asarray(cv2.sepFilter2D(pixels, -1, weights, weights), dtype=np.uint8)


def _mixed(pixels: Pixels, matrix: Doubles, offset: float) -> Pixels:
    """Red, green and blue of every pixel times a matrix, plus an offset, rounded into 0 to 255."""
    return np.asarray(cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)])), dtype=np.uint8)


_CHANGES = {"brightness": _brightened, "contrast": _contrasted, "saturation": _saturated, "hue": _hue_turned}
