"""Files that nobody writes: one that is sound, and a draw by chance, as bytes, as text, or as what JSON says."""

import json
import random
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa

from workloads.seals import with_seal

Make = Callable[[random.Random], dict[str, bytes]]
"""Files by their names, drawn by chance."""
Read = Callable[[Path], None]
"""Reads what lies in a folder."""


class Sound(random.Random):
    """A chance by which nothing is mutated: what is made by it has to be read, or all else would prove nothing."""

    def random(self) -> float:
        """The most that there is, so that what is done in a share of all cases is not done."""
        return 1 - 2**-53

    def getrandbits(self, k: int, /) -> int:
        """None, so that of all choices the first is taken."""
        return 0


_EXTREMES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
_EXTREMES += [b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f", b"\0" * 7 + b"\x80"]
_EXTREMES += [struct.pack("<d", value) for value in (float("nan"), float("inf"), -1e308)]
_WORDS = [
    b'"',
    b"\t",
    b"\n",
    b"\r",
    b";",
    b"|",
    b",",
    b"\0",
    b"__",
    b"tax=",
    b">",
    b"@",
    b"+",
    b"#",
    b"<",
    b"&x;",
    b"{",
    b"[",
]
_WORDS += [b"sep=;\n", b"\xff\xfe", b"9" * 20, b"-1", b"1e999", b"nan", b"..", b"/", b" " * 50, b'"' * 9, b"A" * 3000]
_VALUES: list[Any] = [None, True, -1, 0, 2**31, 2**63, -(2**70), 1e308, float("inf"), float("nan"), "", "x" * 3000]
_VALUES += [[], {}, [None], {"": 0}, "../../../up", "\0", "\x1b[2J", "nan", "[/x]", [[[[[[[[]]]]]]]], "2026-13-45"]


def mutated(content: bytes, chance: random.Random, words: bool = False) -> bytes:
    """Some bits turned, pieces cut, doubled, moved or overwritten with what is extreme.

    Args:
        content: a sound file.
        chance: by which it is drawn.
        words: whether signs of text formats are put in as well.
    """
    if isinstance(chance, Sound):
        return content
    made = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(made) + 1)
        way = chance.choice(("bit", "bit", "cut", "drop", "double", "move", "extreme", "extreme", "word"))
        length = chance.choice((1, 4, 30, 500))
        if way == "bit" and place < len(made):
            made[place] ^= 1 << chance.randrange(8)
        elif way == "cut" and chance.random() < 0.5:
            del made[place:]
        elif way == "drop":
            del made[place : place + length]
        elif way == "double":
            made[place:place] = made[place : place + length]
        elif way == "move":
            start = chance.randrange(len(made) + 1)
            made[place : place + length] = made[start : start + length]
        elif way == "word" and words:
            made[place:place] = chance.choice(_WORDS) * chance.choice((1, 1, 1, 40))
        else:
            extreme = chance.choice(_EXTREMES)
            made[place : place + len(extreme)] = extreme
    return bytes(made)


def mutated_json(content: bytes, chance: random.Random) -> bytes:
    """A JSON text of which some values are others, are gone, or lie deeper; now and then its bytes are mutated."""
    if isinstance(chance, Sound):
        return content
    if chance.random() < 0.15:
        return mutated(content, chance, words=True)
    try:
        root = {"": json.loads(content)}
    except (ValueError, RecursionError):  # mutated before
        return mutated(content, chance, words=True)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(root))
        holder, key = places[min(int(chance.expovariate(0.08)), len(places) - 1)]
        way = chance.random()
        if way < 0.15 and holder is not root and key in _keys(holder):
            del holder[key]
        elif way < 0.25 and isinstance(holder, dict) and holder is not root:
            holder[chance.choice(("x", "", "schema", "state", "files"))] = deepcopy(chance.choice(_VALUES))
        elif way < 0.3:
            holder[key] = [holder[key]]
        elif way < 0.6:
            holder[key] = _another(holder[key], chance)
        else:
            holder[key] = deepcopy(chance.choice(_VALUES))
    text = json.dumps(root.get("")).encode()
    return text.replace(b"null", b"[" * 20_000 + b"]" * 20_000, 1) if chance.random() < 0.01 else text


def mutated_sealed(content: bytes, chance: random.Random) -> bytes:
    """An object with a seal that says something else; mostly the seal is made good again, and belongs to that."""
    if isinstance(chance, Sound):
        return content
    made = mutated_json(json.dumps({k: v for k, v in json.loads(content).items() if k != "seal"}).encode(), chance)
    try:
        said = json.loads(made)
    except (ValueError, RecursionError):
        return made
    return json.dumps(with_seal(said)).encode() if isinstance(said, dict) and chance.random() < 0.85 else made


def _another(value: Any, chance: random.Random) -> Any:
    """A value of the same kind, or nearly: what is harmless as often as not."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return chance.choice((value + 1, -value, value / 2, float(value), 0, str(value)))
    if isinstance(value, str):
        return chance.choice((value.upper(), value[:-1], value * 2, value + "ä", chance.choice(["", " ", "_"]) + value))
    if isinstance(value, list):
        return chance.choice((value[::-1], value[1:], value * 2))
    if isinstance(value, dict):
        return dict(list(value.items())[:: chance.choice((-1, 2))])
    return chance.choice(("", 0, False, [], {}))


def mutated_table(table: pa.Table, chance: random.Random) -> pa.Table:
    """A table of which some values are others, and some rows or columns are gone, there twice, or called otherwise."""
    if isinstance(chance, Sound):
        return table
    for _ in range(chance.choice((1, 1, 2, 4))):
        if not len(table) or not table.num_columns:
            break
        way, number = chance.random(), chance.randrange(table.num_columns)
        name, rows = table.column_names[number], list(range(len(table)))
        if way < 0.5:
            table = _with_another_value(table, number, chance)
        elif way < 0.7:
            chosen = chance.choice((rows[::-1], rows[1:], rows + rows[:1], rows[:1], []))
            table = table.take(pa.array(chosen, pa.int64()))
        elif way < 0.78:
            table = table.remove_column(number)  # of a name there may be two
        elif way < 0.86:
            table = table.append_column(chance.choice((name, "x", "")), table.column(number))
        elif way < 0.93:
            names = [*table.column_names]
            names[number] = chance.choice(("", "x" * 3000, "\0", name.upper(), names[0]))
            table = table.rename_columns(names)
        else:
            table = table.set_column(number, name, pa.array([chance.choice((None, 7, "x", [1]))] * len(table)))
    return table


def _with_another_value(table: pa.Table, number: int, chance: random.Random) -> pa.Table:
    name, kind = table.column_names[number], table.schema.field(number).type
    values = table.column(number).to_pylist()
    place = chance.randrange(len(values))
    for value in (_another(values[place], chance), chance.choice(_VALUES), None):
        try:
            values[place] = value
            return table.set_column(number, name, pa.array(values, kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):  # it does not fit the column
            continue
    return table


def mutated_lines(content: bytes, chance: random.Random) -> bytes:
    """JSON lines, of which some are mutated, lost, doubled or cut."""
    if isinstance(chance, Sound):
        return content
    lines = content.splitlines()
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(lines))
        way = chance.random()
        if way < 0.6:
            lines[place] = mutated_json(lines[place], chance) if lines[place].strip() else b"{"
        elif way < 0.8:
            lines[place:place] = [lines[chance.randrange(len(lines))]]
        elif len(lines) > 1:
            del lines[place]
    text = b"\n".join(lines)
    return text[: chance.randrange(len(text) + 1)] if chance.random() < 0.2 else text


def _places(value: Any) -> "Any":
    """Every holder and key, those at the top first."""
    level = [value]
    while level:
        below = []
        for holder in level:
            for key in _keys(holder):
                yield holder, key
                if isinstance(holder[key], dict | list):
                    below.append(holder[key])
        level = below


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(min(len(holder), 20)))
