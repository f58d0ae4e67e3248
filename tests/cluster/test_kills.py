"""Kills by the score: of drivers and workers, and Ctrl-C, at moments drawn by chance; and what is left after each."""

import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.cluster.nodes import Nodes, processes_of, title, until
from workloads.record import find_runs
from workloads.storage import Folder

EPOCHS = 6
LONGEST = 12.0
"""Seconds after the start of a program within which it is killed: from its imports to its epochs."""
WAYS = ("driver", "Ctrl-C", "worker")
SWEEP = ("clibd-sweep", "lora", "--scale=small", f"--set=epochs={EPOCHS}", "--workers=2", "--cpu")


def busy(folder: Path) -> list[psutil.Process]:
    """Processes of Ray that do somebody's work: of those that wait for any, and of its own, Ray keeps a few."""
    named = {process: title(process) for process in processes_of(folder)}
    own = ("ray::IDLE", "ray::_", "ray::SPILL", "ray::RESTORE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
    return [process for process, name in named.items() if name.startswith("ray::") and not name.startswith(own)]


def kill_a_worker(nodes: Nodes, chance: random.Random) -> None:
    """The one that trains, if there is one by now."""
    if workers := [process for process in busy(nodes.folder) if "TrainWorker" in title(process)]:
        with suppress(psutil.Error):
            chance.choice(workers).kill()


@pytest.mark.parametrize(
    "num_kills",
    [pytest.param(20, id="some"), pytest.param(200, id="many", marks=pytest.mark.soak)],
)
def test_kills_leave_nothing_on_the_cluster(num_kills: int, nodes: Nodes, data: str, runs: str) -> None:
    nodes.add(num_cpus=4)
    words = (*SWEEP, f"--data={data}", f"--runs={runs}")
    chance = random.Random(13)
    for number in range(num_kills):
        program = nodes.start(*words)
        time.sleep(chance.uniform(0, LONGEST))
        way = WAYS[number % len(WAYS)]
        if way == "worker":
            kill_a_worker(nodes, chance)
            time.sleep(chance.uniform(0, 5))
        program.send_signal(signal.SIGINT if way == "Ctrl-C" else signal.SIGKILL)
        program.communicate(timeout=120)
        said = f"after kill {number} ({way})"
        until(lambda: nodes.placement_groups() == [], f"{said}: no placement group")
        until(lambda: not busy(nodes.folder), f"{said}: nobody works")

    finished = nodes.run(*words)

    assert finished.returncode == 0, finished.stderr
    assert "2 of 2 rows have numbers" in finished.stdout
    for run in find_runs(Folder(runs), "lora"):
        assert run.state() == "finished"
        assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == [*range(EPOCHS)]
    assert [*(nodes.folder / "tmp").glob("clibd-*")] == []
