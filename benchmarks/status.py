"""`clibd-sweep status` of 200 runs in an object store, which is served on this machine.

    python -m benchmarks.status

Half of the runs are finished; of the others some are trained, some failed, some were cut off, some wait for machines.
Each has the files that training leaves, small but as many. Measured is the clock: of the command, which begins with
nothing in memory, and of the reading alone. The store runs in a process of its own, on the same processors.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.measuring import publish
from benchmarks.rendering import entry
from results.sweep_status import Statuses
from sweeps import SWEEPS
from sweeps.point import Base, Point
from workloads.attempts import Attempts
from workloads.experiments import Data, base_spec
from workloads.lease import ABANDONED, Lease
from workloads.object_store import object_store
from workloads.record import RunFolder, provenance
from workloads.seals import LEASE
from workloads.storage import Folder

NUM_RUNS = 200
ROUNDS = 5
GOAL_SECONDS = 3
KINDS = ("finished",) * 10 + ("training",) * 4 + ("waiting", "failed", "failed", "interrupted", "interrupted", "silent")
"""Of twenty runs one after another."""
FILES = (
    *("inputs.json", "tokenizer.json", "evaluation.json", "measurements.parquet", "predictions.parquet"),
    *("specimens.parquet", "trained_on.parquet", "model.safetensors", "embeddings/keys.parquet"),
    *("embeddings/val.parquet", "embeddings/test.parquet", "embeddings/embeddings.json"),
)


def main() -> None:
    """Make the runs, ask for their status, and keep the figures."""
    with tempfile.TemporaryDirectory() as scratch, served_bucket() as runs:
        here = Folder(Path(scratch) / "runs")
        make_runs(here)
        num_objects = upload(here, runs)
        time.sleep(ABANDONED)  # so that those which no longer beat are interrupted
        reading, used, command = [], [], []
        for _ in range(ROUNDS):
            beat(here, runs)
            started, worked = time.perf_counter(), time.process_time()
            found = Statuses(runs).read()
            reading.append(time.perf_counter() - started)
            used.append(time.process_time() - worked)
            beat(here, runs)
            started = time.perf_counter()
            words = [sys.executable, "-c", "from commands.sweep import main; main()", "status", "--runs", str(runs)]
            subprocess.run(words, check=True, capture_output=True)
            command.append(time.perf_counter() - started)
    states = [standing.state for standing in found]
    publish(
        "status",
        {
            "goal_seconds": GOAL_SECONDS,
            "runs": len(found),
            "objects": num_objects,
            "states": {state: states.count(state) for state in dict.fromkeys(states)},
            "rounds": ROUNDS,
            "reading_seconds": {"median": median(reading), "most": max(reading)},
            "reading_processor_seconds": {"median": median(used), "most": max(used)},
            "command_seconds": {"median": median(command), "most": max(command)},
        },
    )


@contextmanager
def served_bucket() -> Iterator[Folder]:
    """An empty bucket of an S3 server in a process of its own."""
    import boto3  # type: ignore[import-untyped]  # it has no types

    port = 5987
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            time.sleep(0.5)
            try:
                boto3.client("s3").create_bucket(Bucket="runs")
                break
            except Exception:  # it does not answer yet
                continue
        yield Folder("s3://runs/all")
    finally:
        server.terminate()
        server.wait()


def make_runs(runs: Folder) -> None:
    """Folders as sweeps leave them, by the functions that leave them, and points.json beside."""
    data = Data(name="insects", fingerprint="0123abcd-256", synthetic=True, modalities=("image", "dna", "text"))
    base = Base(spec=base_spec("small", data), scale="small", data=data)
    seeds = (replace(base, spec=replace(base.spec, seed=seed)) for seed in range(42, 142))
    points = [p for seeded in seeds for p in SWEEPS["batch-size"].points(seeded) if isinstance(p, Point)][:NUM_RUNS]
    source = provenance(["clibd-sweep", "batch-size", "--data", "DIR"])
    step = b'{"event": "step", "epoch": 0, "step": 0, "loss": 3.0}\n' * 300 + b'{"event": "epoch", "epoch": 0}\n'
    for number, point in enumerate(points):
        run, kind = RunFolder(runs / "batch-size" / point.id), KINDS[number % len(KINDS)]
        run.begin(point.spec, entry(point), source)
        for name in FILES if kind == "finished" else FILES[:2]:
            run.folder.write(name, b"{}")
        run.folder.write("events.jsonl", step)
        attempts = Attempts(run.folder)
        for _ in range(2):
            attempt = attempts.begin(2)
            attempts.place(attempt, ["node-a", "node-b"])
            attempts.end(attempt, "lost", "the node-b was lost")
        if kind in ("finished", "failed"):
            run.finish("finished" if kind == "finished" else "failed", reason="step 7: the loss is nan")
        elif kind != "interrupted":
            lease = Lease(run.folder, "benchmark")
            lease._said = replace(lease._said, machine="elsewhere")
            lease._facts = {"state": kind, "epoch": 3, "epochs": 20, "specimens_per_second": 812.0}
            run.folder.write(LEASE, lease._content())
    (runs / "batch-size").write_json("points.json", [entry(point) for point in points])


def upload(here: Folder, there: Folder) -> int:
    """Copy everything; gives how many files that were."""
    names, (store, prefix) = here.walk(), object_store(there)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: store.put(f"{prefix}/{name}", here.read(name)), names))
    return len(names)


def beat(here: Folder, there: Folder) -> None:
    """The leases beat, but for those that are silent, so that the runs that are being made are live."""
    store, prefix = object_store(there)
    for name in here.walk():
        if name.endswith(LEASE) and b"silent" not in (content := here.read(name)):
            store.put(f"{prefix}/{name}", content)


if __name__ == "__main__":
    main()
