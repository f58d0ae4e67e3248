"""What a tower sees of an image: its middle in evaluation, a random view of it in training.

Both follow the authors' code (their transforms: resize the shorter side to 256, then crop 224), on uint8 pixels. Stored
images have a shorter side of at most 256 already, and the random crop is drawn in fractions of the image, so that
nothing is resized before it is cropped.
"""

import math
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from workloads.data.files.images import Pixels, decode

AREA = (0.08, 1.0)
"""Share of the image that a random crop covers."""
ASPECT = (3 / 4, 4 / 3)
"""Width over height of a random crop, drawn evenly in its logarithm."""
ANGLE = math.pi / 4
"""Largest turn, radians."""
_ATTEMPTS = 10
_SHORTER_SIDE = 256 / 224
"""Of the image whose middle is cropped, in lengths of the crop."""
_COARSEST = 1.5
"""Pixels a pixel up to which bilinear sampling alone comes closer to an ideal resize and turn than averaging areas
before it: 45 against 44 dB at 1.3, 43 against 44 dB at 1.5, 39 against 44 dB at 3."""


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


def evaluation_view(content: bytes, size: int) -> Pixels:
    """The middle of the image after its shorter side is resized to 256/224 of `size`, (size, size, 3).

    Where the image has that shorter side nothing is resized, and the view holds pixels of the image as they are.

    Raises:
        RecordError: the image does not decode.
    """
    pixels = decode(content)
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


def _place_in_crop(height: int, width: int, turn: Turn, size: int) -> npt.NDArray[np.float64]:
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
