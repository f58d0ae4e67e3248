"""Damages to files of ours, each drawn by a seed: what disks, half copies, other hands and versions do to them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Draw = np.random.Generator
STRANGE: tuple[Any, ...] = (
    None,
    "",
    "text",
    -1,
    2**70,
    1.5,
    float("nan"),
    True,
    [],
    [[]],
    {},
    {"a": {"b": [1]}},
    [None],
)
"""What stands in a field in place of what belongs there."""


def damaged(content: bytes, name: str, seed: int) -> bytes:
    """What a file of this name has become; never what it was."""
    draw = np.random.default_rng([seed, len(name)])
    kinds = _OF_BYTES + (_OF_PARQUET if name.endswith(".parquet") else _OF_JSON)
    while (found := kinds[draw.integers(len(kinds))](content, draw)) == content:
        pass
    return found


def damage(path: Path, seed: int) -> None:
    """Damage a file where it lies."""
    path.write_bytes(damaged(path.read_bytes(), path.name, seed))


# --- Any file -----------------------------------------------------------------------------------------------------


def _cut(content: bytes, draw: Draw) -> bytes:
    return content[: draw.integers(len(content))]


def _flipped(content: bytes, draw: Draw) -> bytes:
    """Some bits; in a sealed file a digest tells, elsewhere what does not fit."""
    bytes_ = bytearray(content)
    for place in draw.integers(len(content), size=draw.integers(1, 20)):
        bytes_[place] ^= 1 << int(draw.integers(8))
    return bytes(bytes_)


def _no_text(content: bytes, draw: Draw) -> bytes:
    place = int(draw.integers(len(content) + 1))
    return content[:place] + b"\xff\xfe\x00" + content[place:]


def _something_else(content: bytes, draw: Draw) -> bytes:
    others = (
        b"",
        b"\0" * 4096,
        b"PAR1PAR1",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        b"<html></html>\n",
    )
    return others[draw.integers(len(others))]


_OF_BYTES = (_cut, _flipped, _no_text, _something_else)

# --- JSON, and lines of it ----------------------------------------------------------------------------------------


def _in_an_object(content: bytes, draw: Draw, change: Callable[[dict[str, Any], Draw], None]) -> bytes:
    """Change an object somewhere in a JSON file, or in a line of a log."""
    lines = content.splitlines() if content.count(b"\n{") else [content]
    number = int(draw.integers(len(lines)))
    value = json.loads(lines[number])
    objects = [each for each in _objects(value) if each]
    if objects:
        change(objects[draw.integers(len(objects))], draw)
    lines[number] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def _objects(value: Any) -> list[dict[str, Any]]:
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [*([value] if isinstance(value, dict) else []), *(each for one in inside for each in _objects(one))]


def _a_key(of: dict[str, Any], draw: Draw) -> str:
    return str(sorted(of)[draw.integers(len(of))])


def _another_value(content: bytes, draw: Draw) -> bytes:
    def change(of: dict[str, Any], draw: Draw) -> None:
        of[_a_key(of, draw)] = STRANGE[draw.integers(len(STRANGE))]

    return _in_an_object(content, draw, change)


def _a_key_less(content: bytes, draw: Draw) -> bytes:
    return _in_an_object(content, draw, lambda of, draw: of.pop(_a_key(of, draw)))


def _a_key_more(content: bytes, draw: Draw) -> bytes:
    return _in_an_object(content, draw, lambda of, draw: of.update(novelty=STRANGE[draw.integers(len(STRANGE))]))


_OF_JSON = (_another_value, _another_value, _a_key_less, _a_key_more)

# --- Parquet ------------------------------------------------------------------------------------------------------


def _as_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _column(content: bytes, draw: Draw) -> tuple[pa.Table, int]:
    table = pq.read_table(io.BytesIO(content))
    return table, int(draw.integers(table.num_columns)) if table.num_columns else 0


def _another_type(content: bytes, draw: Draw) -> bytes:
    table, number = _column(content, draw)
    kinds = (pa.int64(), pa.float32(), pa.string(), pa.bool_(), pa.list_(pa.int8()), pa.binary(), pa.date32())
    kind = kinds[draw.integers(len(kinds))]
    return _as_bytes(table.set_column(number, table.column_names[number], pa.nulls(len(table), kind)))


def _fewer_columns(content: bytes, draw: Draw) -> bytes:
    table, number = _column(content, draw)
    return _as_bytes(table.remove_column(number))


def _more_columns(content: bytes, draw: Draw) -> bytes:
    table, _ = _column(content, draw)
    names = ("novelty", *table.column_names)
    return _as_bytes(table.append_column(names[draw.integers(len(names))], pa.nulls(len(table), pa.int32())))


def _no_rows(content: bytes, draw: Draw) -> bytes:
    return _as_bytes(pq.read_table(io.BytesIO(content)).slice(0, 0))


def _nulls(content: bytes, draw: Draw) -> bytes:
    table, number = _column(content, draw)
    column = table[number].to_pylist()
    column[draw.integers(len(column))] = None
    return _as_bytes(
        table.set_column(number, table.schema.field(number), pa.array(column, table.schema.field(number).type))
    )


_OF_PARQUET = (_another_type, _another_type, _fewer_columns, _more_columns, _no_rows, _nulls)
