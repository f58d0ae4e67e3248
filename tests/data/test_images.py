"""Images: what is refused, what is kept, and what a tower sees."""

import io
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workloads.data.images import evaluation_view, open_image, read_image_file, shrink, training_view
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]

GIANT_PNG = b"".join(
    [
        b"\x89PNG\r\n\x1a\n",
        *(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in (
                (b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)),
                (b"IDAT", zlib.compress(bytes(1000))),
                (b"IEND", b""),
            )
        ),
    ]
)


def giant_jpeg(small: bytes) -> bytes:
    """A JPEG whose header is changed to claim 65535 x 65535 pixels."""
    frame = small.index(b"\xff\xc0") + 5
    return small[:frame] + b"\xff\xff\xff\xff" + small[frame + 4 :]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_image_is_refused(kind: str, encode: Encode, noise: Noise) -> None:
    content = encode(noise(), kind)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(RecordError, match="does not decode"):
            open_image(content[: int(len(content) * share)])


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(RecordError, match="empty"):
        open_image(b"")


@pytest.mark.parametrize("content", [b"specimen_id\tbarcode\n", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"<html></html>"])
def test_a_file_that_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(RecordError, match="does not decode"):
        open_image(content)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_formats_other_than_jpeg_and_png_are_refused(kind: str, encode: Encode, noise: Noise) -> None:
    with pytest.raises(RecordError, match="does not decode"):
        open_image(encode(noise(), kind))


def test_a_header_that_claims_a_giant_costs_neither_time_nor_memory(encode: Encode, noise: Noise) -> None:
    for content in (GIANT_PNG, giant_jpeg(encode(noise(), "JPEG"))):
        tracemalloc.start()
        started = time.process_time()
        with pytest.raises(RecordError):
            open_image(content)
        assert time.process_time() - started < 1
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


def test_an_image_of_more_than_25_megapixels_is_refused(encode: Encode) -> None:
    with pytest.raises(RecordError, match="5001 x 5000 pixels"):
        open_image(encode(Image.new("L", (5001, 5000))))
    assert open_image(encode(Image.new("L", (5000, 5000)))).size == (5000, 5000)


def test_a_cmyk_jpeg_becomes_rgb(encode: Encode) -> None:
    image = open_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert image.mode == "RGB"
    red, green, blue = image.getpixel((4, 4))  # type: ignore[misc] # three numbers, as the mode is RGB
    assert red > 240
    assert max(green, blue) < 15


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
def test_exif_turns_the_image_upright(orientation: int, kind: str, encode: Encode) -> None:
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
    pixels = np.asarray(open_image(content), dtype=int)
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= 4  # what JPEG at quality 100 rounds


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


def test_any_damaged_image_decodes_or_is_refused(encode: Encode, noise: Noise) -> None:
    originals = [encode(noise(20, 16), "JPEG"), encode(noise(20, 16)), encode(noise(20, 16).convert("P"))]
    chance, refused = random.Random(1), 0
    for _ in range(600):
        damaged = bytearray(chance.choice(originals))
        for _ in range(chance.choice([1, 3, 10])):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except RecordError:
            refused += 1
    assert 0 < refused < 600


def test_bytes_that_fit_are_kept_as_they_are(encode: Encode, noise: Noise) -> None:
    content = encode(noise(40, 30), "JPEG")
    assert shrink(content, 30) == content
    assert shrink(content, 224) == content


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


def test_an_image_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "source" / "a").mkdir(parents=True)
    (tmp_path / "source" / "a" / "1.jpg").write_bytes(b"pixels")
    assert read_image_file(tmp_path / "source", "a/1.jpg") == b"pixels"
    assert read_image_file(tmp_path / "source", "a/../a/1.jpg") == b"pixels"


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"pixels")
    (tmp_path / "source-2").mkdir()
    (tmp_path / "source-2" / "1.jpg").write_bytes(b"pixels")
    (tmp_path / "source" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    for reference in ("../secret.jpg", str(tmp_path / "secret.jpg"), "../source-2/1.jpg", "link.jpg"):
        with pytest.raises(RecordError, match="leads out"):
            read_image_file(tmp_path / "source", reference)


@pytest.mark.parametrize("reference", ["none.jpg", "", "a\0b.jpg", "x" * 5000])
def test_a_name_without_a_file_is_refused(reference: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        read_image_file(tmp_path, reference)


def test_the_evaluation_view_is_the_middle_of_the_image(encode: Encode) -> None:
    # 224/256 of the shorter side: 56 of 64 pixels, hence 4 off above and below, and 36 off at both ends of 128.
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[4:60, 36:92] = np.random.default_rng(0).integers(1, 256, (56, 56, 3))
    view = evaluation_view(encode(Image.fromarray(pixels)), 56)
    assert (view == pixels[4:60, 36:92]).all()


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (1, 1), (3, 200)])
def test_views_have_the_asked_size_whatever_the_image_has(
    width: int, height: int, encode: Encode, noise: Noise
) -> None:
    content = encode(noise(width, height), "JPEG")
    for view in (evaluation_view(content, 24), training_view(content, 24, np.random.default_rng(0))):
        assert view.shape == (24, 24, 3)
        assert view.dtype == np.uint8


def test_one_random_stream_gives_one_training_view(encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")
    views = [training_view(content, 32, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


def test_training_views_are_cut_turned_and_flipped(encode: Encode) -> None:
    pixels = np.full((64, 64, 3), 255, dtype=np.uint8)
    pixels[:32, :32] = (255, 0, 0)
    content = encode(Image.fromarray(pixels))
    views = [training_view(content, 32, np.random.default_rng(seed)) for seed in range(40)]
    red = np.array([((view[..., 0] > 128) & (view[..., 1] < 128)).mean() for view in views])
    black = np.array([(view.max(axis=2) == 0).mean() for view in views])
    assert red.min() < 0.1
    assert red.max() > 0.4  # crops that miss the red corner, and crops that are full of it
    assert 0 < black.mean() < 0.4  # corners that a turn uncovers
    corners = {tuple(bool(view[y, x, 1] < 128) for y in (10, 22) for x in (10, 22)) for view in views}
    assert len(corners) > 4


def test_real_photographs_decode_and_shrink(real: Callable[[str], Path]) -> None:
    names = sorted((real("bioscan1m_species_images") / "images").iterdir())
    assert len(names) == 136
    for name in names:
        content = read_image_file(name.parent, name.name)
        image = open_image(content)
        assert (image.mode, image.size) == ("RGB", Image.open(name).size)
        assert 20 < np.asarray(image).mean() < 245
    assert min(open_image(shrink(content, 64)).size) == 64
