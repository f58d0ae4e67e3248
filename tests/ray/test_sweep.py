"""The seams with Ray on one local cluster: preparation, a sweep, and a worker that is killed in the middle of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from commands.sweep_file import read_sweep
from orchestrator.fleet import Resources
from orchestrator.prepare import run_on_ray
from orchestrator.progress import SweepDisplay
from orchestrator.request import SweepRequest, plan_of, points_of
from orchestrator.sweep import run_sweep
from results.dashboard.catalog import Catalog
from results.paper.tables import table_sheets
from results.render import render_sheets
from sweeps import SWEEPS
from sweeps.point import Point
from workloads.data.prepared.dataset import SPECIMEN_TABLE, PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.prepared.shards import make_shard, plan_shards
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import TooManyRejectsError, UsageError
from workloads.record import RunFolder, find_runs
from workloads.run_errors import FailedRunsError
from workloads.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

EPOCHS = 8
TWO_WORKERS = Resources(num_workers=2, threads=1)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ray_data_makes_what_one_process_makes_to_the_byte(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 80, 5)
    wanted = DatasetOptions(name="d", image_size=32)
    told: list[tuple[int, int]] = []

    by_ray = prepare(table, Folder(tmp_path / "ray"), wanted, run_on_ray, lambda *done: told.append(done))

    assert prepare(table, Folder(tmp_path / "plain"), wanted, map) == by_ray
    assert content(tmp_path / "ray") == content(tmp_path / "plain")
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]


def test_preparation_on_ray_stops_at_too_many_bad_records(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 80, 5)
    rows = next(table.batches())
    column = rows.schema.get_field_index("image")
    images = pa.array(["no-such-file.jpg", *rows["image"].to_pylist()[1:]])
    facts = table.facts
    with table.writer(facts) as write:
        write(rows.set_column(column, "image", images))
    with pytest.raises(TooManyRejectsError):
        prepare(table, Folder(tmp_path / "data"), DatasetOptions(name="d", image_size=32), run_on_ray)
    assert "no-such-file.jpg" in (tmp_path / "data" / "rejects.tsv").read_text()

    made = prepare(
        table, Folder(tmp_path / "data"), DatasetOptions(name="d", image_size=32, max_rejects=0.1), run_on_ray
    )

    assert (made.num_rejects, sum(made.num_specimens.values())) == (1, 79)


def test_an_error_of_a_task_comes_out_of_ray_as_it_was(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 40, 5)
    facts = prepare(table, Folder(tmp_path / "data"), DatasetOptions(name="d", image_size=32), map)
    broken = Folder(tmp_path / "broken")
    broken.write(SPECIMEN_TABLE, b"PAR1")
    with pytest.raises(UsageError, match=SPECIMEN_TABLE):
        list(run_on_ray(partial(make_shard, str(broken), facts), plan_shards(facts)))


class WorkerKiller(threading.Thread):
    """Kills one training worker with SIGKILL once a run has logged a few epochs."""

    def __init__(self, runs: Folder, sweep: str, after_epoch: int) -> None:
        super().__init__(daemon=True)
        self._runs, self._sweep, self._after_epoch = runs, sweep, after_epoch
        self.killed: str | None = None

    def run(self) -> None:
        import ray
        from ray.util.state import list_actors

        while self.killed is None:
            time.sleep(0.2)
            for run in find_runs(self._runs, self._sweep):
                epochs = [event["epoch"] for event in run.events()]
                if run.state() != "missing" or not epochs or max(epochs) < self._after_epoch:
                    continue
                here = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
                filters = [("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")]
                workers = list_actors(address=here, filters=filters)
                if workers:
                    os.kill(workers[0].pid, signal.SIGKILL)
                    self.killed = run.id


def test_a_killed_worker_does_not_lose_the_sweep(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    runs = Folder(tmp_path / "runs")
    few = f"epochs={EPOCHS}"
    request = SweepRequest(sweeps=(SWEEPS["amp"],), scale="small", data=tiny_dataset, runs=runs, fields=(few,))
    points = points_of(request)
    killer = WorkerKiller(runs, "amp", after_epoch=1)
    killer.start()

    run_sweep(points, TWO_WORKERS, SweepDisplay(Console(quiet=True)))

    assert killer.killed is not None
    hit = RunFolder(runs / "amp" / killer.killed)
    logged = [event["epoch"] for event in hit.events() if event["event"] == "epoch"]
    assert logged == list(range(hit.spec().epochs))
    assert not (hit.folder / "checkpoints").folders()

    text = render_sheets(table_sheets(18, runs), "md")
    assert "SYNTHETIC" in text
    assert "not run" not in text
    assert "linear CCA" in text
    assert Catalog(runs).finished() == [run.id for run in find_runs(runs, "amp")]

    _the_same_command_runs_on_a_cluster_that_is_there(request)

    again, _ = plan_of(points, TWO_WORKERS)
    assert not again.to_run
    assert len(again.finished) == 2
    before = [run.folder.read("status.json") for run in find_runs(runs, "amp")]
    run_sweep(points, TWO_WORKERS, SweepDisplay(Console(quiet=True)))
    assert [run.folder.read("status.json") for run in find_runs(runs, "amp")] == before


def _the_same_command_runs_on_a_cluster_that_is_there(request: SweepRequest) -> None:
    """`--address` joins the running cluster from another process, and runs what is missing there."""
    import ray

    lost = find_runs(request.runs, "amp")[0]
    lost.folder.remove("status.json")
    command = [
        str(Path(sys.executable).with_name("clibd-sweep")),
        "amp",
        "--scale",
        "small",
        "--cpu",
        f"--set=epochs={EPOCHS}",
    ]
    where = ["--data", str(request.data.folder), "--runs", str(request.runs)]
    address = ["--address", ray.get_runtime_context().gcs_address]
    ended = subprocess.run([*command, *where, *address], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "0/1 finished" in ended.stderr
    assert "not run" not in ended.stdout
    assert lost.state() == "finished"


OWN = """
from dataclasses import replace

from sweeps.point import Impossible, Point, Sweep, behind, started


def points(base):
    spec = replace(base.spec, batch_size=20, epochs=2)
    simclr = Point(row={}, label="SimCLR", spec=replace(base.experiment("simclr-image"), batch_size=20, epochs=2))
    image = replace(spec.image, weights="/no/such/folder")
    lost = Point(row={"start": "lost"}, label="lost", spec=replace(spec, image=image))
    after = started(simclr, {"start": "simclr"}, "from SimCLR", lambda: spec)
    return [
        *behind(simclr),
        after,
        Point(row={"start": "none"}, label="untrained", spec=spec, kind="untrained"),
        Point(row={"of": "from SimCLR"}, label="open set", spec=spec, kind="open_set", uses={"run": after.id}),
        lost,
        Point(row={"of": "lost"}, label="open set of what is lost", spec=spec, kind="open_set", uses={"run": lost.id}),
        Impossible({"start": "sound"}, "sound", "insects have no sound"),
    ]


SWEEP = Sweep(name="own", question="Does a start help?", points=points)
"""


def test_points_begin_when_what_they_need_is_there_and_a_failure_costs_only_what_needs_it(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    runs = Folder(tmp_path / "runs")
    sweep = read_sweep(str(tmp_path / "own.py"))
    request = SweepRequest(sweeps=(sweep,), scale="small", data=tiny_dataset, runs=runs)
    points = points_of(request)
    ids = {point.label: point.id for point in points.all if isinstance(point, Point)}

    with pytest.raises(FailedRunsError) as failed:
        run_sweep(points, Resources(num_workers=1), SweepDisplay(Console(quiet=True)))

    assert "2 run(s) failed (lost: " in str(failed.value)
    stored = {entry["label"]: entry for entry in json.loads((runs / "own").read("points.json"))}
    made = ["SimCLR", "from SimCLR", "untrained", "open set"]
    assert [RunFolder(runs / "own" / ids[label]).state() for label in made] == ["finished"] * 4
    assert [stored[label]["impossible"] for label in made] == [None] * 4
    assert "/no/such/folder" in stored["lost"]["impossible"]
    assert f"{ids['lost']}, which it measures, failed: " in stored["open set of what is lost"]["impossible"]
    assert stored["sound"]["impossible"] == "insects have no sound"
    start = RunFolder(runs / "own" / ids["from SimCLR"])
    assert start.weights()["image"]["name"] == f"run:{ids['SimCLR']}"
    assert all(
        RunFolder(runs / "own" / ids[label]).measurements() for label in ("from SimCLR", "untrained", "open set")
    )
