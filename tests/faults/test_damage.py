"""Damage to every kind of file of ours: `clibd verify` names it, and no number that is measured is another one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.scenes import Scene, content
from tests.faults.stage import Stage

_NOT_SEALED = ("events.jsonl", "lease.json", "rejects.tsv", "lost_views.tsv", "source.json", "floors.parquet")
"""Of which nothing that is counted is made, or which are made anew."""


_LAST = ("dataset.json", "status.json")
"""What is written last: without it nobody can tell a folder from one that is being made, and verify says so."""


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
ANY: dict[str, _Damage] = {"bit": _flip, "cut": _cut, "zeroed page": _zeros, "empty": _empty, "longer": _longer}
TABLES: dict[str, _Damage] = {"doubled rows": _doubled_rows, "fewer rows": _fewer_rows, "other columns": _other_types}


def _places(folder: Path, *tops: str) -> list[Path]:
    found = (path for top in tops for path in sorted((folder / top).rglob("*")) if path.is_file())
    return [path for path in found if path.name not in _NOT_SEALED and not path.name.endswith(".parquet.json")]


def _damage(path: Path, chance: random.Random) -> str:
    """Damage a file; gives the kind."""
    kinds = {**ANY, **(TABLES if path.suffix == ".parquet" else {})}
    kind = chance.choice([*kinds, "gone", "folder in its place"])
    content = path.read_bytes()
    path.unlink()
    if kind == "folder in its place":
        path.mkdir()
    elif kind != "gone":
        path.write_bytes(content)
        path.write_bytes(kinds[kind](content, chance, path))
    return kind


@pytest.mark.parametrize("what", ["data", "run"])
def test_verify_names_every_damaged_file(
    what: str, scenes: dict[str, Scene], seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    before, problems = scenes["evaluate"].before, list[str]()
    top = "data" if what == "data" else str(next(iter(before.glob("runs/train/*"))).relative_to(before))
    verify = Scene("verify", before, ("clibd", "verify", top))
    folder = verify.set_up(tmp_path / "work")
    whole = verify.run(stage, folder)
    assert whole["code"] == 0, whole["said"]
    for seed in seeds(60):
        chance = random.Random(seed)
        place = chance.choice(_places(folder, top))
        kept = place.read_bytes()
        kind = _damage(place, chance)
        found = verify.run(stage, folder)
        LEDGER.faults[f"damage, {what}: {kind}"] += 1
        which = f"SEED={seed}, {place.relative_to(folder)}: {kind}: verify ended with {found['code']}, {found['said']}"
        with LEDGER.collected(problems):
            unfinished = place.name in _LAST and not place.is_file() and "unfinished:" in found["said"]
            named = found["code"] == 1 and place.name in found["said"]
            LEDGER.keep("undetected damages", named or unfinished, which)
            LEDGER.keep("tracebacks", "Traceback" not in found["said"], which)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        place.write_bytes(kept)
    assert not problems, "\n".join(problems[:8])


def test_no_number_is_measured_on_damaged_files(
    scenes: dict[str, Scene], seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    evaluate, problems = scenes["evaluate"], list[str]()
    folder = evaluate.set_up(tmp_path / "work")
    done = evaluate.run(stage, folder)
    assert done["code"] == 0, done["said"]
    wanted = content(folder / "measured")
    run = evaluate.words[2]
    for seed in seeds(30):
        chance = random.Random(seed)
        evaluate.set_up(folder)
        place = chance.choice(_places(folder, "data", run))
        kind = _damage(place, chance)
        met = evaluate.run(stage, folder)
        LEDGER.faults[f"damage, evaluated: {kind}"] += 1
        which = f"SEED={seed}, {place.relative_to(folder)}: {kind}: {met['said'][-2000:]}"
        with LEDGER.collected(problems):
            LEDGER.keep("tracebacks", "Traceback" not in met["said"], which)
            same = met["code"] != 0 or content(folder / "measured") == wanted
            LEDGER.keep("undetected damages", same, which)
    assert not problems, "\n".join(problems[:8])
