"""Ctrl-C in a sweep that trains: it saves, says how to go on, leaves no process, and what it says works."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.cluster.nodes import end_group, until
from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import find_runs
from workloads.storage import Folder

SWEEP = str(Path(sys.executable).with_name("clibd-sweep"))


@pytest.mark.ray
def test_ctrl_c_saves_says_how_to_go_on_and_what_it_says_goes_on(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    runs, data = tmp_path / "runs", str(tiny_dataset.folder)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as ray:
        environment = {**os.environ, "RAY_TMPDIR": ray, "PYTHONPATH": str(Path(__file__).parents[2])}
        scratch = Path(ray) / "scratch"  # of a short path, which sockets of the dashboard's processes need
        environment |= {"TMPDIR": str(scratch)}
        scratch.mkdir()
        # Its label and folder have what a shell would take for its own.
        command = [SWEEP, "lora", "--scale=small", f"--data={data}", f"--runs={runs} it's", "--filter=full", "--cpu"]
        program = subprocess.Popen(
            [*command, "--set=epochs=40"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            until(
                lambda: [r for r in find_runs(Folder(f"{runs} it's"), "lora") if len(r.events()) > 6], "epochs", program
            )
            children = psutil.Process(program.pid).children(recursive=True)
            os.killpg(program.pid, signal.SIGINT)  # as a terminal does
            out, said = program.communicate(timeout=120)
        finally:
            end_group(program)
        assert program.returncode == 130, said
        assert out == ""
        assert "Traceback" not in said
        assert "***" not in said
        assert "interrupted. 0 of 1 finished." in said
        until(lambda: not [child for child in children if _lives(child)], "the end of the children")
        assert not list(scratch.glob("clibd-*"))

        (step,) = map(int, re.findall(r"Saved: full, at step (\d+)\.", said))
        assert step > 0
        (words,) = re.findall(r"To go on: (.*)", said)
        again = subprocess.run(["sh", "-c", words], env=environment, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        assert "0/1 finished" in again.stderr
        assert "rows have numbers" in again.stdout
        assert "clibd-results table 19" in again.stdout
    (run,) = find_runs(Folder(f"{runs} it's"), "lora")
    assert run.state() == "finished"
    assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == list(range(40))
    assert shlex.split(words)[1:] == [*command[1:], "--set=epochs=40"]


SESSION = """
import atexit, os, time
from orchestrator.session import ray_session
with ray_session(None, dashboard=False):
    import ray
    @ray.remote(num_cpus=0)
    class Actor:
        def number(self):
            return os.getpid()
        def end(self):
            atexit.register(time.sleep, 600)
            ray.actor.exit_actor()
    actor = Actor.remote()
    print(ray.get(actor.number.remote()), flush=True)
    actor.end.remote()
    time.sleep(2)
"""


def test_a_process_of_ray_that_stands_still_in_its_own_end_does_not_outlive_the_session() -> None:
    session = subprocess.run([sys.executable, "-c", SESSION], stdout=subprocess.PIPE, text=True, check=True)
    worker = int(session.stdout)
    assert not (psutil.pid_exists(worker) and _lives(psutil.Process(worker)))


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
