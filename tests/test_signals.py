"""Ctrl-C and SIGTERM through the programs as users start them: one sentence, the exit code, and nothing left behind."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.training.test_command import ROOT, command, environment, only_run, train_small
from tests.training.test_stopping import EPOCHS, PATIENCE, assert_all_gone, started
from workloads.data.prepared.dataset import PreparedDataset

CLIBD = str(Path(sys.executable).with_name("clibd"))
SIGNALS = pytest.mark.parametrize(
    ("number", "reason", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)


@dataclass
class End:
    """How a program ended that was sent a signal."""

    code: int
    said: str
    """On stderr since the signal."""
    seconds: float


def ended(words: Sequence[str], number: signal.Signals, when: str | float, folder: Path, then: float = 0) -> End:
    """Start a program in a session of its own, as a terminal does, and signal all of it.

    Args:
        words: the command.
        number: the signal.
        when: after so many seconds, or as soon as stderr holds this.
        folder: it is started in.
        then: seconds later.
    """
    process = subprocess.Popen(
        words,
        env=environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    if isinstance(when, str):
        while when not in (line := process.stderr.readline()):
            assert line, "it ended before"
    else:
        time.sleep(when)
    time.sleep(then)
    began = time.monotonic()
    os.killpg(process.pid, number)
    said = process.communicate(timeout=PATIENCE)[1]
    seconds = time.monotonic() - began
    assert_all_gone(process.pid)
    return End(process.returncode, said, seconds)


def assert_one_sentence(end: End, words: Sequence[str], reason: str, code: int) -> None:
    """The last line says how to go on, by a command that a shell takes for the very one."""
    assert end.code == code, end.said
    assert "Traceback" not in end.said
    assert "Aborted" not in end.said
    (line,) = (line for line in end.said.splitlines() if "start the same command again" in line)
    assert line.startswith(reason)
    assert end.said.rstrip().endswith(line)
    program, *given = shlex.split(line.rpartition(": ")[2])
    assert Path(program).name == "clibd"
    assert given == list(words[1:])


@SIGNALS
@pytest.mark.parametrize("when", [0.25, 0.6, 1.5])
def test_a_command_that_begins_is_ended_with_one_sentence(
    when: float, number: signal.Signals, reason: str, code: int, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    words = [CLIBD, "train", "align", "--data", str(tiny_dataset.folder), "--runs", str(tmp_path / "two words")]
    end = ended([*words, "--scale", "small", "--cpu", "--epochs", "500"], number, when, tmp_path)
    if end.code != -number:  # Python itself was not yet there to hear it
        assert_one_sentence(end, [*words, "--scale", "small", "--cpu", "--epochs", "500"], reason, code)


@SIGNALS
def test_an_import_is_ended_with_one_sentence_and_leaves_nothing(
    number: signal.Signals, reason: str, code: int, tmp_path: Path
) -> None:
    words = [CLIBD, "data", "import", "synthetic", "--specimens", "200000", "--to", "in/all of them.parquet"]
    end = ended(words, number, "Reading", tmp_path, then=0.7)
    assert_one_sentence(end, words, reason, code)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@SIGNALS
def test_measuring_is_ended_with_one_sentence_and_goes_on_from_the_checkpoint(
    number: signal.Signals, reason: str, code: int, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    words = [CLIBD, "train", *command(tiny_dataset, tmp_path, epochs=1)[3:]]
    end = ended(words, number, "embedding ", tmp_path)
    assert_one_sentence(end, words, reason, code)
    assert only_run(tmp_path).state() == "missing"
    assert only_run(tmp_path).folder.has("checkpoints/step-00000002/manifest.json")
    assert train_small(tiny_dataset, tmp_path, epochs=1).state() == "finished"
    assert not list(tmp_path.rglob("*.tmp"))


@SIGNALS
def test_an_evaluation_is_ended_with_one_sentence_and_the_same_command_ends_it(
    number: signal.Signals, reason: str, code: int, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = train_small(tiny_dataset, tmp_path, epochs=1)
    words = [CLIBD, "evaluate", str(run.folder), "--data", str(tiny_dataset.folder), "--cpu", "--out", "a new one"]
    end = ended(words, number, 3.0, tmp_path)
    if "Predictions and measurements" not in end.said:  # on a fast machine it was over
        assert_one_sentence(end, words, reason, code)
    assert not list(tmp_path.rglob("lease.json"))
    subprocess.run(words, cwd=tmp_path, env=environment(), check=True, capture_output=True)
    assert (tmp_path / "a new one" / "evaluation.json").is_file()


STANDS = """
import sys, time
from workloads import stopping
from workloads.command_line import run_program
stopping._GRACE = {grace}
def app():
    print("standing", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # as a library that does not let go
            pass
run_program(app)
"""


def at_a_terminal(program: str, talk: Callable[[int], None]) -> tuple[int, str]:
    """Run a program at a terminal of its own; what it left there, with its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", program], environment())
    said = b""
    while b"standing" not in said:
        said += os.read(terminal, 1000)
    talker = threading.Thread(target=talk, args=(terminal,))
    talker.start()
    with suppress(OSError):  # the terminal's end
        while some := os.read(terminal, 1000):
            said += some
    talker.join()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, said.decode()


def test_a_second_ctrl_c_ends_at_once_whatever_the_command_stands_in() -> None:
    pressed = list[float]()

    def press_twice(terminal: int) -> None:
        os.write(terminal, b"\x03")
        time.sleep(0.5)
        os.write(terminal, b"\x03")
        pressed.append(time.monotonic())

    code, said = at_a_terminal(STANDS.format(grace=60), press_twice)
    assert time.monotonic() - pressed[0] < 1
    assert (code, said.count("interrupted; start the same command again")) == (130, 1)


def test_what_does_not_let_go_is_ended_after_its_grace() -> None:
    code, said = at_a_terminal(STANDS.format(grace=0.3), lambda terminal: os.write(terminal, b"\x03") and None)
    assert (code, said.count("interrupted; start the same command again")) == (130, 1)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_signal_to_any_one_worker_of_torchrun_saves_and_ends_all(
    rank: str, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    process = started(tiny_dataset, tmp_path, processes=2)
    workers = {child.environ().get("RANK"): child for child in psutil.Process(process.pid).children()}
    workers[rank].send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1  # torchrun's own, whatever its workers' was
    assert said.count("terminated: saved after step") == 1
    again = shlex.split(said.partition("again to go on: ")[2].splitlines()[0])
    assert again[1:] == command(tiny_dataset, tmp_path, processes=2, epochs=EPOCHS)[1:]
    assert not psutil.wait_procs(workers.values(), timeout=10)[1]
    assert only_run(tmp_path).folder.folders() == ["checkpoints"]


def test_what_is_masked_in_logs_is_masked_in_the_sentence_too() -> None:
    program = "from workloads.stopping import go_on; print(go_on('interrupted'))"
    words = [sys.executable, "-c", program, "s3://KEY:SECRET@bucket/runs", "a b"]
    said = subprocess.run(words, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "SECRET" not in said
    assert said.endswith("s3://…@bucket/runs' 'a b'\n")
