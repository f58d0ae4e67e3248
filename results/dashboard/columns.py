"""Columns of numbers and words for scripts: typed arrays, deflated, within a `.js` file.

Pages that are opened from disk may load scripts and nothing else, so the server sends the same files: one way for both.
The file calls `clibd.columns(NAME, CONTENT)`, where CONTENT is base64 of what zlib has made of a line of JSON,
`[[COLUMN, TYPE, LENGTH], …]`, and then of the numbers of all columns one after another; TYPE is that of the typed
array. Words are `[COLUMN, "words", DICTIONARY, [TYPE, LENGTH]]`: their numbers are codes, of which -1 is a missing one;
null instead of the last where every word stands once and in its order, as ids do.

Of the bytes of numbers the lowest ones come first, of all numbers, then the next: high bytes are much alike.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.dashboard.page import File

_TYPES = {"f4": "Float32Array", "i4": "Int32Array", "i2": "Int16Array", "i1": "Int8Array"}


def column_file(name: str, columns: Mapping[str, NDArray[Any] | Sequence[str | None]]) -> File:
    """Columns as a script.

    Args:
        name: by which the page's scripts ask for them.
        columns: numbers as arrays of any shape, row by row, which become 32-bit floats or the smallest whole numbers;
            words as sequences.
    """
    content = zlib.compress(_plain(columns))
    return File(
        content=f'clibd.columns({_literal(name)}, "{b64encode(content).decode()}");\n'.encode(),
        media_type="text/javascript",
    )


def _plain(columns: Mapping[str, NDArray[Any] | Sequence[str | None]]) -> bytes:
    told, content = list[list[Any]](), list[bytes]()
    for column, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype != object:
            told.append([column, *_numbers(values, content)])
        else:
            told.append([column, *_words(values, content)])
    return b"\n".join((_literal(told).encode(), b"".join(content)))


def _numbers(values: NDArray[Any], content: list[bytes]) -> list[Any]:
    """What is told of some numbers, whose bytes are added to the content."""
    kind = "f4" if values.dtype.kind == "f" else next(kind for kind in ("i1", "i2", "i4") if _fits(values, kind))
    array = np.ascontiguousarray(values.ravel(), dtype=f"<{kind}")
    content.append(array.view(np.uint8).reshape(-1, array.itemsize).T.tobytes())
    return [_TYPES[kind], len(array)]


def _fits(array: NDArray[Any], kind: str) -> bool:
    limits = np.iinfo(kind)
    return kind == "i4" or not array.size or bool(limits.min <= array.min() and array.max() <= limits.max)


def _words(values: NDArray[Any] | Sequence[str | None], content: list[bytes]) -> list[Any]:
    import pyarrow as pa

    encoded = pa.array(values, pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    once = len(encoded.dictionary) == len(codes)
    return ["words", encoded.dictionary.to_pylist(), None if once else _numbers(codes, content)]


def _literal(value: Any) -> str:
    """JSON in one line that is also a script, wherever it stands."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
