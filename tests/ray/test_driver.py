"""The commands as a user gives them, and a driver that is killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import find_runs
from workloads.storage import Folder

SWEEP = str(Path(sys.executable).with_name("clibd-sweep"))


@pytest.mark.ray
def test_a_killed_driver_started_again_runs_only_what_is_missing(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    runs = Folder(tmp_path / "runs")
    command = [SWEEP, "lora", "--scale=small", f"--data={tiny_dataset.folder}", f"--runs={runs}", "--set=epochs=8"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for_second_run(runs, first)
    finally:
        first.kill()
        first.communicate()
    finished = {run.id: run.folder.read("status.json") for run in find_runs(runs, "lora") if run.state() == "finished"}
    assert len(finished) == 1

    plan = subprocess.run([*command, "--plan"], capture_output=True, text=True, check=True).stdout
    assert "1 of 2 runs to do" in plan
    second = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "2 of 2 rows have numbers" in second.stdout
    assert "clibd-results table 19" in second.stdout
    assert "0/1 finished" in second.stderr
    for run in find_runs(runs, "lora"):
        if run.id in finished:
            assert run.folder.read("status.json") == finished[run.id]
        epochs = [event["epoch"] for event in run.events() if event["event"] == "epoch"]
        assert epochs == list(range(run.spec().epochs))


def _wait_for_second_run(runs: Folder, driver: subprocess.Popen[str]) -> None:
    """Wait until one run is finished and the other has trained a few epochs."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[1]
        found = find_runs(runs, "lora")
        states = [run.state() for run in found]
        open_runs = [run for run, state in zip(found, states, strict=True) if state == "missing"]
        if "finished" in states and open_runs and len(open_runs[0].events()) > 4:
            os.kill(driver.pid, signal.SIGKILL)
            return
        time.sleep(0.1)
    raise AssertionError("the second run never began")


def test_a_table_of_the_finished_runs_is_valid_json(tmp_path: Path) -> None:
    results = str(Path(sys.executable).with_name("clibd-results"))
    failed = subprocess.run(
        [results, "table", "20", "--runs", str(tmp_path), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert "clibd-sweep batch-size" in failed.stderr
    assert json.dumps(failed.stdout) == '""'
