"""What becomes of a file of ours: disks, half copies and other hands, each drawn by a seed."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SEALS = ("manifest.json", "status.json", "provenance.json")
"""By which a run vouches for its files."""
WITH_SEALS = "another run's, with its seals"
_FOREIGN = ("another run's", WITH_SEALS)


def _flip(content: bytes, chance: random.Random, path: Path) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :]


def _cut(content: bytes, chance: random.Random, path: Path) -> bytes:
    return content[: chance.randrange(len(content))]


def _zeros(content: bytes, chance: random.Random, path: Path) -> bytes:
    """A page of the disk that was never written."""
    start = chance.randrange(0, len(content), 4096)
    length = len(content[start : start + 4096])
    zeroed = content[:start] + bytes(length) + content[start + length :]
    return zeroed if zeroed != content else content[:-1]


def _empty(content: bytes, chance: random.Random, path: Path) -> bytes:
    return b""


def _longer(content: bytes, chance: random.Random, path: Path) -> bytes:
    return content + content[: chance.randint(1, len(content))]


def _other_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """Whole, and with checksums of its own: what a digest alone finds."""
    sink = pa.BufferOutputStream()
    pq.write_table(change(pq.read_table(path)), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _doubled_rows(content: bytes, chance: random.Random, path: Path) -> bytes:
    return _other_table(path, lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def _fewer_rows(content: bytes, chance: random.Random, path: Path) -> bytes:
    return _other_table(path, lambda table: table.slice(1))


def _other_types(content: bytes, chance: random.Random, path: Path) -> bytes:
    return _other_table(path, lambda table: table.rename_columns([f"{name}_" for name in table.column_names]))


_Damage = Callable[[bytes, random.Random, Path], bytes]
_ANY: dict[str, _Damage] = {"bit": _flip, "cut": _cut, "zeroed page": _zeros, "empty": _empty, "longer": _longer}
_TABLES: dict[str, _Damage] = {"doubled rows": _doubled_rows, "fewer rows": _fewer_rows, "other columns": _other_types}


def files_below(folder: Path) -> list[Path]:
    """All of them, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, chance: random.Random, other: Path | None = None) -> str:
    """Damage a file, and give the kind.

    Args:
        path: of the file.
        chance: decides the kind and the place.
        other: a file of this name in another run's folder, if there is one.
    """
    kinds = {**_ANY, **(_TABLES if path.suffix == ".parquet" else {})}
    whole = path.read_bytes()
    foreign = _FOREIGN if other and other.is_file() and other.read_bytes() != whole else ()
    kind = chance.choice([*kinds, *foreign, *foreign, "gone", "folder in its place", "mode 000"])
    if kind in kinds:
        path.write_bytes(kinds[kind](whole, chance, path))
    elif other and kind in foreign:
        shutil.copyfile(other, path)
        for name in SEALS if kind == WITH_SEALS else ():
            shutil.copyfile(_run_of(other) / name, _run_of(path) / name)
    elif kind == "mode 000":
        path.chmod(0)
    else:
        path.unlink()
        if kind == "folder in its place":
            path.mkdir()
    return kind


def _run_of(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / SEALS[0]).is_file())
