"""What decides about trials: how many go side by side, when they stop, what they take, and what killed ones leave."""

import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import trials
from orchestrator.fleet import Resources
from orchestrator.measure import Share, share_of
from orchestrator.others import Others
from orchestrator.trials import Losses, Turns, scratch_folder
from workloads.lease import held
from workloads.record import RunFolder
from workloads.run_errors import RunBusyError
from workloads.storage import Folder

ROOT = Path(__file__).parents[1]


def trial(folder: Path | None = None, status: str = "RUNNING", **more: Any) -> Any:
    """What Tune tells of a trial, as far as it is looked at."""
    file = folder / "error.pkl" if folder else None
    return SimpleNamespace(
        trial_id="a", status=status, config={}, max_failures=5, num_failures=1, pickled_error_file=file, **more
    )


def never() -> None:
    return None


def test_the_limit_follows_machines_that_come_and_go_and_is_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_LOOK_EVERY", -1.0)
    there = iter([0, 1, 4, 2])
    turns = Turns(lambda: next(there), never)
    assert [turns.limit for _ in range(4)] == [1, 1, 4, 2]


def test_a_stop_asks_the_runs_waits_for_them_and_lets_none_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(trials, "ask_to_stop", asked.append)
    turns = Turns(lambda: 1, lambda: "terminated")
    running, waiting = trial(), trial(status="PENDING")
    turns.on_step_begin([running, waiting])
    turns.on_step_begin([running, waiting])
    assert (asked, turns.stopping, running.max_failures) == (["terminated"], True, 0)
    running.status = "TERMINATED"
    with pytest.raises(KeyboardInterrupt):
        turns.on_step_begin([running, waiting])


def test_what_does_not_save_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ask_to_stop", lambda reason: None)
    monkeypatch.setattr(trials, "_GRACE", 0.01)
    turns = Turns(lambda: 1, lambda: "interrupted")
    turns.on_step_begin([trial()])
    time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt):
        turns.on_step_begin([trial()])


def test_a_lost_driver_starts_again_as_long_as_its_run_gets_further(tmp_path: Path) -> None:
    (tmp_path / "error.pkl").write_bytes(pickle.dumps(RuntimeError("the actor died")))
    steps = iter([1, 2, 2, 2])
    losses, lost = Losses(lambda config: next(steps)), trial(tmp_path)
    most = []
    for number in (1, 2, 3, 4):
        lost.num_failures = number
        losses.on_trial_recover(lost)
        most.append(lost.max_failures)
    assert most == [6, 7, 7, 7]


def test_an_error_of_its_own_is_tried_once_more(tmp_path: Path) -> None:
    from ray.exceptions import RayTaskError

    error = RayTaskError("make", "Traceback", ValueError("no"))
    (tmp_path / "error.pkl").write_bytes(pickle.dumps(error))
    failed = trial(tmp_path)
    Losses(lambda config: 1).on_trial_recover(failed)
    assert failed.max_failures == failed.num_failures == 1


@pytest.mark.parametrize(
    ("kind", "resources", "nodes", "expected"),
    [
        ("untrained", Resources(num_workers=2, threads=1), [{"CPU": 4.0}], Share(2, 0, 2)),
        ("open_set", Resources(num_workers=4, cpus_per_worker=8, threads=8), [{"CPU": 16.0}], Share(16, 0, 16)),
        ("open_set", Resources(num_workers=4, cpus_per_worker=8, threads=8), [], Share(8, 0, 8)),
        ("costs", Resources(num_workers=4, gpus_per_worker=1, cpus_per_worker=8), [], Share(8, 1, 8)),
        ("bzsl", Resources(num_workers=4, gpus_per_worker=1, cpus_per_worker=8), [], Share(8, 0, 8)),
    ],
)
def test_a_measurement_takes_of_a_node_what_it_computes_on(
    kind: str, resources: Resources, nodes: list[dict[str, float]], expected: Share
) -> None:
    assert share_of(kind, resources, nodes) == expected


def test_what_a_killed_command_left_goes_with_the_next_and_what_lives_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "from orchestrator.trials import scratch_folder\nwith scratch_folder() as f: print(f, flush=True); input()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    others = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdin=-1, stdout=-1, text=True)
        for _ in range(2)
    ]
    killed, living = (Path(other.stdout.readline().strip()) for other in others if other.stdout)
    others[0].kill()
    others[0].wait()
    with scratch_folder() as scratch:
        assert sorted(tmp_path.iterdir()) == sorted([living, scratch])
    others[1].communicate("\n")
    assert not killed.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_another_command_holds_is_left_to_it_and_taken_up_when_it_is_gone(tmp_path: Path) -> None:
    run, others = RunFolder(Folder(tmp_path / "run")), Others("follow")
    lines = ["from workloads.lease import held", "from workloads.storage import Folder"]
    lines += [f"with held(Folder({str(run.folder)!r})): print(1, flush=True); input()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", "\n".join(lines)], env=environment, stdin=-1, stdout=-1, text=True)
    assert holder.stdout
    holder.stdout.readline()
    assert others.leave(run)
    with pytest.raises(RunBusyError):
        Others("refuse").at_the_start([run], never, print)
    said: list[str] = []
    others.at_the_start([run], never, said.append)
    assert "makes some of these runs" in said[0]
    with pytest.raises(KeyboardInterrupt):
        others.watch([run], lambda: "interrupted", lambda *shown: None)
    holder.kill()
    holder.communicate()
    assert others.leave(run) is None
    others.watch([run], never, lambda *shown: None)
    with held(run.folder, owner=others.owner):
        assert others.leave(run) is None
