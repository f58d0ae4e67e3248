"""Images of others, alone and in a zip: sound ones, photographs among them, and what reads them."""

import io
import random
import struct
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.mutations import Make, Read, Sound, mutated
from workloads.data.files.image_source import ImageSource, zip_reference
from workloads.data.files.images import shrink
from workloads.data.files.zip_members import zip_members
from workloads.errors import RecordError

REAL = Path(__file__).parents[3] / "shared" / "real"
"""Real specimens, on machines that have them."""
_ANCILLARY = (
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"gAMA",
    b"cHRM",
    b"iCCP",
    b"tRNS",
    b"PLTE",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"pHYs",
)
_HOSTILE = ("../up.jpg", "/etc/x.jpg", "a.jpg", "C:\\d.jpg", "n\nl.jpg", "x" * 300 + ".jpg")


@cache
def picture(kind: str) -> bytes:
    """A small picture of random pixels."""
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


def _mutated_png(content: bytes, chance: random.Random) -> bytes:
    """A PNG in whose chunks something else stands, lengths and checksums being right; or one of other bytes."""
    if isinstance(chance, Sound) or chance.random() < 0.3:
        return mutated(content, chance)
    chunks = _chunks(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place, way = chance.randrange(len(chunks)), chance.random()
        kind, said = chunks[place]
        if way < 0.35:
            new = mutated(zlib.decompress(said), chance) if kind == b"IDAT" and _inflates(said) else said
            chunks[place] = (kind, zlib.compress(new) if new is not said else mutated(said, chance))
        elif way < 0.7:
            name = chance.choice((*_ANCILLARY, mutated(kind, chance)[:4].ljust(4, b"x")))
            chunks.insert(
                place, (name, mutated(chance.choice((b"", b"\0" * 8, b"Comment\0\0text", said[:30])), chance))
            )
        elif way < 0.8 and len(chunks) > 1:
            del chunks[place]
        elif way < 0.9:
            chunks.insert(place, chunks[chance.randrange(len(chunks))])
        else:
            chunks[place : place + 1] = [(kind, said[: len(said) // 2]), (kind, said[len(said) // 2 :])]
    signed = [(kind, said, zlib.crc32(kind + said)) for kind, said in chunks]
    return content[:8] + b"".join(struct.pack(">I", len(s)) + k + s + struct.pack(">I", crc) for k, s, crc in signed)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _inflates(content: bytes) -> bool:
    try:
        return bool(zlib.decompress(content))
    except zlib.error:
        return False


def _image(kind: str, ending: str) -> tuple[Make, Read]:
    real = sorted(path for path in REAL.glob(f"*images/**/*.{ending}") if path.stat().st_size < 60_000)[:4]
    mutate = _mutated_png if kind == "PNG" else mutated

    def make(chance: random.Random) -> dict[str, bytes]:
        photograph = bool(real) and chance.random() < 0.2
        return {f"i.{ending}": mutate(chance.choice(real).read_bytes() if photograph else picture(kind), chance)}

    def read(folder: Path) -> None:
        with ImageSource(str(folder)) as images:
            shrink(images.read(f"i.{ending}"), 16)

    return make, read


def _archive(chance: random.Random) -> dict[str, bytes]:
    """Names that lead out, doubled names, members that lie over one another, sizes that lie, and bombs."""
    names = ["a.jpg", "b/c.jpg", "x y.jpg", "ä.jpg"]
    if chance.random() < 0.3:
        names[-1] = chance.choice(_HOSTILE)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")  # doubled names are meant
        for name in names:
            made.writestr(name, picture("JPEG"))
        if chance.random() < 0.05:
            made.writestr("bomb.jpg", b"\0" * chance.choice((10, 100)) * 2**20)
    content = bytearray(buffer.getvalue())
    way = chance.random()
    if way < 0.4:  # a field of the first entry of the directory: flags, method, sizes, lengths, place
        at = content.find(b"PK\1\2") + chance.choice((6, 8, 10, 12, 16, 20, 24, 28, 30, 32, 38, 42))
        content[at : at + 2] = struct.pack("<H", chance.choice((0, 1, 0xFFFF, chance.randrange(65536))))
    return {"t.zip": mutated(bytes(content), chance) if way > 0.6 else bytes(content)}


def _read_archive(folder: Path) -> None:
    refused = None
    with ImageSource(str(folder)) as images:
        for member in zip_members(folder / "t.zip"):
            try:
                shrink(images.read(zip_reference("t.zip", member)), 16)
            except RecordError as error:
                refused = error
    if refused:
        raise refused


IMAGES: dict[str, tuple[int, Make, Read]] = {
    "JPEG": (1200, *_image("JPEG", "jpg")),
    "PNG": (1200, *_image("PNG", "png")),
    "TIFF": (900, *_image("TIFF", "tiff")),
    "WebP": (600, *_image("WEBP", "webp")),
    "BMP": (600, *_image("BMP", "bmp")),
    "zip of images": (900, _archive, _read_archive),
}
"""How many are made by default, what makes the files of one, and what reads them."""
