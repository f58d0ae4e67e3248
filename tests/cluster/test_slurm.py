"""`clusters/slurm.sh`, where programs in the place of Slurm's start on this machine what belongs on a node."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import PATIENCE, ROOT, end_group, processes_of, until
from workloads.record import find_runs
from workloads.storage import Folder

PROGRAMS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do case $1 in --overlap) shift;; *) shift 2;; esac; done; exec "$@"',
    "scontrol": 'echo "$3" | tr , "\\n"',
    "hostname": "echo 127.0.0.1",  # all nodes are here
}


@pytest.fixture
def slurm(tmp_path: Path, ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a job is submitted in; two nodes of two processors are its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (programs / name).chmod(0o755)
    settings = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CLIBD_PYTHON": sys.executable,
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_NODELIST": "one,two",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_CPUS_ON_NODE": "2",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    until(lambda: not processes_of(ray_folder), "the job's processes end")


def submitted(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(ROOT / "clusters" / "slurm.sh"), "lora", "--scale=small", "--filter=full", "--workers=2", "--cpu", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_job_runs_a_sweep_on_its_nodes_and_leaves_nothing(slurm: Path, data: str, runs: str) -> None:
    job = submitted("--set=epochs=2", f"--data={data}", f"--runs={runs}")
    try:
        until(lambda: [*slurm.glob(".clibd-token-*")], "the job has a token", job)
        [token] = slurm.glob(".clibd-token-*")
        assert token.stat().st_mode & 0o777 == 0o600
        said, _ = job.communicate(timeout=PATIENCE)
    finally:
        end_group(job)
    assert job.returncode == 0, said
    assert {run.state() for run in find_runs(Folder(runs), "lora")} == {"finished"}
    assert [*slurm.glob(".clibd-token-*")] == []


def test_a_job_whose_time_ends_says_so_to_its_sweep_and_waits_for_it(slurm: Path, data: str, runs: str) -> None:
    job = submitted("--set=epochs=500", f"--data={data}", f"--runs={runs}")
    try:
        until(lambda: any(run.events() for run in find_runs(Folder(runs), "lora")), "the run trains", job)
        os.kill(job.pid, signal.SIGTERM)  # of the script alone, as `--signal=B:TERM@120` has it
        said, _ = job.communicate(timeout=PATIENCE)
    finally:
        end_group(job)
    assert job.returncode == 143, said
    assert {run.state() for run in find_runs(Folder(runs), "lora")} == {"missing"}  # so that the same job goes on
    assert [*slurm.glob(".clibd-token-*")] == []
