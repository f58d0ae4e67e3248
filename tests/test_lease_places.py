"""Leases where many look for them: races for one, buckets by any address and keys, and all commands that write."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from tests.test_lease import another
from workloads import lease, object_store
from workloads.lease import LEASE, Lease, held, read_lease
from workloads.storage import Folder

NUM_RACES = 100


def race(address: str, number: int, barrier: Any, won: Any) -> None:
    """Try for the leases of some folders, all at once with another process, which has the same chance."""
    lease.BEAT, lease.LOOK = 5.0, 0.02
    for which in range(number):
        folder = Folder(f"{address}/{which}")
        mine = Lease(folder, f"{os.getpid()}")
        found = read_lease(folder)
        barrier.wait()
        if mine.take(found):
            won.put(which)
        barrier.wait()


@pytest.mark.parametrize("left_behind", [False, True], ids=["nobody has", "somebody abandoned"])
def test_of_two_processes_that_want_a_lease_that_nobody_has_or_somebody_abandoned_one_gets_it(
    left_behind: bool, tmp_path: Path
) -> None:
    _race(str(tmp_path), left_behind, NUM_RACES)


@pytest.mark.parametrize("left_behind", [False, True], ids=["nobody has", "somebody abandoned"])
def test_of_two_processes_that_want_a_lease_in_an_object_store_one_gets_it(
    left_behind: bool, bucket: str, tmp_path: Path
) -> None:
    _race(f"{bucket}/{tmp_path.name}-{left_behind}", left_behind, NUM_RACES)


def _race(address: str, left_behind: bool, number: int) -> None:
    if left_behind:
        for which in range(number):
            another(Folder(f"{address}/{which}"))
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(address, number, barrier, won)) for _ in range(2)]
    for racer in racers:
        racer.start()
    winners = [won.get(timeout=120) for _ in range(number)]
    for racer in racers:
        racer.join(60)
    assert sorted(winners) == list(range(number))
    assert won.empty()
    assert [racer.exitcode for racer in racers] == [0, 0]


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"), held(Folder(tmp_path / "file" / "run")):
        pass


def test_a_bucket_that_is_not_there_says_so(bucket: str) -> None:
    with pytest.raises(OSError, match=r"s3://gone/run/lease\.json"), held(Folder("s3://gone/run")):
        pass


def test_settings_may_stand_in_the_address(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    folder = Folder(f"{bucket}/{tmp_path.name}?endpoint_override={endpoint}&scheme=http&region=us-east-1") / "run"
    with held(folder):
        assert folder.files() == [LEASE]
        assert folder.parent.folders() == ["run"]


def test_keys_may_stand_in_the_users_files(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    credentials = tmp_path / "credentials"
    credentials.write_text("[insects]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "insects")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    object_store._opened.cache_clear()
    folder = Folder(f"{bucket}/{tmp_path.name}/run")
    with held(folder):
        assert read_lease(folder) is not None
    object_store._opened.cache_clear()


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN"),
        ("evaluate", "RUN", "--data", "data"),
        ("evaluate", "RUN", "--data", "data", "--out", "RUN/evaluation-data"),
        ("open-set", "RUN"),
        ("open-set", "RUN/evaluation-data"),
        ("attention", "RUN", "--data", "data"),
        ("bzsl", "INSECT", "--out", "RUN/bzsl"),
        ("convert", "best.pth", "--to", "RUN"),
    ],
    ids=" ".join,
)
def test_every_command_that_writes_into_a_run_refuses_while_another_does(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from commands.clibd import app
    from workloads.command_line import run_command

    run = Folder(tmp_path / "runs" / "train" / "a-run")
    run.write_json("spec.json", {})
    another(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["clibd", *(word.replace("RUN", run.path) for word in words)])
    with pytest.raises(SystemExit) as end:
        run_command(app)
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (1, "")
    assert f"error: {run} is written to by `clibd train`" in said.err
    assert sorted(run.files()) == ["lease.json", "spec.json"]
