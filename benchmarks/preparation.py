"""Preparation at scale: Ray Data against a plain process pool, and memory at a million specimens.

    python -m benchmarks.preparation            both parts; some 15 minutes on two cores
    python -m benchmarks.preparation speed
    python -m benchmarks.preparation memory

Speed, of the shards alone: the same work (decode, shrink to 256 pixels, encode, tokenise, write) through Ray Data and
through concurrent.futures, both warm, in turn, best of five. Memory: the peak of all processes together, at 100,000 and
at 1,000,000 synthetic specimens whose images are small files that are kept as they are.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import psutil

from benchmarks.measuring import publish
from orchestrator.prepare import run_on_ray
from orchestrator.session import cpus_of_a_core, ray_session
from workloads.data.prepared.preparation import DatasetOptions, RunShards, Work, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.sources.collect import collect
from workloads.data.sources.source import RawRecord, Source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import TreePlace, specimens
from workloads.storage import Folder

NUM_FOR_SPEED = 20_480
NUM_FOR_MEMORY = (100_000, 1_000_000)
SOURCE_SIDE = 384
REPEATS = 5
NUM_CORES = os.cpu_count() or 1


def main(parts: Sequence[str]) -> None:
    """Measure, print, and keep the figures."""
    figures: dict[str, object] = {"data": "synthetic"}
    if "speed" in parts:
        figures["speed"] = speed()
    if "memory" in parts:
        figures["memory"] = memory()
    publish(f"preparation-{'-'.join(parts)}", figures)


def make_table(folder: Path, count: int, side: int) -> SpecimenTable:
    """Partitioned synthetic specimens whose images are 256 files of one size."""
    folder.mkdir()
    records = specimens(count, seed=1)
    references: list[str] = []

    def pointed() -> Iterator[RawRecord]:
        for number, row in enumerate(records):
            if number < 256:
                references.append(_draw(folder, str(row["image"]), side))
            yield {**row, "image": references[number % 256]}

    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(Source(name="synthetic insects", records=pointed(), root=str(folder), synthetic_seed=1), table)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    return table


def _draw(folder: Path, reference: str, side: int) -> str:
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(draw(TreePlace.parse(reference)))).convert("RGB").resize((side * 4 // 3, side))
    name = f"{reference.replace('/', '-').replace(':', '-')}.jpg"
    picture.save(folder / name, quality=90)
    return name


def speed() -> dict[str, float]:
    """Records per second of both, warm."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(None, dashboard=False):
        folder = Path(scratch)
        table = make_table(folder / "source", NUM_FOR_SPEED, SOURCE_SIDE)
        warm = make_table(folder / "warm", 1024, SOURCE_SIDE)
        wanted = DatasetOptions(name="speed", image_size=256)
        seconds: dict[str, list[float]] = {"ray_data": [], "process_pool": []}
        with ProcessPoolExecutor(NUM_CORES, multiprocessing.get_context("spawn")) as pool:

            def run_in_pool(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
                return pool.map(work, shards)

            runs: dict[str, RunShards] = {
                "ray_data": partial(run_on_ray, cpus=cpus_of_a_core()),
                "process_pool": run_in_pool,
            }
            for name, run in runs.items():
                prepare(warm, Folder(folder / f"warm-{name}"), wanted, run)
            for repeat in range(REPEATS):
                for name, run in runs.items():
                    timed = _Timed(run)
                    prepare(table, Folder(folder / f"{name}-{repeat}"), wanted, timed)
                    seconds[name].append(timed.seconds)
                    print(f"{name}: {NUM_FOR_SPEED / timed.seconds:.0f} specimens/s", file=sys.stderr)
    best = {name: NUM_FOR_SPEED / min(values) for name, values in seconds.items()}
    return {
        "specimens": NUM_FOR_SPEED,
        **{f"{name}_per_second": value for name, value in best.items()},
        "ray_data_over_process_pool": best["ray_data"] / best["process_pool"],
    }


class _Timed:
    """A way to run shards, with the time it took for all of them."""

    def __init__(self, run: RunShards) -> None:
        self._run = run
        self.seconds = 0.0

    def __call__(self, work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        started = time.perf_counter()
        yield from self._run(work, shards)
        self.seconds = time.perf_counter() - started


def memory() -> dict[str, float]:
    """Peak memory of the driver and all of Ray's processes, at both sizes."""
    peaks, seconds = {}, {}
    for count in NUM_FOR_MEMORY:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as child:  # a fresh process each, so that nothing is left from before
            peaks[count], seconds[count] = child.submit(_peak_memory, count).result()
        print(f"{count:,}: {peaks[count] / 1e9:.2f} GB, {seconds[count]:.0f} s", file=sys.stderr)
    small, large = NUM_FOR_MEMORY
    return {
        **{f"peak_gb_at_{count}": peak / 1e9 for count, peak in peaks.items()},
        **{f"seconds_at_{count}": value for count, value in seconds.items()},
        "peak_ratio": peaks[large] / peaks[small],
    }


def _peak_memory(count: int) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as scratch:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
            # Growing the insects is not preparation, so its memory is another process's.
            other.submit(_make_small, Path(scratch) / "source", count).result()
        table = SpecimenTable.at(Path(scratch) / "source" / "specimens.parquet")
        with ray_session(None, dashboard=False), _Watch() as watch:
            started = time.perf_counter()
            prepare(table, Folder(Path(scratch) / "data"), DatasetOptions(name="memory", image_size=64), run_on_ray)
            return watch.peak, time.perf_counter() - started


def _make_small(folder: Path, count: int) -> None:
    make_table(folder, count, 64)


class _Watch(threading.Thread):
    """The highest sum of the proportional set sizes of this process and all below it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._ended = threading.Event()

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(0.5):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended meanwhile
            self.peak = max(self.peak, total)


if __name__ == "__main__":
    main(sys.argv[1:] or ["speed", "memory"])
