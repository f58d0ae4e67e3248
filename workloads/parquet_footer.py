"""Footers of Parquet files, looked at before any of a file is read."""

import base64
import os
from typing import IO

import pyarrow as pa

EXTENSION_REFUSAL = "it carries extension types, which are not read because they could run code"
_EXTENSION_WORDS = tuple(base64.b64encode(bytes(n) + b"ARROW:extension:name")[(0, 2, 3)[n] : -4] for n in range(3))
"""What marks one in base64 after 0, 1 or 2 other bytes, without the letters that it shares with its neighbours."""


def has_extension_types(file: IO[bytes] | pa.NativeFile) -> bool:
    """Whether a Parquet file carries Arrow extension types; no for files that are not Parquet.

    Arrow builds registered extension types as soon as it reads a footer, and some of them (Ray's tensors of old, for
    one) unpickle what the file says of them. So files with extension types are refused by their bytes.

    A file ends in its footer, the footer's length in four bytes, and `PAR1`. The footer holds the Arrow schema in
    base64, in which a word is written in one of three ways, by where it starts.

    Args:
        file: open for reading, anywhere; it is left elsewhere.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(b"PAR1") or length > size:
        return False
    file.seek(max(0, size - 8 - length))
    footer = file.read(length)
    return any(word in footer for word in _EXTENSION_WORDS)
