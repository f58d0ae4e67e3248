"""Whether a PNG is whole: Pillow shows one whose pixels or last chunks are missing, if what is there is undamaged."""

import struct
import zlib
from collections.abc import Iterator

from workloads.errors import RecordError

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey and alpha, RGBA
_PIECE = 2**20


def check_png(content: bytes) -> None:
    """Compare all checksums to the very end of a PNG, and the number of its pixels with its header.

    Raises:
        RecordError: a checksum differs, the file ends before its last chunk does, or pixels are missing.
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


def _num_bytes(width: int, height: int, depth: int, colour: int, interlaced: int) -> int:
    """Bytes of all rows, each with one byte for its filter; none for interlaced ones, which Pillow counts itself."""
    return 0 if interlaced else height * (1 + (width * depth * _CHANNELS[colour] + 7) // 8)


def _inflated(pixels: "zlib._Decompress", data: memoryview, most: int) -> int:
    """How many bytes a chunk gives, `most` being enough; holds a megabyte of them at a time."""
    count, rest = 0, bytes(data)
    while rest and count < most:
        count += len(pixels.decompress(rest, _PIECE))
        rest = pixels.unconsumed_tail
    return count
