"""Decoding, checking and shrinking of images, with Pillow.

An image that cannot be trusted is refused: no grey pixels in place of missing data, no truncated file, and no
memory spent on a header that claims a giant.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workloads.errors import RecordError

MAX_PIXELS = 25_000_000
"""Four times the largest original of BIOSCAN (2880 x 2160)."""
JPEG_QUALITY = 90
_FORMATS = ("JPEG", "PNG")
_LONGEST_JPEG_SIDE = 65_500
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""


def open_image(content: bytes) -> Image.Image:
    """A decoded RGB image, turned upright.

    Raises:
        RecordError: not a JPEG or PNG, truncated, or larger than 25 megapixels.
    """
    if not content:
        raise RecordError("the image file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on transparency and on damaged EXIF
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise RecordError(f"the image claims {image.width} x {image.height} pixels; 25 megapixels are allowed")
            return _rgb(_upright(image))
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise RecordError(f"the image does not decode: {' '.join(str(error).split())}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. ImageOps.exif_transpose rewrites the EXIF too, and fails where that is damaged."""
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    image.load()
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip them to 255, which leaves white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def shrink(content: bytes, shorter_side: int) -> bytes:
    """JPEG bytes whose shorter side is at most `shorter_side`; bytes that already fit are kept as they are.

    Raises:
        RecordError: as `open_image`, or the result is too long for a JPEG.
    """
    image = open_image(content)
    scale = shorter_side / min(image.size)
    if scale >= 1 and content[:2] == b"\xff\xd8":
        return content
    size = (round(image.width * min(scale, 1)), round(image.height * min(scale, 1)))
    if max(size) > _LONGEST_JPEG_SIDE:
        raise RecordError(f"the image would be {size[0]} x {size[1]} pixels, longer than a JPEG can be")
    if scale < 1:
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def read_image_file(source: Path, reference: str) -> bytes:
    """Bytes of an image named relative to its source folder.

    Raises:
        RecordError: the name leaves the folder, or there is no such file.
    """
    if "\0" in reference:
        raise RecordError(f"the image name {reference!r} is no file name")
    path = (source / reference).resolve()
    if not path.is_relative_to(source.resolve()):
        raise RecordError(f"the image name {reference!r} leads out of its folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"the image {reference!r} cannot be read: {error.strerror}") from error


def evaluation_view(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Shorter side resized to 256/224 of `size`, then the centre cropped, (size, size, 3)."""
    image = open_image(content)
    side = min(image.size) * 224 / 256
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def training_view(content: bytes, size: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Random crop of 8 to 100 % of the area, flips, and a turn of up to 45 degrees, (size, size, 3).

    The augmentations of the authors' code; corners that a turn uncovers stay black, as there.
    """
    image = open_image(content)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=_random_box(image, random))
    for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
        if random.random() < 0.5:
            image = image.transpose(flip)
    return np.asarray(image.rotate(random.uniform(-45, 45), Image.Resampling.BILINEAR))


def _random_box(image: Image.Image, random: np.random.Generator) -> tuple[float, float, float, float]:
    """A box of random area (8 to 100 %) and aspect (3/4 to 4/3), clipped to the image."""
    area = image.width * image.height * random.uniform(0.08, 1.0)
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min(float(np.sqrt(area * aspect)), image.width)
    height = min(float(np.sqrt(area / aspect)), image.height)
    left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
    return left, top, left + width, top + height
