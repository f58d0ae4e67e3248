"""How fast specimens are identified: barcodes by their k-mers and by a tower, images by ViT-B; memory; exactness.

    python -m benchmarks.identification BARCODES.fasta[.gz] [--keys 100000] [--queries 10000] [--parts start,memory,…]

Keys and queries are made up: real barcodes with 1 to 30 of their bases replaced. Beside seconds of the clock stand
those of the processor, which a busy machine does not stretch. Parts:

    start    `clibd identify` in a process of its own: seconds to the first answer and to the last one, peak memory
    memory   the peak of 10,000 and of 100,000 queries against the same keys
    exact    the search beside products of all pairs in fp64
    million  the search among so many keys
    tower    the small scale's DNA tower: barcodes embedded a second
    images   decoding and ViT-B in bf16: images a second and core
"""

import argparse
import gzip
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import publish
from benchmarks.peak_memory import peak_and_seconds
from workloads.arrays import Bytes, Floats, Indices
from workloads.data.specimens.barcode import consensus
from workloads.experiments import Data, Scale, base_spec
from workloads.identification.database import Database, DatabaseFacts, write_facts
from workloads.identification.embedding import KmerEmbedder, RunEmbedder
from workloads.identification.keys import StoredRows, hellinger
from workloads.identification.query import Query
from workloads.identification.searching import KeySearch
from workloads.identification.writing import Known, write_specimens
from workloads.models.build import TowerInputs, build_model
from workloads.models.loaded import LoadedModel
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

_PROGRAM = "from commands.clibd import main; main()"
_AT_ONCE = 4096


def barcodes_of(path: Path) -> list[str]:
    """The sequences of a FASTA file with 600 certain bases or more."""
    content = path.read_bytes()
    records = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().split(">")[1:]
    found = ["".join(record.split("\n")[1:]).upper().strip("-N") for record in records]
    return [barcode for barcode in dict.fromkeys(found) if len(barcode) >= 600 and set(barcode) <= set("ACGT")]


def made_up(real: list[str], count: int, seed: int) -> Iterator[str]:
    """Real barcodes with some bases replaced."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        letters = np.frombuffer(real[random.integers(len(real))].encode(), dtype=np.uint8).copy()
        places = random.choice(len(letters), random.integers(1, 31), replace=False)
        letters[places] = np.frombuffer(b"ACGT", dtype=np.uint8)[random.integers(0, 4, len(places))]
        yield letters.tobytes().decode()


def database_of(folder: Path, real: list[str], count: int) -> Database:
    """A database of made-up barcodes, a species for every five of them."""
    folder.mkdir()
    target = Folder(folder)

    def known() -> Iterator[list[Known]]:
        some: list[Known] = []
        for number, barcode in enumerate(made_up(real, count, 1)):
            genus = f"G{number // 50}"
            taxa = ("Diptera", f"F{number // 500}", genus, f"{genus} s{number // 5}")
            names: dict[str, str | None] = dict(zip(RANKS, taxa, strict=True))
            some.append(Known(Query(f"k{number}", barcode=barcode), names))
            if len(some) == _AT_ONCE:
                yield some
                some = []
        if some:
            yield some

    written = write_specimens(target, known(), KmerEmbedder())
    num_taxa = {rank: len(names) for rank, names in written.taxa.items()}
    write_facts(
        target,
        DatabaseFacts(
            name="made up",
            model=None,
            weights=None,
            modalities=("dna",),
            num_specimens=written.num_specimens,
            num_keys=written.num_keys,
            num_taxa=num_taxa,
            synthetic=True,
        ),
    )
    return Database(folder)


def fasta_of(path: Path, real: list[str], count: int) -> Path:
    """A FASTA file of made-up barcodes."""
    with path.open("w") as file:
        for number, barcode in enumerate(made_up(real, count, 2)):
            file.write(f">q{number}\n{barcode}\n")
    return path


def identified(fasta: Path, database: Database) -> dict[str, float]:
    """`clibd identify` as a person starts it: seconds to the first answer and to the last, and its peak memory."""
    command = [sys.executable, "-c", _PROGRAM, "identify", str(fasta), "--db", str(database.folder)]
    began, first, count = time.monotonic(), 0.0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}) as started:
        assert started.stdout is not None
        for line in started.stdout:
            count += not line.startswith(b"file_name,")
            first = first or (time.monotonic() - began if count else 0.0)
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0, "the command failed"
    return {
        "queries": count,
        "first_answer_seconds": first,
        "seconds": time.monotonic() - began,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }


def embedded(real: list[str], count: int) -> Floats:
    """Made-up queries by their k-mers."""
    queries = [Query(str(number), barcode=barcode) for number, barcode in enumerate(made_up(real, count, 2))]
    return KmerEmbedder().embed("dna", queries)[0]


def is_exact(database: Database, queries: Floats) -> dict[str, Any]:
    """Whether the search finds the fifty nearest keys that products of all pairs in fp64 find, with their order."""
    keys = database.keys("dna")
    indices, cosines = KeySearch(keys, 50).nearest(queries)
    wrong = 0
    whole = keys.block(0, len(keys)).astype(np.float64)
    for start in range(0, len(queries), 64):
        products = (queries[start : start + 64].astype(np.float64) @ whole.T).astype(np.float32)
        for row, own in enumerate(products):
            near = np.flatnonzero(own >= np.partition(own, len(own) - 50)[len(own) - 50])
            order = near[np.lexsort((near, -own[near]))][:50]
            wrong += not (
                np.array_equal(cosines[start + row], own[order]) and np.array_equal(indices[start + row], order)
            )
    return {"queries": len(queries), "keys": len(keys), "different": wrong}


@dataclass
class DrawnKeys:
    """Made-up keys as a database of barcodes has them, counts of k-mers in bytes, which are summed when they are asked
    for: those of another one's keys and a few more, of which no two are alike."""

    count: int
    own: Bytes
    more: Bytes
    size: int = 1024

    def __len__(self) -> int:
        return self.count

    def block(self, start: int, stop: int) -> Floats:
        """As of `Rows`."""
        return self.take(np.arange(start, stop))

    def take(self, numbers: Indices) -> Floats:
        """As of `Rows`."""
        return hellinger(self.own[numbers % len(self.own)] + self.more[numbers // len(self.own)])


def drawn_keys(keys: StoredRows, count: int) -> DrawnKeys:
    """So many of them."""
    own = keys.stored(np.arange(len(keys)))
    more = np.random.default_rng(4).binomial(1, 0.02, (count // len(own) + 1, 1024))  # some 20 changed k-mers
    return DrawnKeys(count, own, more.astype(np.uint8))


def loaded(scale: Scale, **more: Any) -> LoadedModel:
    """The published encoders, or the small scale's, with random weights and one modality beside text."""
    data = Data(name="made up", fingerprint="none", synthetic=True, modalities=MODALITIES)
    spec = base_spec(scale, data)
    inputs = TowerInputs(vocabulary_size=1000, pad_id=0)
    return LoadedModel(spec, build_model(spec, inputs, pretrained=False), inputs, None, None, **more)


def rate_of(embedder: RunEmbedder, kind: Any, queries: list[Query]) -> dict[str, float]:
    """Queries that are embedded a second of the clock, and of a processor."""
    embedder.embed(kind, queries[:8])
    began, used = time.monotonic(), time.process_time()
    embedder.embed(kind, queries)
    count = len(queries)
    return {"a_second": count / (time.monotonic() - began), "a_processor_second": count / (time.process_time() - used)}


def pictures(count: int) -> list[Query]:
    """Photographs as BIOSCAN's cropped ones are, of 256 pixels and more, JPEG."""
    random, queries = np.random.default_rng(0), []
    for number in range(count):
        pixels = np.kron(random.integers(0, 255, (16, 20, 3)), np.ones((16, 16, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "JPEG", quality=90)
        queries.append(Query(str(number), image=buffer.getvalue()))
    return queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("barcodes", type=Path)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--parts", default="start,memory,exact,million,tower,images")
    asked = parser.parse_args()
    real, figures = barcodes_of(asked.barcodes), dict[str, Any]()
    figures |= {"real_barcodes": len(real), "keys": asked.keys, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = set(asked.parts.split(","))
        database = (
            database_of(folder / "db", real, asked.keys) if parts & {"start", "memory", "exact", "million"} else None
        )
        work: dict[str, Callable[[], Any]] = {
            "start": lambda: identified(fasta_of(folder / "q.fasta", real, asked.queries), _there(database)),
            "memory": lambda: [
                identified(fasta_of(folder / "m.fasta", real, count), _there(database)) for count in (10_000, 100_000)
            ],
            "exact": lambda: is_exact(_there(database), embedded(real, asked.queries)),
            "million": lambda: {
                "queries": 1024,
                **peak_and_seconds(
                    lambda: KeySearch(drawn_keys(_there(database).keys("dna"), 1_000_000), 50).nearest(
                        embedded(real, 1024)
                    )
                ),
            },
            "tower": lambda: rate_of(
                RunEmbedder(loaded("small", frame=consensus(real[:1000])), torch.device("cpu")),
                "dna",
                [Query(str(number), barcode=barcode) for number, barcode in enumerate(made_up(real, 2048, 3))],
            ),
            "images": lambda: rate_of(RunEmbedder(loaded("paper"), torch.device("cpu")), "image", pictures(128)),
        }
        for part, measure in work.items():
            if part in parts:
                figures[part] = measure()
                publish("identification", figures, show=False)
    publish("identification", figures)


def _there(database: Database | None) -> Database:
    assert database is not None, "made for those parts that need it"
    return database


if __name__ == "__main__":
    main()
