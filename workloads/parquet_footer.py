"""Footers of Parquet files, looked at before any of a file is read.

A file ends in its footer, the footer's length in four bytes, and `PAR1`. Checksums are of pages, so a table which no
manifest lists has the digest of its footer in the footer: with zeros in its place it is what was hashed.
"""

import base64
import hashlib
import os
from typing import IO

import pyarrow as pa

EXTENSION_REFUSAL = "it carries extension types, which are not read because they could run code"
_EXTENSION_WORDS = tuple(base64.b64encode(bytes(n) + b"ARROW:extension:name")[(0, 2, 3)[n] : -4] for n in range(3))
"""What marks one in base64 after 0, 1 or 2 other bytes, without the letters that it shares with its neighbours."""


def has_extension_types(footer: bytes) -> bool:
    """Whether a Parquet file carries Arrow extension types.

    Arrow builds registered extension types as soon as it reads a footer, and some of them (Ray's tensors of old, for
    one) unpickle what the file says of them. So files with extension types are refused by their bytes.

    The footer holds the Arrow schema in base64, in which a word is written in one of three ways, by where it starts.
    """
    return any(word in footer for word in _EXTENSION_WORDS)


SEAL = "footer_sha256"
"""Its key among what a table says of itself in JSON."""
UNSEALED = "0" * 64
_SEAL_BEFORE = f'"{SEAL}": "'.encode()


def seal_footer(path: str) -> None:
    """Write the digest of a file's footer over the zeros that hold its place (`UNSEALED`)."""
    with open(path, "r+b") as file:
        footer = footer_of(file)
        place = footer.index(_SEAL_BEFORE + UNSEALED.encode()) + len(_SEAL_BEFORE)
        file.seek(place - 8 - len(footer), os.SEEK_END)
        file.write(hashlib.sha256(footer).hexdigest().encode())


def is_altered(footer: bytes) -> bool:
    """Whether a footer is not the one that was sealed; no where none was."""
    before, mark, rest = footer.partition(_SEAL_BEFORE)
    told, after = rest[: len(UNSEALED)], rest[len(UNSEALED) :]
    return bool(mark) and hashlib.sha256(before + mark + UNSEALED.encode() + after).hexdigest().encode() != told


def footer_of(file: IO[bytes] | pa.NativeFile) -> bytes:
    """The footer of a file; nothing where it is not Parquet.

    Args:
        file: open for reading, anywhere; it is left elsewhere.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(b"PAR1") or length > size:
        return b""
    file.seek(max(0, size - 8 - length))
    return file.read(length)
