"""Decoding, checking and shrinking of images.

An image that cannot be trusted is refused: no grey pixels in place of missing data, no truncated file, and no
memory spent on a header that claims a giant. JPEGs are decoded by simplejpeg (libjpeg-turbo), which is as exact as
Pillow to the last bit, faster, and can refuse what Pillow lets pass: damaged data. Everything else is Pillow's, but for
the check whether a PNG is whole: Pillow shows one whose pixels or last chunks are missing.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from workloads.data.files.deep_images import in_eight_bits
from workloads.errors import RecordError

Pixels = npt.NDArray[np.uint8]
"""(height, width, channels)."""

MAX_PIXELS = 25_000_000
"""Four times the largest original of BIOSCAN (2880 x 2160)."""
JPEG_QUALITY = 90
"""Quality of what is encoded again, with Pillow's defaults otherwise: chroma at half size, accurate DCT."""
_MAX_SCANS = 100  # usual images have at most 12; each costs a pass over all pixels, yet only some 10 bytes
_JPEG, _SCAN, _METADATA = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xe1"
_FOUR_COLOURS = ("CMYK", "YCCK")
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, EOFError),
    *(AttributeError, AssertionError, struct.error, cv2.error),  # what TIFF's hundred tags can raise in Pillow
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
_MOST_METADATA = 64 * 2**10  # bytes; thumbnails and colour profiles have less
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
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey and alpha, RGBA
_PIECE = 2**20


def decode(content: bytes, channels: Literal["RGB", "RGBX"] = "RGB") -> Pixels:
    """The pixels of a JPEG, PNG, TIFF, WebP or BMP, turned upright, (height, width, channels).

    Args:
        content: the file.
        channels: with RGBX comes a fourth, unused byte a pixel: some kernels take four much faster than three.

    Raises:
        RecordError: none of these formats, truncated or otherwise damaged, or larger than 25 megapixels.
    """
    if not content:
        raise RecordError("the image file is empty")
    try:
        if content.startswith(_JPEG):
            return _decode_jpeg(content, channels)
        return np.array(_open_with_pillow(content).convert(channels))
    except _DAMAGED as error:
        raise RecordError(f"the image does not decode: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What a decoder says, without the address in memory that Pillow puts in, which no two runs share."""
    return re.sub(r" ?<[^<>]* at 0x[0-9a-f]+>", "", " ".join(str(error).split()))


def open_image(content: bytes) -> Image.Image:
    """What `decode` gives, as a Pillow image."""
    return Image.fromarray(decode(content))


def shrink(content: bytes, shorter_side: int) -> bytes:
    """JPEG bytes whose shorter side is at most `shorter_side`.

    A JPEG that already fits is kept as it is, if it decodes whole, is RGB or grey, stands upright, and carries little
    beside its pixels: its file has at most three bytes a pixel and 64 KiB. The resizing is
    Pillow's, whose integer arithmetic gives the same bytes on any processor; its Hamming filter takes half the time of
    the bicubic one. The same bytes in give the same bytes out.

    Raises:
        RecordError: as `decode`, or the result is too long for a JPEG.
    """
    image = open_image(content)
    scale = shorter_side / min(image.size)
    if scale >= 1 and len(content) <= 3 * image.width * image.height + _MOST_METADATA and _is_plain_jpeg(content):
        return content
    size = (round(image.width * min(scale, 1)), round(image.height * min(scale, 1)))
    if max(size) > _LONGEST_JPEG_SIDE:
        raise RecordError(f"the image would be {size[0]} x {size[1]} pixels, longer than a JPEG can be")
    if scale < 1:
        image = image.resize(size, Image.Resampling.HAMMING, reducing_gap=3.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


_THUMBNAIL_QUALITY, _THUMBNAIL_EFFORT = 80, 2
"""Of WebP: 0.9 kB and 0.4 ms a thumbnail; JPEG of quality 80 takes twice the bytes."""


def thumbnail(content: bytes, longest_side: int) -> bytes:
    """The image as a WebP whose longest side is at most so many pixels.

    Raises:
        RecordError: as `decode`.
    """
    image = open_image(content)
    image.thumbnail((longest_side, longest_side), Image.Resampling.HAMMING)
    image.save(buffer := io.BytesIO(), "WEBP", quality=_THUMBNAIL_QUALITY, method=_THUMBNAIL_EFFORT)
    return buffer.getvalue()


def _decode_jpeg(content: bytes, channels: str) -> Pixels:
    """Raises ValueError where the data is damaged or cut off."""
    if _jpeg_colours(content) in _FOUR_COLOURS:
        simplejpeg.decode_jpeg(content, "CMYK")  # refuses damaged data, as Pillow does not; the pixels are Pillow's
        return np.array(_open_with_pillow(content).convert(channels))
    pixels: Pixels = simplejpeg.decode_jpeg(content, channels)
    turn = _turn(content)
    return pixels if turn is None else np.array(Image.fromarray(pixels).transpose(turn))


def _jpeg_colours(content: bytes) -> str:
    """The colour space that a JPEG's header names; nothing is decoded.

    Raises:
        RecordError: more pixels, or more passes over them, than are allowed.
        ValueError: it is no header.
    """
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    _check_size(width, height)
    if content.count(_SCAN) > _MAX_SCANS:
        raise RecordError(f"the image has more than {_MAX_SCANS} scans")
    return str(colours)


def _is_plain_jpeg(content: bytes) -> bool:
    return content.startswith(_JPEG) and _jpeg_colours(content) not in _FOUR_COLOURS and _turn(content) is None


def _turn(content: bytes) -> Image.Transpose | None:
    """What turns a JPEG upright, as its EXIF or XMP says; damaged EXIF says nothing."""
    if _METADATA not in content:  # nor can these bytes stand among the pixels
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged EXIF
        return _UPRIGHT.get(Image.open(io.BytesIO(content), formats=_FORMATS).getexif().get(_ORIENTATION, 1))


def _open_with_pillow(content: bytes) -> Image.Image:
    """A decoded RGB image, turned upright; raises whatever Pillow raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on transparency and on damaged EXIF
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image: Image.Image = Image.open(io.BytesIO(content), formats=_FORMATS)
        _check_size(image.width, image.height)
        if image.format == "PNG":
            _check_png(content)
        elif image.format == "WEBP":
            _check_end(content, 8 + int.from_bytes(content[4:8], "little"))
        # ImageOps.exif_transpose rewrites the EXIF too, and fails where that is damaged.
        image.getexif()  # kept by Pillow, since reading the pixels may close the file
        picture = in_eight_bits(image, content).convert("RGB")
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))  # nothing where Pillow has turned it, as it does TIFF
        return picture if turn is None else picture.transpose(turn)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RecordError(f"the image claims {width} x {height} pixels; 25 megapixels are allowed")


def _check_end(content: bytes, end: int) -> None:
    """Refuse what stands behind the end that a file gives itself: it may be another file, or half of one.

    Not so of JPEG, behind whose end cameras put previews and videos; nor of BMP and TIFF, which seldom say their end.
    """
    if (behind := len(content) - end) > 0:
        raise RecordError(f"the image file has {behind:,} bytes behind its end")


def _check_png(content: bytes) -> None:
    """Compare all checksums to the very end of a PNG, and the number of its pixels with its header.

    Raises:
        RecordError: a checksum differs, the file ends before its last chunk does or goes on behind it, or pixels are
            missing.
    """
    expected, missing, pixels = b"", 0, zlib.decompressobj()
    try:
        for name, data in _chunks(content):
            if name == b"IHDR":
                missing = _num_bytes(*struct.unpack(">IIBBxxB", data))
            elif name == b"IDAT" and expected in (b"", b"IDAT"):  # pixels come in one run of chunks
                missing -= _inflated(pixels, data, missing)
                expected = name
            elif expected == b"IDAT":
                expected = b"IEND"
    except (struct.error, zlib.error, KeyError) as error:
        raise RecordError(f"the image does not decode: the PNG is cut off or damaged ({error})") from error
    if missing > 0:
        raise RecordError(f"the image does not decode: the PNG lacks {missing:,} bytes of pixels")


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    position, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(memoryview(content)[position + 4 : end]) != checksum:
            raise RecordError(f"the image does not decode: the checksum of the PNG's {name.decode('latin-1')} differs")
        yield name, memoryview(content)[position + 8 : end]
        position = end + 4
    _check_end(content, position)


def _num_bytes(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    """Bytes of all rows, each with one byte for its filter; none for interlaced ones, which Pillow counts itself."""
    return 0 if interlaced else height * (1 + (width * depth * _PNG_CHANNELS[colour] + 7) // 8)


def _inflated(pixels: "zlib._Decompress", data: memoryview, most: int) -> int:
    """How many bytes a chunk gives, `most` being enough; holds a megabyte of them at a time."""
    count, rest = 0, bytes(data)
    while rest and count < most:
        count += len(pixels.decompress(rest, _PIECE))
        rest = pixels.unconsumed_tail
    return count
