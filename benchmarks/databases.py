"""Building and changing a database of 330,000 distinct barcodes: seconds, peak memory, and bytes on the disk.

    python -m benchmarks.databases
    python -m benchmarks.databases --specimens 33000

The specimens are made up: barcodes of synthetic insects in which 30 of the 658 bases are drawn anew, ten of a species.
Each piece of work runs in a process of its own, so that its peak is that of the work alone. Beside counts of 5-mers
there are keys of 768 numbers, as many as the paper's towers give, which are drawn and not embedded: what is measured is
how they are written, copied and sealed.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import publish
from benchmarks.peak_memory import in_own_process, peak_and_seconds
from workloads.arrays import Floats
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.synthetic.insects import specimens
from workloads.evaluation.embedded import unit
from workloads.identification.building import Base, base_of, build
from workloads.identification.changing import add, remove
from workloads.identification.contents import info, taxa
from workloads.identification.database import Database, KeyKind
from workloads.identification.embedding import Embedder, Problems
from workloads.identification.evidence import NUM_NEIGHBOURS
from workloads.identification.material import of_source, untrained
from workloads.identification.query import Query
from workloads.identification.searching import KeySearch

NUM_SPECIMENS, NUM_ADDED = 330_000, 1_000
_A_SPECIES, _REDRAWN, _SIZE = 10, 30, 768
_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
GOALS = {"bytes": 2e9, "extra_peak_mb": 2000}


class Drawn:
    """Keys of barcodes that are drawn."""

    kinds: tuple[KeyKind, ...] = ("dna",)

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def embed(self, kind: KeyKind, queries: Sequence[Query]) -> tuple[Floats, Problems]:
        """Unit rows, (queries, 768), none of which comes twice."""
        rows = self._random.normal(size=(len(queries), _SIZE)).astype(np.float32)
        return unit(rows), [None] * len(queries)


def main() -> None:
    """Measure each in a process of its own, and keep the figures."""
    if len(sys.argv) == 4 and sys.argv[1] in WORK:
        print(json.dumps(peak_and_seconds(partial(WORK[sys.argv[1]], Path(sys.argv[2]), sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specimens", type=int, default=NUM_SPECIMENS)
    count = parser.parse_args().specimens
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_table(folder / "all.tsv", count, seed=1)
        write_table(folder / "more.tsv", NUM_ADDED, seed=2)
        figures = {keys: _measured(folder, keys) for keys in ("kmers", "drawn")}
    publish("databases", {"specimens": count, "added": NUM_ADDED, "goals": GOALS, **figures})


def write_table(path: Path, count: int, seed: int) -> None:
    """Made-up specimens as a table."""
    random = np.random.default_rng(seed)
    parents = [np.frombuffer(str(record["barcode"]).encode(), dtype=np.uint8) for record in specimens(500, seed)]
    with path.open("w") as file:
        file.write("processid\torder\tfamily\tgenus\tspecies\tbin_uri\tnuc\n")
        for number in range(count):
            barcode = parents[number % len(parents)].copy()
            barcode[random.integers(len(barcode), size=_REDRAWN)] = random.choice(_LETTERS, _REDRAWN)
            species = number // _A_SPECIES
            genus = f"Genus{_word(species // 10)}"
            names = f"Order{_word(species // 10_000)}\tFamily{_word(species // 100)}\t{genus}\t{genus} {_word(species)}"
            file.write(f"{seed}-{number}\t{names}\tBOLD:AAA{species:04d}\t{barcode.tobytes().decode()}\n")


def _word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _measured(folder: Path, keys: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in WORK:
        found[name] = in_own_process("benchmarks.databases", name, folder, keys)
    found["bytes"] = sum(path.stat().st_size for path in (folder / "db").iterdir())
    found["of"] = {path.name: path.stat().st_size for path in sorted((folder / "db").iterdir())}
    shutil.rmtree(folder / "db")
    return found


def _base(keys: str) -> Base:
    drawn: Embedder = Drawn()
    return Base(None, drawn, untrained, None) if keys == "drawn" else base_of(None)


def _built(folder: Path, keys: str) -> None:
    build(folder / "db", of_source(open_source(str(folder / "all.tsv"), "auto", SourceOptions())), _base(keys))


def _added(folder: Path, keys: str) -> None:
    more = of_source(open_source(str(folder / "more.tsv"), "auto", SourceOptions()))
    add(Database(folder / "db"), more, _base(keys).embedder)


def _removed(folder: Path, keys: str) -> None:
    remove(Database(folder / "db"), taxa=["Genusa"])


def _listed(folder: Path, keys: str) -> None:
    database = Database(folder / "db")
    info(database)
    taxa(database, "genus")


def _searched(folder: Path, keys: str) -> None:
    """Two thousand queries, which are keys themselves, among all."""
    stored = Database(folder / "db").keys("dna")
    search = KeySearch(stored, NUM_NEIGHBOURS)
    for start in range(0, 2048, 1024):
        found, _ = search.nearest(stored.block(start, start + 1024))
        assert np.array_equal(found[:, 0], np.arange(start, start + 1024)), "each finds itself"


WORK: Mapping[str, Callable[[Path, str], None]] = {
    "build": _built,
    "search": _searched,
    "add": _added,
    "remove": _removed,
    "info_and_taxa": _listed,
}


if __name__ == "__main__":
    main()
