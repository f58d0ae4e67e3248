"""Sweeps on several nodes whose drivers are lost, and two commands that make the same sweep."""

import signal
from pathlib import Path

import psutil

from tests.cluster.nodes import PATIENCE, Nodes, processes_of, title, until
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

LORA = ("clibd-sweep", "lora", "--scale=small", "--cpu", "--workers=2")


def epochs(run: RunFolder) -> list[int]:
    return [event["epoch"] for event in run.events() if event["event"] == "epoch"]


def drivers(folder: Path) -> list[psutil.Process]:
    """The processes of trials."""
    return [process for process in processes_of(folder) if title(process).startswith("ray::ImplicitFunc")]


def test_a_driver_that_is_lost_three_times_loses_no_run(nodes: Nodes, data: str, runs: str) -> None:
    nodes.add(num_cpus=0)
    nodes.add(num_cpus=2)
    program = nodes.start(*LORA, "--filter=full", "--set=epochs=30", f"--data={data}", f"--runs={runs}")
    (run,) = until(lambda: find_runs(Folder(runs), "lora"), "a run", program)
    before = 0
    for _ in range(3):
        until(lambda before=before: len(epochs(run)) > before + 2, "some epochs", program)
        (driver,) = drivers(nodes.folder)
        driver.send_signal(signal.SIGKILL)
        driver.wait(PATIENCE)
        before = len(epochs(run))
    _, said = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, said
    assert run.state() == "finished"
    assert epochs(run) == list(range(30))
    assert "tune" not in Folder(f"{runs}/lora").folders()


def test_two_commands_make_one_sweep_on_machines_that_come_late_and_no_run_is_trained_twice(
    nodes: Nodes, data: str, runs: str
) -> None:
    nodes.add(num_cpus=0)
    command = (*LORA, "--wait=30m", "--set=epochs=20", f"--data={data}", f"--runs={runs}")
    programs = [nodes.start(*command)]
    until(lambda: find_runs(Folder(runs), "lora"), "a run", programs[0])
    programs.append(nodes.start(*command))
    assert programs[1].stderr
    assert any("makes some of these runs" in line for line in programs[1].stderr)
    nodes.add(num_cpus=2)
    nodes.add(num_cpus=2)
    said = [program.communicate(timeout=PATIENCE)[1] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], said
    for run in find_runs(Folder(runs), "lora"):
        assert run.state() == "finished"
        assert epochs(run) == list(range(20))
        assert (run.folder / "attempts").files().count("001.json") == 1
        assert "002.json" not in (run.folder / "attempts").files()
