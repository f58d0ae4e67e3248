"""A training that is asked to stop saves after the step it is in, says how to go on, and leaves no process behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from tests.training.test_command import command, environment, only_run, train_small, weights
from tests.training.training import begun, train
from workloads.data.prepared.dataset import PreparedDataset
from workloads.run_errors import StoppedError
from workloads.spec import ExperimentSpec
from workloads.stopping import REASONS
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit

EPOCHS, PATIENCE = 15, 240


@pytest.fixture(scope="module")
def whole(tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nobody stops."""
    return weights(train_small(tiny_dataset, tmp_path_factory.mktemp("whole"), epochs=EPOCHS))


def started(dataset: PreparedDataset, runs: Path, processes: int = 1) -> subprocess.Popen[str]:
    """A training in its first epochs, in a session of its own."""
    process = subprocess.Popen(
        command(dataset, runs, processes=processes, epochs=EPOCHS),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not list(runs.glob("train/*/checkpoints/*/manifest.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return process


def members(session: int) -> list[str]:
    """Processes of a session that are still there."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append(stat.parent.name)
    return alive


def assert_all_gone(session: int) -> None:
    deadline = time.monotonic() + 10
    while members(session):
        assert time.monotonic() < deadline, members(session)
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_after_the_present_step_and_the_same_command_goes_on(
    number: signal.Signals, code: int, whole: dict[str, torch.Tensor], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    process = started(tiny_dataset, tmp_path)
    os.killpg(process.pid, number)  # as a terminal does, and some managers of jobs
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == code
    assert "Traceback" not in said
    step = int(said.partition("saved after step ")[2].partition(";")[0])
    again = shlex.split(said.rstrip().rpartition("start the same command again to go on: ")[2])
    assert again == command(tiny_dataset, tmp_path, epochs=EPOCHS)
    assert_all_gone(process.pid)
    run = only_run(tmp_path)
    assert run.state() == "missing"
    kept = CheckpointStore(run.folder / "checkpoints").newest(pytest.fail)
    assert kept is not None
    assert kept.progress["step"] == step

    finished = weights(train_small(tiny_dataset, tmp_path, epochs=EPOCHS))
    assert all(torch.equal(whole[name], finished[name]) for name in whole)


def test_several_processes_under_torchrun_stop_together(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    process = started(tiny_dataset, tmp_path, processes=2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)  # torchrun passes it on to each
    said = process.communicate(timeout=PATIENCE)[1]
    assert time.monotonic() - began < 25  # torchrun would kill after 30 s what still stands in a collective
    assert said.count("interrupted: saved after step") == 1
    assert "Connection closed" not in said
    step = int(said.partition("saved after step ")[2].partition(";")[0])
    kept = CheckpointStore(only_run(tmp_path).folder / "checkpoints").newest(pytest.fail)
    assert kept is not None
    assert kept.progress["step"] == step
    assert train_small(tiny_dataset, tmp_path, epochs=EPOCHS).state() == "finished"


def test_an_error_of_one_process_under_torchrun_is_said_and_ends_the_others(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    process = started(tiny_dataset, tmp_path, processes=2)
    workers = {child.environ().get("RANK"): child for child in psutil.Process(process.pid).children()}
    workers["0"].rlimit(psutil.RLIMIT_FSIZE, (0, 0))  # what the first writes from now on fails, while the other waits
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1
    assert "File too large" in said
    assert "Connection closed" not in said
    assert_all_gone(process.pid)


PROGRAM = """
import os, sys, time
from workloads.stopping import stop_by_signals
reader, writer = os.pipe()
with stop_by_signals() as stop:
    print("listening", flush=True)
    os.read(reader, 1)  # for ever, as in a collective
"""


@pytest.mark.parametrize(("numbers", "code"), [((signal.SIGTERM, signal.SIGINT), 130), ((signal.SIGINT, 15), 143)])
def test_a_second_signal_ends_a_process_at_once_wherever_it_stands(numbers: tuple[int, int], code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    process.send_signal(numbers[0])
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(numbers[1])
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert said.startswith(f"{REASONS[numbers[1]]}; start the same command again to go on from here: ")
    assert said.count("\n") == 1


def test_who_stands_in_what_the_signal_has_ended_is_not_waited_for() -> None:
    program = PROGRAM.replace("stop_by_signals()", "stop_by_signals(patience=0.2)")
    process = subprocess.Popen([sys.executable, "-c", program], env=environment(), stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said.count("\n")) == (143, 1)


def test_a_stop_at_any_step_changes_nothing_to_the_bit(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, modalities=("dna", "text"), epochs=2)
    undisturbed = train(spec, tiny_dataset)
    training, specimens, _ = begun(spec, tiny_dataset)
    total = spec.epochs * training.steps_per_epoch
    for at in range(1, total + 1):
        store = CheckpointStore(Folder(tmp_path / str(at)))
        training, specimens, _ = begun(spec, tiny_dataset)
        reasons = iter([None] * (at - 1) + ["preempted"])
        with pytest.raises(StoppedError, match=f"preempted: saved after step {at};"):
            fit(training, specimens, store=store, stop=partial(next, reasons))
        again = train(spec, tiny_dataset, store=store)
        assert all(torch.equal(value, again.weights[name]) for name, value in undisturbed.weights.items())
        told = json.dumps([report.loss for report in undisturbed.watcher.epochs])
        assert told.endswith(json.dumps([report.loss for report in again.watcher.epochs])[1:])
