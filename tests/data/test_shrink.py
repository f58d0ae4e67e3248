"""Images made smaller: which bytes are kept, and what the others become."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workloads.data.files.images import decode, open_image, shrink
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]
Pillow = Callable[[bytes], np.ndarray]


def waves(width: int, height: int) -> Image.Image:
    """A smooth picture, which JPEG hardly changes."""
    across, down = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
    return Image.fromarray(
        np.uint8(np.stack([np.sin(across), np.cos(down), np.sin(across + down)], axis=2) * 120 + 128)
    )


def test_bytes_that_fit_are_kept_as_they_are(encode: Encode, noise: Noise) -> None:
    content = encode(noise(40, 30), "JPEG")
    assert shrink(content, 30) == content
    assert shrink(content, 224) == content


@pytest.mark.parametrize("where", ["after the image", "in comments"])
def test_a_jpeg_with_more_beside_its_pixels_than_any_needs_is_encoded_again(where: str, encode: Encode) -> None:
    content = encode(waves(40, 30), "JPEG")

    def padded(size: int) -> bytes:
        if where == "after the image":
            return content + bytes(size)
        comments, rest = divmod(size, 65_537)
        sizes = [65_537] * comments + [rest] * (rest > 4)
        return content[:2] + b"".join(b"\xff\xfe" + (n - 2).to_bytes(2) + bytes(n - 4) for n in sizes) + content[2:]

    most = 3 * 40 * 30 + 64 * 2**10
    assert shrink(padded(most - len(content)), 224) == padded(most - len(content))
    for size in (most - len(content) + 5, 20 * 2**20):
        shrunk = shrink(padded(size), 224)
        assert shrunk == shrink(encode(open_image(content)), 224)  # the same pixels, out of a PNG
        assert len(shrunk) < 4000
        assert shrink(shrunk, 224) == shrunk


@pytest.mark.parametrize(
    ("mode", "options", "kept"),
    [
        ("RGB", {"progressive": True}, True),
        ("L", {}, True),
        ("RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\0\0\0\0"}, True),
        ("RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"}, False),
        ("CMYK", {}, False),
    ],
)
def test_only_upright_jpegs_in_rgb_or_grey_are_kept(
    mode: str, options: dict[str, object], kept: bool, encode: Encode, noise: Noise
) -> None:
    content = encode(waves(300, 200).convert(mode), "JPEG", **options)
    shrunk = shrink(content, 200)
    assert (shrunk == content) == kept
    assert Image.open(io.BytesIO(shrunk)).mode in ("RGB", "L")
    assert np.abs(decode(shrunk).astype(int) - decode(content)).mean() < 2


def test_shrinking_twice_gives_the_same_bytes_and_once_is_enough(encode: Encode, noise: Noise) -> None:
    for kind in ("JPEG", "PNG"):
        content = encode(noise(100, 70), kind)
        once = shrink(content, 30)
        assert once == shrink(content, 30)
        assert shrink(once, 30) == once


def test_a_shrunk_image_is_close_to_an_ideal_one(encode: Encode) -> None:
    picture = waves(600, 400)
    ideal = np.asarray(picture.resize((150, 100), Image.Resampling.LANCZOS), dtype=int)
    assert np.abs(decode(shrink(encode(picture), 100)).astype(int) - ideal).mean() < 1.5  # JPEG at quality 90


@pytest.mark.parametrize(
    ("width", "height", "shorter", "size"),
    [
        (40, 30, 15, (20, 15)),
        (30, 40, 15, (15, 20)),
        (33, 33, 8, (8, 8)),
        (100, 7, 7, (100, 7)),
        (101, 50, 25, (50, 25)),
    ],
)
def test_the_shorter_side_is_reduced_and_the_shape_kept(
    width: int, height: int, shorter: int, size: tuple[int, int], encode: Encode, noise: Noise
) -> None:
    for kind in ("JPEG", "PNG"):
        reduced = Image.open(io.BytesIO(shrink(encode(noise(width, height), kind), shorter)))
        assert reduced.size == size
        assert reduced.format == "JPEG"


def test_a_small_png_becomes_a_jpeg_of_the_same_size(encode: Encode, noise: Noise) -> None:
    shrunk = Image.open(io.BytesIO(shrink(encode(noise(40, 30)), 224)))
    assert (shrunk.format, shrunk.size) == ("JPEG", (40, 30))


def test_a_turned_image_is_turned_once_by_shrinking(encode: Encode, noise: Noise) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    shrunk = shrink(encode(noise(40, 20), "JPEG", exif=exif), 10)
    assert open_image(shrunk).size == Image.open(io.BytesIO(shrunk)).size == (10, 20)


def test_an_image_longer_than_a_jpeg_can_be_is_refused(encode: Encode) -> None:
    with pytest.raises(RecordError, match="longer than a JPEG"):
        shrink(encode(Image.new("L", (70_000, 10))), 224)


def test_a_damaged_image_is_not_shrunk_but_refused(encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")
    with pytest.raises(RecordError):
        shrink(content[:-200], 224)


def test_real_photographs_decode_to_pillows_pixels_and_shrink(
    real: Callable[[str], Path], encode: Encode, pillow_pixels: Pillow
) -> None:
    names = sorted((real("bioscan1m_species_images") / "images").iterdir())
    assert len(names) == 136
    names += sorted(real("bioscan1m_order_images").glob("*.jpg"))
    for name in names:
        content = name.read_bytes()
        pixels = decode(content)
        assert 20 < pixels.mean() < 245
        assert np.array_equal(pixels, pillow_pixels(content))
        shrunk = shrink(content, 64)
        assert min(open_image(shrunk).size) == 64
        assert np.array_equal(decode(shrunk), pillow_pixels(shrunk))
