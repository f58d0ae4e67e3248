"""A worker whose step stands still ends and says where; what prepares batches ends with whom it prepares them for."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.test_command import environment
from tests.training.test_stopping import PATIENCE, assert_all_gone
from tests.training.training import StopHereError, begun, interruption, train
from workloads.data.inputs import loading
from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.placement import Placement
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.training.loop import fit
from workloads.training.report import Report
from workloads.training.watch import STANDS_STILL, Watch

PROGRAM = Path(__file__).with_name("watched_trainer.py")


def start(
    how: str, folder: Path, spec: ExperimentSpec, dataset: PreparedDataset, ranks: int
) -> list[subprocess.Popen[str]]:
    """Trainings that are watched, each in a session of its own."""
    (folder / "asked.json").write_text(json.dumps({"data": str(dataset.folder), "spec": spec_to_dict(spec)}))
    return [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), how, str(rank), str(ranks), str(folder)],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(ranks)
    ]


def test_a_batch_that_never_comes_is_noticed(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    (process,) = start("hangs", tmp_path, tiny_spec, tiny_dataset, 1)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == STANDS_STILL
    assert "error: worker 0: step 1 stands still for" in said
    assert said.rstrip().endswith("it waits for its batch")
    assert_all_gone(process.pid)


def test_a_worker_that_is_stopped_is_noticed_by_the_others(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    processes = start("sleeps", tmp_path, tiny_spec, tiny_dataset, 2)
    try:
        said = processes[0].communicate(timeout=PATIENCE)[1]
        assert processes[0].returncode == STANDS_STILL
        assert "step 2 stands still for" in said
        assert said.rstrip().endswith("or waits for another worker")
        assert processes[1].poll() is None  # it stands still itself, and so does its watch
    finally:
        processes[1].kill()
        processes[1].communicate()


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_to_all_leaves_the_step_its_batches_and_no_process_behind(
    number: signal.Signals, reason: str, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    (process,) = start("asked", tmp_path, tiny_spec, tiny_dataset, 1)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "trains").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=PATIENCE)[1]
    assert said.startswith(f"{reason}: saved after step "), said
    assert "Traceback" not in said
    assert_all_gone(process.pid)


def test_only_a_step_is_watched_and_the_first_has_longer() -> None:
    told: list[str] = []
    with Watch("worker 3", told.append, patience=0.2, first_patience=3.0) as watch:
        time.sleep(0.6)  # nothing is on
        watch.begins(0)
        time.sleep(0.6)  # the first
        watch.ends()
        assert told == []
        watch.begins(1)
        watch.arrived()
        deadline = time.monotonic() + PATIENCE
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(told) == 1
    assert told[0].startswith("worker 3: step 1 stands still for")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_prepares_batches_stays_for_all_epochs_changes_no_bit_and_ends_with_the_training(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PIECE", 5)
    spec = replace(tiny_spec, epochs=3)
    placement = Placement(loader_processes=2)
    training, specimens, experiment = begun(spec, tiny_dataset, Execution(micro_batch=6), placement)
    seen: list[set[int | None]] = []

    def listener(_: Report) -> None:
        seen.append({process.pid for process in multiprocessing.active_children()})

    fit(training, specimens, [listener], score=lambda: 0.0)
    assert len(seen) > spec.epochs
    assert len(seen[0]) == 2
    assert all(processes == seen[0] for processes in seen)
    assert multiprocessing.active_children() == []
    with pytest.raises(StopHereError) as interrupted:
        fit(*begun(spec, tiny_dataset, placement=placement)[:2], [listener, interruption(after=1)])
    assert interrupted.tb is not None  # it knows where it was, and so does what was made there
    assert len(seen[-1]) == 2
    assert multiprocessing.active_children() == []
    alone = train(spec, tiny_dataset, execution=Execution(micro_batch=6)).weights
    assert all(torch.equal(values, alone[name]) for name, values in experiment.model.state_dict().items())
