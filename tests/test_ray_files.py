"""Where a local cluster of Ray keeps its files and its token."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.ray_files import ray_folder, token_of_local_clusters
from workloads.sockets import private_folder, sockets_fit


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_whose_path_is_too_long_is_not_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "scratch_of_a_batch_system" / "jobs_of_this_week"
    monkeypatch.setenv(name, str(wanted))
    said: list[str] = []
    places = ray_folder(said.append)
    assert len(places["_temp_dir"]) < 35
    assert places["object_spilling_directory"] == str(wanted)  # large things stay on the scratch disk
    assert mode(Path(places["_temp_dir"]).parent) == 0o700
    assert name in said[0]
    assert str(wanted) in said[0]


def test_processes_that_prepare_batches_talk_where_the_scratch_folder_has_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / ("a" * 100)
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sockets_fit()
    listing = "import multiprocessing.connection as c; print(c.Listener(family='AF_UNIX').address)"
    address = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout
    assert Path(address).parents[1] == private_folder() == Path(tempfile.gettempdir())


def test_a_folder_that_cannot_be_written_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")
    places = ray_folder(lambda _: None)
    assert places == {"_temp_dir": str(private_folder() / "ray")}


def test_a_folder_that_will_do_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert ray_folder(pytest.fail) == {}


def test_a_token_is_made_that_only_its_owner_reads_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    token_of_local_clusters()
    token = tmp_path / ".ray" / "auth_token"
    made = token.read_text()
    assert len(made) == 64
    assert mode(token) == 0o600
    token.chmod(0o644)  # as Ray leaves one
    token_of_local_clusters()
    assert (token.read_text(), mode(token)) == (made, 0o600)
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_a_home_that_cannot_be_written_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    token_of_local_clusters()
    token = private_folder() / "auth_token"
    assert mode(token) == 0o600
    assert mode(token.parent) == 0o700
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)


def test_who_wants_no_token_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    token_of_local_clusters()
    assert not (tmp_path / ".ray").exists()
