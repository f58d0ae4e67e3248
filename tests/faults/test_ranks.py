"""Two workers under torchrun, and two writers of one run: one is killed, stands still, or cannot write."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.scenes import Scene, content
from tests.faults.stage import Stage

_ROOT = Path(__file__).parents[2]
_EPOCHS = 20
_TRAIN = f"image-dna --data data --runs runs --scale small --seed 3 --cpu --batch-size 16 --epochs {_EPOCHS}".split()
_LONGEST = 60.0
"""Seconds after which all are gone, also of a group of which one stands still."""
FAULTS = ("worker killed", "launcher killed", "full disk of the first worker", "worker stopped")


def _start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(workers), "--standalone"] if workers > 1 else []
    settings = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "CLIBD_CACHE": str(folder.parent / "cache")}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "workloads.training", *_TRAIN],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "said").open("ab"),
        start_new_session=True,
    )


def _group(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder: torchrun gives each of its workers a session of its own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _workers(folder: Path) -> list[psutil.Process]:
    """Those that torchrun started, the first worker first; not what these have started."""
    ranks = {process: process.environ().get("RANK") for process in _group(folder)}
    own = [process for process, rank in ranks.items() if rank and not ranks.get(process.parent())]
    return sorted(own, key=lambda process: str(ranks[process]))


def _until_it_trains(folder: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 180
    while not list(folder.glob("runs/train/*/events.jsonl")):
        assert process.poll() is None, (folder / "said").read_text()
        assert time.monotonic() < end
        time.sleep(0.05)


def _gone(folder: Path, which: str, within: float) -> None:
    end = time.monotonic() + within
    while (left := _group(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    try:
        LEDGER.keep("hangs", not left, f"{which}: {len(left)} processes after {within:g} s")
    finally:
        for process in left:
            process.kill()


def _inflict(fault: str, launcher: int, folder: Path, chance: random.Random) -> None:
    if fault == "launcher killed":
        os.kill(launcher, signal.SIGKILL)
        return
    workers = _workers(folder)
    if fault == "worker killed":
        chance.choice(workers).kill()
    elif fault == "worker stopped":
        workers[-1].suspend()
    else:
        workers[0].rlimit(psutil.RLIMIT_FSIZE, (2000, 2000))


@pytest.fixture(scope="module")
def undisturbed(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str]]:
    """A scene with data, and what two workers leave that nobody disturbs."""
    scene = scenes["pictures"]
    folder = scene.set_up(tmp_path_factory.mktemp("ranks") / "work")
    process = _start(folder, 2)
    assert process.wait(300) == 0, (folder / "said").read_text()
    (folder / "said").unlink()
    return scene, content(folder)


@pytest.mark.parametrize(
    "fault",
    [*FAULTS[:3], pytest.param(FAULTS[3], marks=pytest.mark.skipif("MINUTES" not in os.environ, reason="long"))],
)
def test_two_workers_end_together_and_go_on_to_the_same_weights(
    fault: str, undisturbed: tuple[Scene, dict[str, str]], seeds: Seeds, tmp_path: Path
) -> None:
    scene, wanted = undisturbed
    for seed in seeds(1):
        chance, folder = random.Random(seed), scene.set_up(tmp_path / "work")
        process = _start(folder, 2)
        _until_it_trains(folder, process)
        time.sleep(chance.uniform(0, 1.5))
        if process.poll() is not None:
            continue  # it was faster
        _inflict(fault, process.pid, folder, chance)
        LEDGER.faults[f"torchrun: {fault}"] += 1
        which = f"torchrun, SEED={seed}, {fault}"
        _gone(folder, which, _LONGEST + 30 if fault == "worker stopped" else _LONGEST)
        process.wait(10)
        again = _start(folder, 2)
        code = again.wait(300)
        said = (folder / "said").read_text()
        (folder / "said").unlink()
        LEDGER.keep("tracebacks", code == 0, f"{which}, again: {code}, {said[-3000:]}")
        found = {name: value for name, value in content(folder).items() if not name.endswith(".tmp")}
        differ = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        LEDGER.keep("altered results", not differ, f"{which}: {differ}")


def test_of_two_writers_one_is_refused_and_takes_over_when_the_other_is_gone(
    scenes: dict[str, Scene], seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    scene = scenes["pictures"]
    words = ("clibd", "train", *_TRAIN)
    alone = Scene("alone", scene.before, words)
    folder = alone.set_up(tmp_path / "work")
    assert alone.run(stage, folder)["code"] == 0
    wanted = content(folder)
    for seed in seeds(1):
        folder = alone.set_up(tmp_path / "work")
        holder = _start(folder, 1)
        _until_it_trains(folder, holder)
        which = f"two writers, SEED={seed}"
        refused = alone.run(stage, folder)
        LEDGER.faults["two writers"] += 1
        if holder.poll() is None:
            LEDGER.keep("altered results", refused["code"] == 1, f"{which}: {refused['said'][-2000:]}")
            LEDGER.keep("tracebacks", "is written to by" in refused["said"], f"{which}: {refused['said'][-2000:]}")
        holder.kill()
        holder.wait()
        _gone(folder, which, 10)
        again = alone.run(stage, folder)
        (folder / "said").unlink()
        LEDGER.keep("tracebacks", again["code"] == 0, f"{which}, again: {again['said'][-2000:]}")
        found = {name: value for name, value in content(folder).items() if not name.endswith(".tmp")}
        differ = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        LEDGER.keep("altered results", not differ, f"{which}: {differ}")
