"""The seams with Ray on one local cluster: preparation, a sweep, and a worker that is killed in the middle of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from orchestrator.prepare import prepare
from orchestrator.progress import SweepDisplay
from orchestrator.resources import Resources
from orchestrator.sweep import SweepRequest, plan_of, run_sweep
from results.report import write_report
from results.sweep_table import render_sweep_table
from workloads.data.partition import partition
from workloads.data.prepared import PreparedDataset
from workloads.data.readers import import_synthetic
from workloads.errors import UsageError
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

TWO_WORKERS = Resources(num_workers=2, threads=1)


def partitioned(count: int, seed: int) -> pa.Table:
    table = import_synthetic(count, seed).table
    split = pa.array(partition(table["species"].to_pylist()), pa.string())
    return table.set_column(table.schema.get_field_index("split"), "split", split)


def test_preparation_keeps_every_good_specimen_and_lists_the_bad_one(tmp_path: Path) -> None:
    table = partitioned(80, seed=5)
    references = table["image"].to_pylist()
    references[3] = "no-such-file.jpg"
    table = table.set_column(table.schema.get_field_index("image"), "image", pa.array(references))
    target = Folder(tmp_path / "data")

    facts = prepare(table, target, name="d", root=str(tmp_path), image_size=32, synthetic_seed=5, source="test")

    assert sum(facts.num_specimens.values()) == 79
    rejects = target.read("rejects.tsv").decode().splitlines()
    assert len(rejects) == 2
    assert rejects[1].startswith(f"{table['specimen_id'][3].as_py()}\t")
    assert "no-such-file.jpg" in rejects[1]
    loaded = PreparedDataset(target).load(list(facts.num_specimens))
    assert sorted(loaded["specimen_id"].to_pylist()) == sorted(
        name for row, name in enumerate(table["specimen_id"].to_pylist()) if row != 3
    )


def test_preparing_again_into_the_same_folder_refuses_other_specimens(tmp_path: Path) -> None:
    target = Folder(tmp_path / "data")
    options = {"name": "d", "root": "", "image_size": 32, "source": "test"}
    first = prepare(partitioned(40, seed=5), target, synthetic_seed=5, **options)
    assert prepare(partitioned(40, seed=5), target, synthetic_seed=5, **options) == first
    with pytest.raises(UsageError, match="another data set"):
        prepare(partitioned(40, seed=6), target, synthetic_seed=6, **options)


class WorkerKiller(threading.Thread):
    """Kills one training worker with SIGKILL once a run has logged a few epochs."""

    def __init__(self, runs: Folder, sweep: str, after_epoch: int) -> None:
        super().__init__(daemon=True)
        self._runs, self._sweep, self._after_epoch = runs, sweep, after_epoch
        self.killed: str | None = None

    def run(self) -> None:
        from ray.util.state import list_actors

        while self.killed is None:
            time.sleep(0.2)
            for run in find_runs(self._runs, self._sweep):
                epochs = [event["epoch"] for event in run.events()]
                if run.state() != "missing" or not epochs or max(epochs) < self._after_epoch:
                    continue
                workers = list_actors(filters=[("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")])
                if workers:
                    os.kill(workers[0].pid, signal.SIGKILL)
                    self.killed = run.id


def test_a_killed_worker_does_not_lose_the_sweep(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    runs = Folder(tmp_path / "runs")
    request = SweepRequest(name="amp", scale="small", data=tiny_dataset.folder, runs=runs)
    killer = WorkerKiller(runs, "amp", after_epoch=3)
    killer.start()

    run_sweep(request, TWO_WORKERS, SweepDisplay(Console(quiet=True)))

    assert killer.killed is not None
    hit = RunFolder(runs / "amp" / killer.killed)
    logged = [event["epoch"] for event in hit.events() if event["event"] == "epoch"]
    assert logged == list(range(hit.spec().epochs))
    assert not (hit.folder / "checkpoints").folders()

    text = render_sweep_table(runs, 18, "md")
    assert "SYNTHETIC" in text
    assert "not run" not in text
    assert "linear CCA" in text
    page = Path(write_report(runs)).read_text()
    assert all(run.id in page for run in find_runs(runs, "amp"))

    _the_same_command_runs_on_a_cluster_that_is_there(request)

    again = plan_of(request, tiny_dataset.facts)
    assert not again.to_run
    assert len(again.finished) == 2
    before = [run.folder.read("status.json") for run in find_runs(runs, "amp")]
    run_sweep(request, TWO_WORKERS, SweepDisplay(Console(quiet=True)))
    assert [run.folder.read("status.json") for run in find_runs(runs, "amp")] == before


def _the_same_command_runs_on_a_cluster_that_is_there(request: SweepRequest) -> None:
    """`--address` joins the running cluster from another process, and runs what is missing there."""
    import ray

    lost = find_runs(request.runs, "amp")[0]
    lost.folder.remove("status.json")
    command = [str(Path(sys.executable).with_name("clibd-sweep")), "amp", "--scale", "small", "--cpu"]
    where = ["--data", str(request.data), "--runs", str(request.runs)]
    address = ["--address", ray.get_runtime_context().gcs_address]
    ended = subprocess.run([*command, *where, *address], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "0/1 finished" in ended.stderr
    assert "not run" not in ended.stdout
    assert lost.state() == "finished"
