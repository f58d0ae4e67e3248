"""Two workers under torchrun, and two writers of one run: one is killed, fails, stands still, or cannot write."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
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
_INFLICTED = ("worker killed", "launcher killed", "full disk of the first worker")
_MET = {"the last worker's disk fails": "EIO", "the last worker stands still": "SIGSTOP"}
"""What a worker does by itself, as `a_worker` has it."""


@contextmanager
def _started(folder: Path, workers: int, met: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A training in a folder; whatever comes, no process stays there.

    Args:
        folder: it works there.
        workers: under torchrun, where there are several.
        met: what its last worker meets.
    """
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(workers), "--standalone"] if workers > 1 else []
    settings = {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1", "CLIBD_CACHE": str(folder.parent / "cache")}
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "tests.faults.a_worker" if met else "workloads.training", *_TRAIN],
            cwd=folder,
            env={**os.environ, **settings, "FAULT": met, "PATIENCE": "5"},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for left in _group(folder):
            with suppress(psutil.Error):
                left.kill()


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


def _until(true: Callable[[], bool], within: float) -> None:
    end = time.monotonic() + within
    while not true() and time.monotonic() < end:
        time.sleep(0.1)


def _until_it_trains(folder: Path, process: subprocess.Popen[bytes]) -> None:
    _until(lambda: _trains(folder) or process.poll() is not None, 180)
    assert _trains(folder), (folder / "said").read_text()


def _trains(folder: Path) -> bool:
    return any(folder.glob("runs/train/*/events.jsonl"))


def _gone(folder: Path, which: str, within: float) -> None:
    _until(lambda: not _group(folder), within)
    left = _group(folder)
    LEDGER.keep("hangs", not left, f"{which}: {len(left)} processes after {within:g} s")


def _inflict(fault: str, launcher: int, folder: Path, chance: random.Random) -> None:
    if fault == "launcher killed":
        os.kill(launcher, signal.SIGKILL)
    elif fault == "worker killed":
        chance.choice(_workers(folder)).kill()
    else:
        _workers(folder)[0].rlimit(psutil.RLIMIT_FSIZE, (2000, 2000))


def _as_undisturbed(folder: Path, wanted: dict[str, str], which: str) -> None:
    (folder / "said").unlink()
    found = {name: value for name, value in content(folder).items() if not name.endswith(".tmp")}
    differ = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
    LEDGER.keep("altered results", not differ, f"{which}: {differ}")


@pytest.fixture(scope="module")
def undisturbed(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, dict[str, str]]:
    """A scene with data, and what two workers leave that nobody disturbs."""
    scene = scenes["pictures"]
    folder = scene.set_up(tmp_path_factory.mktemp("ranks") / "work")
    with _started(folder, 2) as process:
        assert process.wait(300) == 0, (folder / "said").read_text()
    (folder / "said").unlink()
    return scene, content(folder)


@pytest.mark.parametrize("fault", [*_INFLICTED, *_MET])
def test_two_workers_end_together_and_go_on_to_the_same_weights(
    fault: str, undisturbed: tuple[Scene, dict[str, str]], seeds: Seeds, tmp_path: Path
) -> None:
    scene, wanted = undisturbed
    for seed in seeds(1):
        chance, folder = random.Random(seed), scene.set_up(tmp_path / "work")
        which = f"torchrun, SEED={seed}, {fault}"
        with _started(folder, 2, _MET.get(fault, "")) as process:
            _until_it_trains(folder, process)
            if fault not in _MET:
                time.sleep(chance.uniform(0, 1.5))
                if process.poll() is not None:
                    continue  # it was faster
                _inflict(fault, process.pid, folder, chance)
            LEDGER.faults[f"torchrun: {fault}"] += 1
            _gone(folder, which, _LONGEST)
            LEDGER.keep("altered results", process.wait(10) != 0, f"{which}: its end is no failure")
        if fault in _MET:
            said = (folder / "said").read_text()
            words = "error: [Errno 5] Input/output error" if _MET[fault] == "EIO" else "error: worker 0 on "
            LEDGER.keep("tracebacks", words in said, f"{which}: {said[-3000:]}")
        with _started(folder, 2) as again:
            code = again.wait(300)
        LEDGER.keep("tracebacks", code == 0, f"{which}, again: {code}, {(folder / 'said').read_text()[-3000:]}")
        _as_undisturbed(folder, wanted, which)


def _is_refused(folder: Path) -> bool:
    return "is written to by" in (folder / "said").read_text()


def _has_failed(*processes: subprocess.Popen[bytes]) -> bool:
    return any(process.poll() for process in processes)


def test_of_two_launchers_one_is_refused_with_all_its_workers_and_the_other_is_not_disturbed(
    undisturbed: tuple[Scene, dict[str, str]], seeds: Seeds, tmp_path: Path
) -> None:
    scene, wanted = undisturbed
    for seed in seeds(1):
        folder, which = scene.set_up(tmp_path / "work"), f"two launchers, SEED={seed}"
        with _started(folder, 2) as one, _started(folder, 2) as other:
            _until(partial(_is_refused, folder), 120)
            LEDGER.faults["two launchers"] += 1
            _until(partial(_has_failed, one, other), _LONGEST)
            said = (folder / "said").read_text()
            LEDGER.keep("hangs", _has_failed(one, other), f"{which}: both go on, {said[-3000:]}")
            codes = sorted((one.wait(300), other.wait(300)))
            LEDGER.keep("altered results", codes == [0, 1], f"{which}: {codes}, {said[-3000:]}")
            _gone(folder, which, 10)
        _as_undisturbed(folder, wanted, which)


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
        folder, which = alone.set_up(tmp_path / "work"), f"two writers, SEED={seed}"
        with _started(folder, 1) as holder:
            _until_it_trains(folder, holder)
            refused = alone.run(stage, folder)
            LEDGER.faults["two writers"] += 1
            if holder.poll() is None:
                LEDGER.keep("altered results", refused["code"] == 1, f"{which}: {refused['said'][-2000:]}")
                LEDGER.keep("tracebacks", "is written to by" in refused["said"], f"{which}: {refused['said'][-2000:]}")
            holder.kill()
            holder.wait()
            _gone(folder, which, 10)
        again = alone.run(stage, folder)
        LEDGER.keep("tracebacks", again["code"] == 0, f"{which}, again: {again['said'][-2000:]}")
        _as_undisturbed(folder, wanted, which)
