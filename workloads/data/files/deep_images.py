"""Pictures of 12 and 16 bits a colour, as microscopes and scanners write them, brought to the 8 bits of all others.

Pillow keeps the upper eight of 16 bits. Cameras of microscopes write 12 bits into 16, which leaves black that way, so
the scale is taken from what the file says of its bits, or else from its brightest pixel: nothing above 4095 is 12 bits.
"""

import cv2
import numpy as np
from PIL import Image

_PNG_DEPTH, _PNG_BITS = 24, b"sBIT"
_BITS_PER_SAMPLE, _MOST_SAMPLE = 258, 281
_TWELVE = 2**12 - 1


def in_eight_bits(image: Image.Image, content: bytes) -> Image.Image:
    """A decoded picture with 8 bits a colour.

    Args:
        image: as Pillow opened it, not loaded yet.
        content: its file.

    Raises:
        OSError: it is cut off or damaged, or has kinds of pixels that are no picture.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image.load()
        return _grey(np.asarray(image), _said_bits(image, content))
    if _is_deep(image, content):
        deep = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if deep is not None and deep.dtype == np.uint16 and deep.ndim == 3 and deep.shape[2] >= 3:
            return Image.fromarray(_scaled(deep[:, :, 2::-1], _said_bits(image, content)))
    image.load()
    return image


def _grey(pixels: np.ndarray, bits: int | None) -> Image.Image:
    if pixels.dtype.kind == "f":
        low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
        if not np.isfinite((low, high)).all():
            raise OSError("its pixels are not finite")
        pixels = np.clip(pixels * (255 if high <= 1 and low >= 0 else 1), 0, 255)
        return Image.fromarray(pixels.astype(np.uint8))
    return Image.fromarray(_scaled(np.clip(pixels, 0, 2**16 - 1).astype(np.uint16), bits))


def _scaled(pixels: np.ndarray, bits: int | None) -> np.ndarray:
    """The upper eight of so many bits; where the file does not say how many, its brightest pixel does."""
    brightest = int(pixels.max(initial=0))
    if bits is None or brightest >= 2**bits:
        bits = 12 if brightest <= _TWELVE else 16
    return np.ascontiguousarray(pixels >> (bits - 8) if bits > 8 else pixels).astype(np.uint8)


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether each colour has 16 bits in the file, of which Pillow would keep the upper half."""
    if image.format == "PNG":
        return content[_PNG_DEPTH] == 16 and image.mode in ("RGB", "RGBA")
    if image.format == "TIFF":
        return 16 in tuple(image.tag_v2.get(_BITS_PER_SAMPLE, ())) and image.mode in ("RGB", "RGBA")  # type: ignore[attr-defined]
    return False


def _said_bits(image: Image.Image, content: bytes) -> int | None:
    """How many bits of 16 are used, where the file says so."""
    if image.format == "PNG":
        place = content.find(_PNG_BITS, 0, 1024)
        return content[place + 4] if place > 0 and 8 < content[place + 4] <= 16 else None
    if image.format == "TIFF":
        most = image.tag_v2.get(_MOST_SAMPLE)  # type: ignore[attr-defined]
        most = max(most) if isinstance(most, tuple) and most else most
        return int(most).bit_length() if isinstance(most, int) and 255 < most < 2**16 else None
    return None
