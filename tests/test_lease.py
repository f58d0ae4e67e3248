"""Who writes into a run: one process at a time, on disks and in object stores, whatever dies, whatever clocks say."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads import lease
from workloads.command_line import progress_words
from workloads.errors import MissingPathError
from workloads.lease import LEASE, Lease, held, read_lease
from workloads.leftovers import machine
from workloads.record import RunFolder
from workloads.run_errors import LeaseLostError, RunBusyError
from workloads.storage import Folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths, so that nobody waits for a minute."""
    for name, seconds in {"BEAT": 0.2, "ABANDONED": 2.0, "LOOK": 0.1}.items():
        monkeypatch.setattr(lease, name, seconds)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is abandoned in the time that a busy machine takes."""
    monkeypatch.setattr(lease, "ABANDONED", 600.0)


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A run folder that is not there yet, on a disk and in an object store."""
    if request.param == "disk":
        return Folder(tmp_path / "train" / "run")
    return Folder(f"{request.getfixturevalue('bucket')}/{tmp_path.name}/run")


def another(folder: Folder, **changes: Any) -> Lease:
    """A lease of which nobody takes care: that of another process on another machine, which is gone or stands still."""
    left = Lease(folder, "another")
    left._said = replace(
        left._said, **{"machine": "elsewhere", "host": "elsewhere", "command": "clibd train", **changes}
    )
    left._beat_on = lambda: None  # type: ignore[method-assign]
    left._thread = threading.Thread(target=left._beat_on)
    assert left.take(None)
    return left


def beating(left: Lease) -> Callable[[], None]:
    """Beat for another process, until the function is called that comes back."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.2):
            left._beat()

    thread = threading.Thread(target=beat)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()

    return end


def age(folder: Folder, seconds: float, modified: float = 0.0) -> None:
    """Put a lease's beat so far into the past, or with a negative number into the future."""
    said = json.loads(folder.read(LEASE))
    folder.write(LEASE, json.dumps({**said, "beaten": time.time() - seconds}).encode())
    if folder.is_local:
        os.utime(f"{folder.path}/{LEASE}", (time.time() - modified,) * 2)


@contextmanager
def _lost() -> Iterator[None]:
    """At the end of what is done within, the lease turns out to be lost."""
    error = None
    try:
        yield
    except LeaseLostError as lost:
        error = lost
    assert error is not None


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(folder: Folder) -> None:
    with held(folder) as mine:
        mine.tell(state="training", epoch=3, epochs=15, specimens_per_second=812.4, seconds_left=300)
        time.sleep(0.6)
        found = read_lease(folder)
        assert found is not None
        assert found.holder.pid == os.getpid()
        assert found.holder.beat >= 1
        assert abs(found.silence(time.time())) < 60
        assert progress_words(found.holder.facts) == "training, epoch 3 of 15, 812 specimens/s, about 5:00 left"
        mine.tell(seconds_left=None, epoch=None)
        time.sleep(0.6)
        found = read_lease(folder)
        assert found is not None
        assert found.holder.facts == {"state": "training", "epochs": 15, "specimens_per_second": 812.4}
    assert read_lease(folder) is None
    assert folder.files() == []


def test_a_lease_goes_on_errors_and_interrupts_too_and_leaves_no_folder(tmp_path: Path) -> None:
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), held(Folder(tmp_path / "runs" / "train" / "run")):
            raise error
        assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder_and_no_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "epoch_3.pt").write_bytes(b"weights")
    with pytest.raises(MissingPathError, match="It is a file"), held(Folder(tmp_path / "epoch_3.pt")):
        pass
    assert (tmp_path / "epoch_3.pt").read_bytes() == b"weights"


def test_within_a_lease_it_is_held_already(folder: Folder) -> None:
    with held(folder) as outer, held(Folder(str(folder))) as inner:
        assert inner is outer
    assert read_lease(folder) is None


@pytest.mark.usefixtures("_patient")
def test_a_second_command_refuses_and_says_who_and_what_to_do(folder: Folder) -> None:
    another(folder)
    with pytest.raises(RunBusyError) as refused, held(folder):
        pass
    message = str(refused.value)
    assert f"{folder} is written to by `clibd train` (process {os.getpid()} on elsewhere) since 20" in message
    assert "--busy wait" in message
    assert message.endswith(f"clibd-sweep status --runs {folder.parent.parent}")
    found = read_lease(folder)
    assert found is not None
    assert found.holder.owner == "another"


@pytest.mark.usefixtures("_patient")
def test_a_lease_whose_process_is_gone_is_taken_over_at_once(folder: Folder) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    another(folder, machine=machine(), pid=int(gone.stdout))
    with held(folder) as mine:
        assert not mine.lost.is_set()


@pytest.mark.usefixtures("_patient")
def test_the_same_number_on_another_machine_or_after_a_boot_is_not_the_same_process(folder: Folder) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for elsewhere in (None, "another boot"):
        another(folder, machine=elsewhere, pid=int(gone.stdout))
        with pytest.raises(RunBusyError), held(folder):
            pass
        folder.remove(LEASE)


def test_the_same_owner_takes_its_own_lease_at_once(folder: Folder) -> None:
    first = another(folder)
    with held(folder, owner="another"):
        first._beat()
        with pytest.raises(LeaseLostError, match=r"has taken the run over"):
            first.check()


@pytest.mark.parametrize("skew", [0.0, 86400.0, -86400.0, 300.0])
def test_a_lease_that_beats_is_never_taken_whatever_its_clock_says(skew: float, folder: Folder) -> None:
    left = another(folder)
    clock = time.time

    class Skewed:
        """A clock that is wrong."""

        time = staticmethod(lambda: clock() - skew)

    told = list[str]()
    end = beating(left)
    patch = pytest.MonkeyPatch()
    patch.setattr("workloads.lease.time.time", Skewed.time)
    try:
        for busy in ("refuse", "wait"):
            attempt = threading.Thread(target=_try_for, args=(folder, busy, told), daemon=True)
            attempt.start()
            attempt.join(4)
        left.check()
        assert told == ["refused"]
    finally:
        patch.undo()
        end()
        left.end()
        attempt.join(10)
    assert told == ["refused", "held"]


def _try_for(folder: Folder, busy: Any, told: list[str]) -> None:
    try:
        with held(folder, busy, waiting=lambda found: None):
            told.append("held")
    except RunBusyError:
        told.append("refused")


def test_a_lease_that_stands_still_is_taken_over_whatever_its_clock_says(folder: Folder) -> None:
    another(folder)
    for seconds in (-86400.0, 0.0):
        age(folder, seconds)
        told = list[Any]()
        with held(folder, "wait", waiting=told.append):
            assert told
        another(folder)


def test_a_command_that_refuses_watches_a_lease_that_seems_to_stand_still(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    left = another(folder)
    age(folder, 30, modified=30)
    told = list[Any]()
    with held(folder, waiting=told.append):
        assert told
    left.lost.set()


def test_a_file_that_is_no_lease_stands_in_nobodys_way_for_long(folder: Folder) -> None:
    for content in (b"", b"[]", b'{"owner": 1'):
        folder.write(LEASE, content)
        with held(folder, "wait", waiting=lambda found: None):
            assert read_lease(folder) is not None


def test_a_holder_that_slept_too_long_writes_no_more(folder: Folder) -> None:
    with _lost(), held(folder) as sleeper:
        sleeper._ended.set()  # it sleeps
        sleeper._due.set()
        sleeper._thread.join()
        another_lease = Lease(folder, "taker")
        found = read_lease(folder)
        assert found is not None
        assert another_lease.take(found)
        assert not sleeper.lost.is_set()
        sleeper._heard -= lease.ABANDONED
        sleeper._tried -= lease.ABANDONED
        with pytest.raises(LeaseLostError) as lost:
            sleeper.tell(epoch=4)
        assert f"process {os.getpid()} on" in str(lost.value)
    found = read_lease(folder)
    assert found is not None
    assert found.holder.owner == "taker"  # which the end of the other has left alone
    another_lease.end()
    assert read_lease(folder) is None


def test_a_run_that_was_lost_gets_no_status_by_it(tmp_path: Path) -> None:
    run = RunFolder(Folder(tmp_path / "run"))
    with pytest.raises(LeaseLostError), run.ending(Exception):
        raise LeaseLostError(str(run.folder), "another")
    assert run.state() == "missing"


def test_a_lease_that_somebody_removed_is_lost(folder: Folder) -> None:
    with _lost(), held(folder) as mine:
        folder.remove(LEASE)
        assert mine.lost.wait(10)


def test_a_store_that_does_not_answer_for_a_while_ends_no_run(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(content: bytes, version: Any) -> Any:
        raise OSError(errno.EIO, "no route to the store")

    with held(folder) as mine:
        file = mine._file
        before = file.replace
        file.replace = unreachable  # type: ignore[method-assign]
        time.sleep(0.7)
        mine.tell(state="training")
        beats = mine._beats
        file.replace = before  # type: ignore[method-assign]
        time.sleep(0.7)
        mine.check()
        found = read_lease(folder)
        assert found is not None
        assert found.holder.beat > beats
    assert read_lease(folder) is None


def test_a_write_that_arrived_although_its_answer_was_lost_is_no_loss(folder: Folder) -> None:
    with held(folder) as mine:
        file, before = mine._file, mine._file.replace

        def lost_answer(content: bytes, version: Any) -> None:
            before(content, version)

        file.replace = lost_answer  # type: ignore[method-assign]
        time.sleep(0.7)
        file.replace = before  # type: ignore[method-assign]
        time.sleep(0.5)
        mine.check()


@pytest.mark.usefixtures("_patient")
def test_a_process_that_is_killed_is_followed_by_the_next_one_at_once(folder: Folder) -> None:
    code = (
        "import sys, time\nfrom workloads.lease import held\nfrom workloads.storage import Folder\n"
        "with held(Folder(sys.argv[1])) as lease:\n    lease.tell(state='training')\n    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RunBusyError), held(folder):
        pass
    process.kill()
    process.wait()
    with held(folder):
        pass
