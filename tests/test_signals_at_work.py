"""SIGTERM in the middle of a file, for commands that are no trainings: one sentence, 143, and no part of a file."""

import os
import pty
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest
import torch

from commands.bzsl import bzsl
from commands.convert import convert
from commands.open_set import open_set
from tests.bzsl.conftest import write_small_insect
from tests.data.download.conftest import _package as package
from tests.data.download.conftest import _sends as sends
from tests.data.download.conftest import _serving as serving
from tests.evaluation.open_set_cases import specimens
from tests.models.test_conversion_pretrained import vision_transformer
from tests.test_signals import CLIBD, assert_one_sentence, ended
from tests.training.test_command import command, environment, only_run
from tests.training.test_stopping import PATIENCE, assert_all_gone
from workloads.command_line import run_command
from workloads.data.packages.download import download
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.measure import write_evaluation
from workloads.evaluation.stored import EmbeddingFacts, write_embedded
from workloads.stopping import ended_by_signals
from workloads.storage import Folder
from workloads.weight_store import fetch_weights, push_weights

Stop = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stop:
    """Does a piece of work as a command, and sends this process SIGTERM while it writes the file of a name."""

    def stop(name: str, work: Callable[[], object]) -> None:
        struck: list[Path] = []
        as_it_is = Folder.aside

        @contextmanager
        def aside(self: Folder, written: str, wanted: int | None = None) -> Iterator[str]:
            with as_it_is(self, written, wanted) as path:
                if written.endswith(name) and not struck:
                    Path(path).write_bytes(b"half of it")
                    struck.append(Path(self.path, written))
                    os.kill(os.getpid(), signal.SIGTERM)
                yield path

        monkeypatch.setattr(Folder, "aside", aside)
        monkeypatch.setattr("sys.argv", ["clibd", "work", "of mine"])
        with pytest.raises(SystemExit) as end:
            run_command(work)
        monkeypatch.setattr(Folder, "aside", as_it_is)
        assert end.value.code == 143
        said = capsys.readouterr().err
        assert said.endswith("terminated; start the same command again to go on from here: clibd work 'of mine'\n")
        assert said.count("start the same command again") == 1
        assert len(struck) == 1
        assert not struck[0].exists()
        assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp") or path.name == "lease.json"]

    return stop


def test_a_conversion(stopped: Stop, tmp_path: Path) -> None:
    file = tmp_path / "last.pth"
    torch.save(vision_transformer(5).state_dict(), file)
    stopped("model.safetensors", lambda: convert(str(file), str(tmp_path / "to"), head_width=64))
    convert(str(file), str(tmp_path / "to"), head_width=64)
    assert (tmp_path / "to" / "model.safetensors").is_file()


def test_weights_that_are_pushed_and_fetched(stopped: Stop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    file, store = tmp_path / "model.safetensors", Folder(tmp_path / "store")
    file.write_bytes(b"0" * 10_000)
    stopped(file.name, lambda: push_weights("owner/small", {file.name: file}, store))
    assert fetch_weights("owner/small", store) is None  # it is not there before its manifest is
    push_weights("owner/small", {file.name: file}, store)
    stopped(file.name, lambda: fetch_weights("owner/small", store))
    kept = fetch_weights("owner/small", store)
    assert kept is not None
    assert (kept / file.name).read_bytes() == file.read_bytes()


def test_open_set_recognition(stopped: Stop, tmp_path: Path) -> None:
    evaluated = Folder(tmp_path / "run")
    about = {"dataset": "insects", "data_fingerprint": "0"}
    facts = EmbeddingFacts(
        model="run", weights="0", data_content="0", modalities=("image", "dna"), precision="fp32", **about
    )
    parts = {"val": specimens("val", 1), "test": specimens("test", 2), "keys": specimens("key", 3)}
    write_embedded(evaluated, facts, parts)
    said = {**about, "model": "CLIBD", "synthetic": True, "recipe": "corrected", "aligned": ["image", "dna"]}
    write_evaluation(evaluated, said, [])
    stopped("open_set_specimens.parquet", partial(open_set, str(evaluated)))
    assert not evaluated.has("open_set.json")
    open_set(str(evaluated))
    assert evaluated.has("open_set.json")


def test_zero_shot_learning(stopped: Stop, tmp_path: Path) -> None:
    write_small_insect(tmp_path / "insect")
    out = tmp_path / "out"
    work = partial(bzsl, str(tmp_path / "insect"), out=str(out), recipe="paper", pca=6)
    stopped("bzsl_predictions.parquet", work)
    assert not (out / "bzsl.json").exists()
    work()
    assert (out / "bzsl.json").is_file()


def test_a_download_keeps_its_part_under_another_name_and_goes_on(tmp_path: Path) -> None:
    def half_and_a_signal(handler: BaseHTTPRequestHandler) -> None:
        sends(stop_after=1_000_000)(handler)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)

    with serving(half_and_a_signal, sends()) as server:
        with pytest.raises(SystemExit) as end, ended_by_signals():
            download(package(server), tmp_path)
        assert end.value.code == 143
        assert not (tmp_path / "insects.zip").exists()
        assert download(package(server), tmp_path).path.stat().st_size == 3_000_000
    assert server.ranges[-1] == "bytes=1000000-"


# --- A terminal that closes ---------------------------------------------------------------------------------------


def test_a_hang_up_ends_a_command_with_one_sentence(tmp_path: Path) -> None:
    words = [CLIBD, "data", "import", "synthetic", "--specimens", "200000", "--to", "all.parquet"]
    end = ended(words, signal.SIGHUP, "Reading", tmp_path, then=0.5)
    assert_one_sentence(end, words, "disconnected", 129)
    assert not list(tmp_path.iterdir())


def test_a_training_whose_terminal_closes_is_saved(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    words = command(tiny_dataset, tmp_path, epochs=500)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, environment())
    until = time.monotonic() + PATIENCE
    reader = Thread(target=_drain, args=(terminal,), daemon=True)
    reader.start()
    try:
        while not list(tmp_path.glob("train/*/checkpoints/*/manifest.json")):
            assert time.monotonic() < until, shlex.join(words)
            time.sleep(0.05)
        os.close(terminal)  # the kernel sends SIGHUP, and what is written to the terminal is an error
        assert _code_of(pid) == 129
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    assert_all_gone(pid)
    run = only_run(tmp_path)
    assert run.state() == "missing"
    assert not list(tmp_path.rglob("*.tmp"))


def _code_of(pid: int) -> int | None:
    """The exit code of a child that is to end; None of one that does not."""
    until = time.monotonic() + PATIENCE
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > until:
            return None
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


def _drain(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 1000):
            pass


def test_what_is_started_under_nohup_outlives_the_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
