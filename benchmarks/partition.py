"""Partition, checks, barcode report and statistics of 1.13 million specimens: seconds and peak memory.

    python -m benchmarks.partition

The specimens are synthetic: a long tail of species as in BIOSCAN-1M (3,897 of one record, 1,146 common ones), 84,450
labelled records, and barcodes of 658 bases of which many are identical. They are written as a specimen table in pieces;
then a process of its own does the work, so that its peak memory is that of the work alone.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.measuring import publish
from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts

NUM_SPECIMENS = 1_130_000
NUM_LABELLED = 84_450
NUM_COMMON, NUM_RARE, NUM_SINGLE = 1_146, 3_313, 3_897
BASES = 658
_PIECE = 8192
_HAPLOTYPES = 40_000

Codes = npt.NDArray[np.int64]


def main() -> None:
    """Write the table, let a child work on it, and keep the figures."""
    if len(sys.argv) == 3:
        print(json.dumps(work(SpecimenTable.at(sys.argv[1]), Path(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "specimens.parquet"
        started = time.perf_counter()
        write_specimens(SpecimenTable.at(place), NUM_SPECIMENS)
        written = time.perf_counter() - started
        child = [sys.executable, "-m", "benchmarks.partition", str(place), f"{scratch}/out"]
        done = subprocess.run(
            child, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        figures = json.loads(done.stdout)
        size = place.stat().st_size
    publish("partition", {"specimens": NUM_SPECIMENS, "table_bytes": size, "writing_seconds": written, **figures})


def work(table: SpecimenTable, out: Path) -> dict[str, object]:
    """What `clibd data partition` and `clibd data stats` do, timed."""
    from results.paper.data_statistics import write_statistics
    from workloads.data.specimens.caveats import shared_barcodes
    from workloads.data.specimens.partition import check_partition, partition
    from workloads.data.specimens.statistics import count_taxa

    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        seconds[name] = time.perf_counter() - started - sum(seconds.values())

    partition(table.column("species"), "paper")
    lap("partition_paper")
    splits = partition(table.column("species"), "authors")
    lap("partition_authors")
    check_partition(PROTOCOLS["clibd"], table.column("species"), splits, table.column("specimen_id"))
    lap("checks")
    table.with_splits(splits, "authors, seed 42", table)
    lap("writing_splits")
    shared = shared_barcodes(table)
    lap("shared_barcodes")
    facts = table.facts
    _, files = write_statistics(
        count_taxa(table.column, table.protocol), out, facts.source, synthetic=True, partition=facts.partition
    )
    lap("statistics_tables_and_figures")
    return {
        "seconds": seconds,
        "total_seconds": sum(seconds.values()),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "files": len(files),
        "shared_barcodes": shared,
    }


def write_specimens(table: SpecimenTable, count: int, seed: int = 0) -> None:
    """Write synthetic specimens in pieces."""
    random = np.random.default_rng(seed)
    species = species_of_each(random, count)
    pool = np.frombuffer(b"ACGT", np.uint8)[random.integers(0, 4, (_HAPLOTYPES, BASES))]
    with table.writer(TableFacts(source="benchmark", synthetic_seed=seed)) as write:
        for piece in _pieces(random, species, pool):
            write(piece)


def species_of_each(random: np.random.Generator, count: int) -> Codes:
    """Number of each specimen's species, -1 where it is not known, in random order."""
    scale = count / NUM_SPECIMENS
    num_common, num_rare, num_single = (max(2, round(n * scale)) for n in (NUM_COMMON, NUM_RARE, NUM_SINGLE))
    rare = np.minimum(2 + random.geometric(0.42, num_rare) - 1, 8)
    common = 10 + (random.pareto(0.9, num_common) * 9).astype(np.int64)
    left = round(NUM_LABELLED * scale) - rare.sum() - num_single
    common = np.maximum(10, np.minimum(common, 2_714) * left // np.minimum(common, 2_714).sum())
    sizes = np.concatenate([common, rare, np.ones(num_single, np.int64)])
    labelled = np.repeat(np.arange(len(sizes)), sizes)[:count]
    species = np.full(count, -1)
    species[: len(labelled)] = labelled
    return random.permutation(species)


def _pieces(random: np.random.Generator, species: Codes, pool: npt.NDArray[np.uint8]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(species), _PIECE):
        known = species[start : start + _PIECE]
        hidden = np.where(known < 0, random.integers(0, 20_000, len(known)), known)
        labels = {
            "order": _names("Order", hidden % 16, known < -1),
            "family": _names("Family", hidden % 491, (known < 0) & (random.random(len(known)) < 0.1)),
            "genus": _names("Genus", hidden % 3441, (known < 0) & (random.random(len(known)) < 0.8)),
            "species": _names("Genus species", known, known < 0),
        }
        columns = {
            "specimen_id": pa.array([f"BIOUG{number:09d}" for number in range(start, start + len(known))]),
            "image": pa.array([f"part{number % 113 + 1}/{number}.jpg" for number in range(start, start + len(known))]),
            "barcode": _barcodes(random, hidden, pool),
            **labels,
        }
        arrays = [
            columns.get(name, pa.nulls(len(known), SPECIMEN_SCHEMA.field(name).type)) for name in SPECIMEN_SCHEMA.names
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=SPECIMEN_SCHEMA)


def _names(word: str, numbers: Codes, missing: npt.NDArray[np.bool_]) -> pa.StringArray:
    texts = [f"{word} {number}" for number in numbers.tolist()]
    return pa.array(texts, pa.string(), mask=missing)


def _barcodes(random: np.random.Generator, hidden: Codes, pool: npt.NDArray[np.uint8]) -> pa.StringArray:
    """One of two haplotypes of the species, and for one in three specimens a base of its own."""
    letters = pool[(2 * hidden + random.integers(0, 2, len(hidden))) % len(pool)]
    own = np.flatnonzero(random.random(len(hidden)) < 1 / 3)
    letters[own, random.integers(0, BASES, len(own))] = ord("A")
    ends = np.arange(len(hidden) + 1, dtype=np.int32) * BASES
    return pa.StringArray.from_buffers(len(hidden), pa.py_buffer(ends), pa.py_buffer(letters.tobytes()))


if __name__ == "__main__":
    main()
