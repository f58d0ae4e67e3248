"""What the end of a group of workers means, how long a run goes on, where it finds room, and what is kept of it."""

import pickle
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from orchestrator.fleet import Resources
from orchestrator.group import Ending, ending_of
from orchestrator.readiness import Task, why_not_ready
from orchestrator.room import workers_in
from orchestrator.train import failures_in_a_row
from workloads.attempts import MOST_PRINTED, Attempts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError
from workloads.record import RunFolder
from workloads.run_errors import NotReadyError, StoppedError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

DEATH = WorkerHealthCheckFailedError("A worker health check failed.", ActorDiedError())


def workers(*errors: Exception) -> WorkerGroupError:
    return WorkerGroupError("what Ray makes of it", dict(enumerate(errors)))


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "finished", ""),
        (workers(DamagedError("a.json", "torn"), RuntimeError("connection reset")), "failed", "a.json: torn"),
        (workers(RuntimeError("connection reset"), DamagedError("a.json", "torn")), "failed", "a.json: torn"),
        (workers(RuntimeError("connection reset"), DEATH), "lost", ""),
        (workers(WorkerHealthCheckTimeoutError("It has been hanging for 46 seconds.")), "lost", "hanging"),
        (
            workers(RuntimeError("[pair.cc:537] Read error [::1]:4: Connection reset by peer.")),
            "lost",
            "worker is gone",
        ),
        (workers(ValueError("no"), RuntimeError("Connection closed by peer")), "failed", "ValueError: no"),
        (workers(ValueError("no such rank")), "failed", "ValueError: no such rank"),
        (workers(StoppedError("preempted", 7), DEATH), "preempted", "preempted"),
        (workers(StoppedError("may grow", 7), RuntimeError("connection reset")), "grown", "may grow"),
        (workers(StoppedError("interrupted", 7)), "stopped", "interrupted"),
        (ControllerError(NotReadyError("a-run", [("ant", "no disk")])), "failed", "ant: no disk"),
        (ControllerError(WorkerGroupStartupTimeoutError(4)), None, ""),
        (ControllerError(WorkerGroupStartupFailedError("At least one died.")), "lost", "died"),
        (ActorDiedError(), "lost", ""),
    ],
)
def test_the_end_of_a_group_is_that_of_the_worker_who_caused_the_others(
    error: Exception | None, outcome: str | None, reason: str
) -> None:
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        ending = ending_of(each, finished=False)
        assert ending.outcome == outcome
        assert reason in ending.reason


def test_a_run_that_is_finished_is_so_whatever_became_of_its_last_worker() -> None:
    assert ending_of(workers(DEATH), finished=True).outcome == "finished"


def test_an_error_of_ours_keeps_its_type_through_a_task_of_ray() -> None:
    wrapped = RayTaskError("execute", "lines", NotReadyError("a-run", [("ant", "no disk")])).as_instanceof_cause()
    ending = ending_of(ControllerError(wrapped), finished=False)
    assert isinstance(ending.error, NotReadyError)


def test_only_failures_without_a_newer_checkpoint_count_and_preemptions_never() -> None:
    count = 0
    for outcome, progress, expected in (
        ("lost", False, 1),
        ("preempted", False, 1),
        ("failed", False, 2),
        (None, False, 2),
        ("lost", True, 1),
        ("grown", True, 0),
        ("lost", False, 1),
    ):
        count = failures_in_a_row(count, Ending(outcome=outcome), progress)  # type: ignore[arg-type] # a literal
        assert count == expected


def test_workers_find_room_on_single_nodes_only() -> None:
    free = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 2.0}, {"CPU": 1.8, "GPU": 2.0}]
    assert workers_in(free, Resources(num_workers=8)) == 6
    assert workers_in(free, Resources(num_workers=8, one_node=True)) == 3
    assert workers_in(free, Resources(num_workers=8, cpus_per_worker=0.6)) == 5 + 3 + 3
    assert workers_in(free, Resources(num_workers=8, gpus_per_worker=1, cpus_per_worker=1)) == 2
    assert workers_in([], Resources()) == 0


def test_attempts_say_where_and_how_each_ended_and_keep_the_last_that_was_printed(tmp_path: Path) -> None:
    attempts = Attempts(Folder(tmp_path))
    assert attempts.all() == []
    first = attempts.begin(2)
    attempts.place(first, ["ant", "bee"])
    assert attempts.read(first).outcome is None
    attempts.end(first, "lost", "the node bee died", "Traceback")
    attempts.keep_log(first, 1, b"old" + b"x" * MOST_PRINTED)
    second = attempts.begin(1)
    assert (first, second) == (1, 2)
    read = Attempts(Folder(tmp_path)).all()
    assert [(each.number, each.workers, each.outcome) for each in read] == [(1, 2, "lost"), (2, 1, None)]
    assert read[0].hosts == ("ant", "bee")
    assert read[0].ended is not None
    assert read[0].ended >= read[0].began
    assert attempts.logs(1) == {1: "x" * MOST_PRINTED}
    attempts.drop(second)
    assert attempts.numbers() == [1]


@pytest.fixture
def task(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path) -> Task:
    run = RunFolder(Folder(tmp_path / "runs" / "a"))
    run.begin(tiny_spec, {}, {})
    return Task(
        spec=tiny_spec, run=str(run.folder), data=str(tiny_dataset.folder), resources=Resources(offline=True), places={}
    )


def test_a_worker_that_can_do_its_part_is_ready(task: Task) -> None:
    assert why_not_ready(task, writes=True) is None


def test_a_worker_says_what_it_lacks(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    def lack(**changed: object) -> str:
        return str(why_not_ready(replace(task, **changed), writes=True))  # type: ignore[arg-type] # fields of a task

    weights = replace(task.spec, image=replace(task.spec.image, weights="sha256:" + "0" * 64))
    published = replace(task.spec, text=replace(task.spec.text, weights="prajjwal1/bert-small"))
    assert "dataset.json" in lack(data=str(tmp_path / "nowhere"))
    assert "--runs" in lack(run=str(tmp_path / "elsewhere"))
    assert "0" * 64 in lack(spec=weights)
    assert "prajjwal1/bert-small" in lack(spec=published)
    assert "--cpu" in lack(resources=Resources(gpus_per_worker=1))
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "file" / "cache"))
    assert "CLIBD_CACHE" in lack()


@pytest.mark.parametrize(
    "content", [b"[]", b'{"number": 1}', b'{"number": 1, "hosts": 3, "began": 1}', b'{"hosts": [], "x": 1}']
)
def test_an_attempt_that_is_not_what_was_written_is_named(content: bytes, tmp_path: Path) -> None:
    (Folder(tmp_path) / "attempts").write("001.json", content)
    with pytest.raises(DamagedError, match=r"attempts/001\.json: "):
        Attempts(Folder(tmp_path)).all()
