"""TIFF, WebP and BMP, and pictures of more than eight bits a colour."""

import io
import time
import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workloads.data.files.images import decode, shrink
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]
KINDS = [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_adobe_deflate"})]
KINDS += [("WEBP", {"lossless": True}), ("BMP", {})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_other_formats_decode_to_their_pixels(
    kind: str, options: dict[str, object], mode: str, encode: Encode, noise: Noise
) -> None:
    picture = noise(33, 17).convert(mode)
    pixels = decode(encode(picture, kind, **options))
    assert (pixels == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_other_formats_cut_in_their_pixels_are_refused(
    kind: str, options: dict[str, object], encode: Encode, noise: Noise
) -> None:
    content = encode(noise(64, 48), kind, **options)
    for end in (0, 1, 20, len(content) // 4, len(content) // 2, len(content) * 3 // 4):
        with pytest.raises(RecordError):
            decode(content[:end])


def deep(pixels: np.ndarray, ending: str) -> bytes:
    """A file of 16 bits a colour, as OpenCV writes it; (height, width, RGB) or (height, width)."""
    done, content = cv2.imencode(ending, pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)
    assert done
    return content.tobytes()


@pytest.mark.parametrize("ending", [".tif", ".png"])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("shape", [(24, 30), (24, 30, 3)])
def test_twelve_and_sixteen_bits_are_scaled_to_eight(ending: str, bits: int, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint16)
    pixels.flat[0] = 2**bits - 1
    found = decode(deep(pixels, ending))
    expected = (pixels >> (bits - 8)).astype(np.uint8)
    assert (found == (expected if expected.ndim == 3 else expected[:, :, None])).all()


def test_floating_point_pictures_of_zero_to_one_are_scaled(encode: Encode) -> None:
    grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert np.abs(decode(encode(Image.fromarray(grey), "TIFF"))[:, :, 0].astype(int) - grey * 255).max() <= 1
    with pytest.raises(RecordError, match="not finite"):
        decode(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_exif_turns_other_formats_upright(kind: str, encode: Encode, noise: Noise) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(noise(40, 20), kind, exif=exif)).shape == (40, 20, 3)


def test_other_formats_shrink_to_jpeg(encode: Encode, noise: Noise) -> None:
    for kind in ("TIFF", "WEBP", "BMP"):
        with Image.open(io.BytesIO(shrink(encode(noise(80, 60), kind), 30))) as image:
            assert (image.format, image.size) == ("JPEG", (40, 30))


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(range(len(KINDS))),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 6000),
)
def test_changed_bytes_give_pixels_or_a_refusal_in_bounded_time(
    kind: int, changes: list[tuple[int, int]], cut: int
) -> None:
    name, options = KINDS[kind]
    pixels = np.random.default_rng(1).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), name, **options)
    content = bytearray(buffer.getvalue())
    for place, value in changes:
        content[place % len(content)] = value
    started = time.process_time()
    tracemalloc.start()
    try:
        assert decode(bytes(content[:cut] if cut < 1000 else content)).ndim == 3
    except RecordError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 400 << 20
