"""Columns of numbers and words for scripts: typed arrays within a `.js` file.

Pages that are opened from disk may load scripts and nothing else, so the server sends the same files: one way for both.
The file calls `clibd.columns(NAME, {column: [TYPE, BASE64]})`; TYPE is that of the typed array. Words are a dictionary,
as JSON, and codes, of which -1 is a missing one; no codes where every word stands once and in its order, as ids do.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.dashboard.page import File

_TYPES = {"f4": "Float32Array", "i4": "Int32Array", "i2": "Int16Array", "i1": "Int8Array", "u1": "Uint8Array"}


def column_file(name: str, columns: Mapping[str, NDArray[Any] | Sequence[str | None]]) -> File:
    """Columns as a script.

    Args:
        name: by which the page's scripts ask for them.
        columns: numbers as arrays of any shape, row by row, which become 32-bit floats or the smallest whole numbers;
            words as sequences.
    """
    told = {column: _words(values) if _is_text(values) else _numbers(values) for column, values in columns.items()}
    content = f"clibd.columns({_literal(name)}, {_literal(told)});\n"
    return File(content=content.encode(), media_type="text/javascript")


def _is_text(values: NDArray[Any] | Sequence[str | None]) -> bool:
    return not isinstance(values, np.ndarray) or values.dtype == object


def _numbers(values: NDArray[Any] | Sequence[str | None]) -> list[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = array.astype("<f4")
    else:
        array = array.astype(next(kind for kind in ("i1", "i2", "i4") if _fits(array, kind)))
    return [_TYPES[array.dtype.str[1:]], b64encode(np.ascontiguousarray(array).tobytes()).decode()]


def _fits(array: NDArray[Any], kind: str) -> bool:
    limits = np.iinfo(kind)
    return kind == "i4" or not array.size or bool(limits.min <= array.min() and array.max() <= limits.max)


def _words(values: NDArray[Any] | Sequence[str | None]) -> list[Any]:
    import pyarrow as pa

    encoded = pa.array(values, pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    once = len(encoded.dictionary) == len(codes)
    return ["words", encoded.dictionary.to_pylist(), None if once else _numbers(codes)]


def _literal(value: Any) -> str:
    """JSON that is also a script, wherever it stands."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")
