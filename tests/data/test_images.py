"""Decoded images: their pixels are Pillow's, whatever their format, mode and orientation."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from workloads.data.files.images import decode, open_image

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]
Pillow = Callable[[bytes], np.ndarray]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_decode_to_pillows_pixels_bit_for_bit(
    subsampling: str, progressive: bool, mode: str, encode: Encode, noise: Noise, pillow_pixels: Pillow
) -> None:
    for width, height in [(1, 1), (7, 9), (8, 8), (33, 17), (141, 159), (200, 3)]:
        for restart in (0, 3):
            options = {"subsampling": subsampling, "progressive": progressive, "restart_marker_blocks": restart}
            content = encode(noise(width, height, seed=width).convert(mode), "JPEG", quality=90, **options)
            pixels = decode(content)
            assert pixels.shape == (height, width, 3)
            assert pixels.dtype == np.uint8
            assert (pixels == pillow_pixels(content)).all()
            assert (decode(content, "RGBX")[..., :3] == pixels).all()


def test_a_jpeg_of_plain_rgb_decodes_to_pillows_pixels(encode: Encode, noise: Noise, pillow_pixels: Pillow) -> None:
    content = encode(noise(), "JPEG", keep_rgb=True)
    assert (decode(content) == pillow_pixels(content)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_fourth_channel_changes_no_colour(kind: str, mode: str, encode: Encode, noise: Noise) -> None:
    if (kind, mode) == ("PNG", "CMYK"):
        mode = "RGBA"
    content = encode(noise().convert(mode), kind)
    assert decode(content, "RGBX").shape == (30, 40, 4)
    assert (decode(content, "RGBX")[..., :3] == decode(content)).all()


def test_what_cameras_put_behind_a_jpeg_is_passed_over(encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")
    for more in (b"\0", b"junk" * 500, content):
        assert (decode(content + more) == decode(content)).all()


def test_a_cmyk_jpeg_becomes_rgb(encode: Encode) -> None:
    image = open_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert image.mode == "RGB"
    red, green, blue = image.getpixel((4, 4))  # type: ignore[misc] # three numbers, as the mode is RGB
    assert red > 240
    assert max(green, blue) < 15


def test_a_cmyk_jpeg_has_pillows_pixels(encode: Encode, noise: Noise, pillow_pixels: Pillow) -> None:
    content = encode(noise().convert("CMYK"), "JPEG")
    assert (decode(content) == pillow_pixels(content)).all()


def test_sixteen_bits_of_grey_keep_their_upper_eight(encode: Encode) -> None:
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    pixels = np.asarray(open_image(encode(Image.fromarray(grey))))
    assert (pixels == (grey >> 8)[:, :, None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_of_a_png_becomes_rgb(mode: str, encode: Encode, noise: Noise) -> None:
    assert open_image(encode(noise().convert(mode))).mode == "RGB"


def test_a_palette_with_transparent_colours_decodes_without_a_warning(encode: Encode, noise: Noise) -> None:
    palette = noise().convert("P")
    assert open_image(encode(palette, transparency=bytes([0, 128] + [255] * 254))).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_turns_the_image_upright(orientation: int, kind: str, encode: Encode, pillow_pixels: Pillow) -> None:
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16, 0] = 255  # red above left, green below right
    upright[8:, 16:, 1] = 255
    # How a camera stores the upright picture under each orientation: the inverse of what EXIF asks for.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = encode(Image.fromarray(np.ascontiguousarray(stored[orientation])), kind, exif=exif, **options)
    pixels = decode(content).astype(int)
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= 4  # what JPEG at quality 100 rounds
    assert (pixels == pillow_pixels(content)).all()
    assert (pixels == decode(content, "RGBX")[..., :3]).all()


def test_xmp_turns_the_image_upright(encode: Encode, noise: Noise, pillow_pixels: Pillow) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    content = encode(noise(40, 20), "JPEG", xmp=xmp)
    assert decode(content).shape == (40, 20, 3)
    assert (decode(content) == pillow_pixels(content)).all()


def test_fill_bytes_before_exif_do_not_hide_it(encode: Encode, noise: Noise) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(noise(40, 20), "JPEG", exif=exif)
    place = content.index(b"\xff\xe1")
    filled = content[:place] + b"\xff\xff\xff" + content[place:]
    assert decode(content).shape == decode(filled).shape == (40, 20, 3)


def test_damaged_exif_costs_no_specimen(encode: Encode, noise: Noise) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    content = encode(noise(40, 30), "JPEG", exif=exif)
    start = content.index(b"Exif\x00\x00") + 6
    chance, decoded = random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[start + 10 + chance.randrange(50)] = chance.randrange(256)
        decoded += set(open_image(bytes(damaged)).size) == {40, 30}
    assert decoded == 300
