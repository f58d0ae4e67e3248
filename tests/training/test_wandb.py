"""Weights & Biases, by its own library and a server of our own: whatever it does, training does not notice."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.wandb_server import WandbServer, wandb_server
from workloads.record import RunFolder
from workloads.run_errors import StoppedError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training import wandb_log as ours
from workloads.training.report import EpochReport, Listener, StepReport, event_log
from workloads.training.wandb_log import wandb_log
from workloads.training.wandb_teller import PATIENCE

KEY = "c0ffee" * 6 + "cafe"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with wandb_server() as server:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every point has to arrive, and the machine may be busy."""
    monkeypatch.setenv(PATIENCE, "60")


@pytest.fixture
def run(tmp_path: Path, tiny_spec: ExperimentSpec) -> RunFolder:
    run = RunFolder(Folder(tmp_path / "runs" / "train" / "a-run"))
    run.begin(replace(tiny_spec, epochs=4), {}, {})
    return run


def step(number: int) -> StepReport:
    return StepReport(
        epoch=number // 10,
        step=number,
        loss=1 / (number + 1),
        temperature=0.07,
        learning_rate=1e-3,
        gradient_norm=1.0,
        specimens_per_second=10.0,
    )


def epoch(number: int) -> EpochReport:
    return EpochReport(
        epoch=number // 10,
        step=number,
        loss=0.5,
        learning_rate=1e-3,
        temperature=0.07,
        gradient_norm=1.0,
        seconds=1.0,
        specimens_per_second=10.0,
        waited=0.0,
        allocated_gb=0.0,
        reserved_gb=0.0,
        papers_memory_gb=0.0,
        score=None,
    )


def log(listener: Listener, steps: range) -> None:
    for number in steps:
        listener(step(number))
        if number % 10 == 9:
            listener(epoch(number))


def steps_of(server: WandbServer) -> list[int]:
    (theirs,) = server.runs.values()
    assert len(theirs.sent) == len(theirs.points)  # nothing came twice
    return [point["_step"] for point in theirs.points]


def until(true: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def by_hand(run: RunFolder, *options: str) -> subprocess.CompletedProcess[str]:
    """As the sentence has it."""
    words = [sys.executable, "-m", "workloads.training.wandb_teller", str(run.folder), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2])


@pytest.mark.usefixtures("patient")
def test_every_point_arrives_once_and_an_epoch_under_the_step_that_ended_it(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(20))
        until(lambda: server.runs)
    assert steps_of(server) == list(range(20))
    points = server.runs["a-run"].points
    assert points[9]["epoch/loss"] == 0.5
    assert points[9]["train/loss"] == pytest.approx(0.1)
    assert "epoch/loss" not in points[8]
    assert server.runs["a-run"].complete
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert f"{server.address}/somebody/clibd/runs/a-run" in said
    assert not [file for file in Path(run.folder.path).rglob("*") if file.is_file() and KEY in file.read_text("latin1")]


@pytest.mark.usefixtures("patient")
def test_a_run_that_goes_on_repeats_nothing_and_keeps_the_end_of_an_epoch(server: WandbServer, run: RunFolder) -> None:
    def stopped() -> None:
        with wandb_log(run, "online"):
            log(event_log(run, 0), range(9))
            event_log(run, 9)(step(9))  # its epoch is not told yet
            until(lambda: server.runs.get("a-run") and len(server.runs["a-run"].points) >= 8)
            raise StoppedError("terminated")

    with pytest.raises(StoppedError):
        stopped()
    assert steps_of(server)[-1] in (7, 8)
    with wandb_log(run, "online"):
        log(event_log(run, 5), range(5, 20))
    assert steps_of(server) == list(range(20))
    assert server.runs["a-run"].points[9]["epoch/loss"] == 0.5


@pytest.mark.parametrize("mode", ["error", "limited", "slow", "hang", "garbage", "refused"])
def test_a_server_that_fails_is_one_sentence_and_the_command_in_it_delivers(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str], mode: str
) -> None:
    server.mode = mode  # type: ignore[assignment]
    began = time.monotonic()
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(20))
        assert time.monotonic() - began < 1
        until(lambda: server.asked > 0)
        time.sleep(0.5)
        ended = time.monotonic()
    assert time.monotonic() - ended < 6
    said = capfd.readouterr().err
    assert f"python -m workloads.training.wandb_teller {run.folder}" in said
    assert "Traceback" not in said
    assert said.count("\n") <= 2
    assert ("refuses the key" in said) == (mode == "refused")
    server.mode = "ok"
    assert by_hand(run).returncode == 0
    assert by_hand(run).returncode == 0  # and a second time nothing comes again
    assert steps_of(server) == list(range(20))


def test_a_server_that_dies_in_mid_run_has_everything_once_in_the_end(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(10))
        until(lambda: server.runs.get("a-run") and len(server.runs["a-run"].points) >= 8)
        server.mode = "error"
        log(event_log(run, 10), range(10, 20))
    assert "wandb_teller" in capfd.readouterr().err
    server.mode = "ok"
    assert by_hand(run).returncode == 0
    assert steps_of(server) == list(range(20))


def test_a_server_that_comes_late_is_told_while_the_training_goes_on(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    server.mode = "garbage"
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(20))
        until(lambda: server.asked > 0)
        server.mode = "ok"
        until(lambda: server.runs.get("a-run") and len(server.runs["a-run"].points) >= 18)
    assert steps_of(server) == list(range(20))
    assert "cannot be reached" in capfd.readouterr().err


def test_nobody_listens_at_all_or_there_is_no_key_or_no_library(
    server: WandbServer,
    run: RunFolder,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(3))
    assert "wandb_teller" in capfd.readouterr().err
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.delenv("WANDB_API_KEY")
    refused = by_hand(run)
    assert refused.returncode == 1
    assert "wandb login" in refused.stderr
    (tmp_path / "wandb.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(ours, "ROOT", tmp_path)
    with wandb_log(run, "online"):
        until(lambda: "pip install wandb" in (capfd.readouterr().err or ""))


def test_a_full_or_read_only_folder_of_theirs_is_no_matter(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    (Path(run.folder.path) / "wandb").write_text("in the way")  # as root, whom no permission stops
    with wandb_log(run, "online"):
        log(event_log(run, 0), range(20))
        until(lambda: capfd.readouterr().err or server.runs)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("patient")
def test_offline_one_record_is_left_which_their_own_command_delivers(
    server: WandbServer, run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        with wandb_log(run, "offline"):
            log(event_log(run, 0), range(10))
            raise StoppedError("terminated")

    with pytest.raises(StoppedError):
        stopped()
    with wandb_log(run, "offline"):
        log(event_log(run, 10), range(10, 20))
    assert server.asked == 0
    (place,) = Path(run.folder.path).glob("wandb/offline-run-*")
    said = capfd.readouterr().err
    assert f"wandb sync {place}" in said
    command = [str(Path(sys.executable).parent / "wandb"), "sync", str(place)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert steps_of(server) == list(range(20))
