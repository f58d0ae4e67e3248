"""Images that are cut, damaged, giant or none at all, and what refusing them costs."""

import random
import resource
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workloads.data.files.images import MAX_PIXELS, decode, open_image
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]
Pillow = Callable[[bytes], np.ndarray]


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def giant_png(filling: int = 7000) -> bytes:
    """A PNG whose header claims 65535 x 65535 pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(random.Random(0).randbytes(filling)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def giant_jpeg(small: bytes, side: int = 65535) -> bytes:
    """A JPEG whose header is changed to claim a giant."""
    frame = small.index(b"\xff\xc0") + 5
    return small[:frame] + struct.pack(">HH", side, side) + small[frame + 4 :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_cut_anywhere_is_refused(options: dict[str, object], encode: Encode, noise: Noise) -> None:
    for mode in ("RGB", "L", "CMYK"):
        content = encode(noise(20, 16).convert(mode), "JPEG", **options)
        for end in range(len(content)):
            with pytest.raises(RecordError):
                decode(content[:end])


def test_a_png_cut_anywhere_is_refused(encode: Encode, noise: Noise) -> None:
    content = encode(noise(20, 16))
    for end in range(len(content)):
        with pytest.raises(RecordError):
            decode(content[:end])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_damaged_pixels_that_pillow_would_show_are_refused(
    mode: str, encode: Encode, noise: Noise, pillow_pixels: Pillow
) -> None:
    content = encode(noise(64, 64).convert(mode), "JPEG")
    chance, shown = random.Random(0), 0
    for _ in range(60):
        # An end of image in the midst of the pixels: what follows would be grey.
        place = chance.randrange(len(content) // 2, len(content) - 100)
        damaged = content[:place] + b"\xff\xd9" + content[place + 2 :]
        try:
            pillow_pixels(damaged)
            shown += 1
        except OSError:
            pass
        with pytest.raises(RecordError, match="does not decode"):
            decode(damaged)
    assert shown > 30


def test_a_png_whose_checksum_differs_is_refused(encode: Encode, noise: Noise) -> None:
    content = encode(noise())
    place = content.index(b"IDAT")
    with pytest.raises(RecordError, match=r"checksum .* IDAT "):
        decode(content[: place + 50] + bytes([content[place + 50] ^ 4]) + content[place + 51 :])
    with pytest.raises(RecordError, match=r"checksum .* IEND "):
        decode(content[:-1] + b"\0")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("behind", [b"\0", b"<?php evil() ?>", "the same"])
def test_bytes_behind_the_end_are_refused(kind: str, behind: bytes | str, encode: Encode, noise: Noise) -> None:
    content = encode(noise(21, 17), kind)
    assert decode(content).shape == (17, 21, 3)
    more = content if isinstance(behind, str) else behind
    with pytest.raises(RecordError, match=f"has {len(more):,} bytes behind its end"):
        decode(content + more)


# Interlaced, 16 pixels across and down come in seven passes over 2, 2, 2, 4, 4, 8 and 8 rows.
@pytest.mark.parametrize(("interlace", "size"), [(0, 784), (1, 28 + 26 + 52 + 100 + 200 + 392)])
def test_a_png_without_all_its_pixels_is_refused(interlace: int, size: int, pillow_pixels: Pillow) -> None:
    def png(num_bytes: int) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, interlace))
        data = zlib.compress(bytes(num_bytes))
        pixels = chunk(b"IDAT", data[:9]) + chunk(b"IDAT", b"") + chunk(b"IDAT", data[9:])
        return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")

    assert decode(png(size)).shape == (16, 16, 3)
    if not interlace:
        assert pillow_pixels(png(size // 2)).shape == (16, 16, 3)  # half of them black, and not a word
    for short in (0, size // 2, size - 1):
        with pytest.raises(RecordError, match="does not decode"):
            decode(png(short))


def test_a_png_whose_pixels_inflate_beyond_need_costs_no_more(encode: Encode) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    bomb = chunk(b"IDAT", zlib.compress(bytes(100_000_000), 9))
    content = b"\x89PNG\r\n\x1a\n" + header + bomb + chunk(b"IEND", b"")
    started = time.process_time()
    assert not decode(content).any()
    assert time.process_time() - started < 0.1


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


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO"])
def test_formats_that_are_not_read_are_refused(kind: str, encode: Encode, noise: Noise) -> None:
    with pytest.raises(RecordError, match="does not decode"):
        open_image(encode(noise(), kind))


def test_a_header_that_claims_a_giant_costs_neither_time_nor_memory(encode: Encode, noise: Noise) -> None:
    jpeg = encode(noise(120, 80), "JPEG")
    assert 5000 < len(jpeg) < 9000
    giants = [giant_png(), giant_jpeg(jpeg), giant_jpeg(jpeg, 65500), giant_jpeg(jpeg, 5001)]
    for content in giants:
        with pytest.raises(RecordError):
            decode(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    started = time.process_time()
    for content in giants * 25:
        with pytest.raises(RecordError):
            decode(content)
    assert time.process_time() - started < 100 * 0.05
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # kB


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once(encode: Encode) -> None:
    content = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scans = [place for place in range(len(content)) if content[place : place + 2] == b"\xff\xda"]
    scan = content[scans[1] : scans[2]]
    started = time.process_time()
    with pytest.raises(RecordError, match="more than 100 scans"):
        decode(content[: scans[1]] + scan * 1000 + content[scans[1] :])
    assert time.process_time() - started < 0.5


def test_an_image_of_more_than_25_megapixels_is_refused(encode: Encode) -> None:
    with pytest.raises(RecordError, match="5001 x 5000 pixels"):
        open_image(encode(Image.new("L", (5001, 5000))))
    with pytest.raises(RecordError, match="5000 x 5001 pixels"):
        open_image(encode(Image.new("L", (5000, 5001)), "JPEG"))
    assert open_image(encode(Image.new("L", (5000, 5000)))).size == (5000, 5000)
    assert MAX_PIXELS == 5000 * 5000


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flipped bits, a changed header, another marker, a cut, a gap or something appended."""
    damaged = bytearray(content)
    kind = chance.randrange(6)
    if kind == 0:
        for _ in range(chance.choice([1, 2, 5])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        for _ in range(chance.choice([1, 3, 10])):
            damaged[chance.randrange(min(len(damaged), 700))] = chance.randrange(256)
    elif kind == 2:
        markers = [i for i in range(len(damaged) - 1) if damaged[i] == 0xFF and damaged[i + 1] not in (0, 0xFF)]
        damaged[chance.choice(markers or [0]) + 1] = chance.choice(b"\xc0\xc2\xc4\xd0\xd8\xd9\xda\xdb\xdd\xe1\xee")
    elif kind == 3:
        del damaged[chance.randrange(len(damaged)) :]
    elif kind == 4:
        place = chance.randrange(len(damaged))
        del damaged[place : place + chance.randrange(1, 20)]
    else:
        damaged += chance.randbytes(chance.choice([1, 100, 5000]))
    return bytes(damaged)


def reseal(png: bytes) -> bytes:
    """A damaged PNG with right checksums, as far as its chunks can be followed."""
    position, sealed = 8, bytearray(png)
    while position + 12 <= len(png):
        end = position + 8 + int.from_bytes(png[position : position + 4])
        sealed[end : end + 4] = struct.pack(">I", zlib.crc32(png[position + 4 : end])) if end + 4 <= len(png) else b""
        position = end + 4
    return bytes(sealed)


def check_damaged(originals: list[bytes], pillow_pixels: Pillow, count: int, seed: int) -> None:
    """Every damaged image is refused, or has the pixels that Pillow gives it."""
    chance, refused = random.Random(seed), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        original = chance.choice(originals)
        damaged = damage(original, chance)
        if original.startswith(b"\x89PNG") and chance.random() < 0.5:
            damaged = reseal(damaged)
        try:
            pixels = decode(damaged)
        except RecordError:
            refused += 1
            continue
        assert not original.startswith(damaged) or damaged == original, "a truncated file was taken for whole"
        assert np.array_equal(pixels, pillow_pixels(damaged))
    assert 0.2 * count < refused < 0.9 * count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB: 25 megapixels at most


def test_any_damaged_image_is_refused_or_has_pillows_pixels(
    encode: Encode, noise: Noise, pillow_pixels: Pillow
) -> None:
    small = noise(20, 16)
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (16, 20), dtype=np.uint16))
    originals = [encode(small, "JPEG"), encode(small), encode(small.convert("P")), encode(grey)]
    check_damaged([*originals, encode(small.convert("CMYK"), "JPEG")], pillow_pixels, count=600, seed=1)


def test_any_damaged_photograph_is_refused_or_has_pillows_pixels(
    real: Callable[[str], Path], encode: Encode, pillow_pixels: Pillow
) -> None:
    names = sorted((real("bioscan1m_species_images") / "images").iterdir())[::8]
    names += sorted(real("bioscan1m_order_images").glob("*.jpg"))[::3]
    originals = [name.read_bytes() for name in names if name.suffix == ".png"]
    exif = Image.Exif()
    for number, name in enumerate(names):
        picture = Image.open(name).convert("RGB")
        picture = picture.resize((round(picture.width * 256 / picture.height), 256))
        exif[0x0112] = number % 8 + 1
        originals.append(encode(picture, "JPEG", quality=90, subsampling=number % 3, progressive=number % 4 == 1))
        originals.append(encode(picture, "JPEG", exif=exif, restart_marker_blocks=5))
        originals.append(encode(picture.convert("L"), "JPEG"))
    check_damaged(originals, pillow_pixels, count=2000, seed=2)
