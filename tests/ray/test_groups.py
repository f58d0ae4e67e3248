"""A run as a sequence of groups on one machine: workers that are killed, warned, raise or are unfit, and a stop."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.fleet import Resources
from orchestrator.messages import asked_to_stop
from orchestrator.readiness import Task
from orchestrator.train import run_to_its_end
from workloads.attempts import Attempts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import RunFolder
from workloads.run_errors import NotReadyError, StoppedError, WaitedError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]

SAME = ("model.safetensors", "measurements.parquet", "predictions.parquet")
EPOCHS = 32
"""Enough for a run to be in mid-training when it is heard of an epoch, also on a fast machine."""
Begun = Callable[[str, ExperimentSpec], Task]


@pytest.fixture
def begun(tiny_dataset: PreparedDataset, tmp_path: Path) -> Begun:
    """Begins a run of two workers, by a name."""

    def begin(name: str, spec: ExperimentSpec) -> Task:
        run = RunFolder(Folder(tmp_path / name / spec.id))
        run.begin(spec, {}, {})
        data = str(tiny_dataset.folder)
        return Task(spec=spec, run=str(run.folder), data=data, resources=Resources(num_workers=2), places={})

    return begin


def workers() -> list[psutil.Process]:
    """The processes that train."""
    import ray
    from ray.util.state import list_actors

    here = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
    filters = [("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")]
    return [psutil.Process(actor.pid) for actor in list_actors(address=here, filters=filters)]


def fill_the_disk() -> None:
    """As the workers see it: whatever they write from now on fails, so that the first raises while the other waits."""
    for worker in workers():
        worker.rlimit(psutil.RLIMIT_FSIZE, (0, 0))


def outcomes(run: Folder) -> list[str | None]:
    return [attempt.outcome for attempt in Attempts(run).all()]


def leave_no_room_taken() -> None:
    import ray

    assert {table["state"] for table in ray.util.placement_group_table().values()} <= {"REMOVED"}


def test_workers_killed_warned_and_without_a_disk_leave_what_an_undisturbed_run_leaves(
    begun: Begun, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, epochs=EPOCHS)
    plain, hit = begun("plain", spec), begun("hit", spec)
    run_to_its_end(plain)
    befalls: dict[int, Callable[[], None]] = {
        2: lambda: workers()[1].kill(),
        12: lambda: workers()[1].terminate(),
        22: fill_the_disk,
    }
    heard: list[int] = []

    def disturb(epoch: Mapping[str, Any]) -> None:
        heard.append(epoch["epoch"])
        befalls.pop(epoch["epoch"], lambda: None)()

    run_to_its_end(hit, told=disturb)

    folder = Folder(hit.run)
    assert outcomes(folder) == ["lost", "preempted", "failed", "finished"]
    assert sorted(set(heard)) == list(range(EPOCHS))
    assert [folder.read(name) for name in SAME] == [Folder(plain.run).read(name) for name in SAME]
    assert "attempts" not in str(RunFolder(folder).manifest())
    assert all(set(Attempts(folder).logs(number)) == {0, 1} for number in (1, 2, 3, 4))
    assert set(folder.folders()) == {"attempts", "embeddings"}
    leave_no_room_taken()


def test_what_a_worker_lacks_ends_the_run_before_anything_trains(begun: Begun, tiny_spec: ExperimentSpec) -> None:
    task = begun("unfit", tiny_spec)
    with pytest.raises(NotReadyError, match=r"dataset\.json"):
        run_to_its_end(replace(task, data=f"{task.run}/nothing"))
    run = RunFolder(Folder(task.run))
    assert outcomes(run.folder) == ["failed"]
    assert "dataset.json" in run.status()["reason"]
    assert run.events() == []
    leave_no_room_taken()


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_later(begun: Begun, tiny_spec: ExperimentSpec) -> None:
    task = begun("stopped", replace(tiny_spec, epochs=40))
    epochs: list[int] = []
    with pytest.raises(StoppedError, match="interrupted"):
        run_to_its_end(
            task, told=lambda epoch: epochs.append(epoch["epoch"]), stop=lambda: "interrupted" if epochs else None
        )
    run = RunFolder(Folder(task.run))
    assert (run.state(), outcomes(run.folder)) == ("missing", ["stopped"])
    assert (run.folder / "checkpoints").folders()
    assert asked_to_stop() is None
    leave_no_room_taken()


def test_machines_that_do_not_come_are_waited_for_and_said(begun: Begun, tiny_spec: ExperimentSpec) -> None:
    task = begun("waiting", tiny_spec)
    facts: list[dict[str, Any]] = []
    with pytest.raises(WaitedError, match="999 CPUs"):
        run_to_its_end(
            replace(task, resources=Resources(num_workers=1, cpus_per_worker=999, wait=2.0)),
            tell=lambda **told: facts.append(told),
        )
    assert facts[0]["state"] == "waiting"
    assert "999 CPUs; " in facts[0]["waiting_for"]
    assert outcomes(Folder(task.run)) == []
    leave_no_room_taken()
