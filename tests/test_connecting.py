"""An address at which there is no cluster that can be used; each refusal comes at once, and says what to do."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.connecting import _check_versions, checked
from workloads.run_errors import ClusterError, ClusterVersionError


@pytest.fixture
def dashboard() -> Iterator[str]:
    """Something that speaks HTTP, as Ray's dashboard does."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:8265", "of the dashboard"),
        ("ray://127.0.0.1:10001", "of Ray's client"),
        ("head", "no address"),
        ("head:port", "no address"),
        ("nowhere.invalid:6379", "no Ray cluster answers there"),
    ],
)
def test_an_address_of_no_cluster_is_refused_with_its_reason(address: str, reason: str) -> None:
    with pytest.raises(ClusterError, match=reason) as refused:
        checked(address)
    assert address in str(refused.value)


def test_a_port_at_which_nothing_listens_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match=r"refused.*ray up cluster\.yaml"):
            checked(address)


def test_auto_without_a_cluster_names_the_file_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ClusterError, match="ray_current_cluster"):
        checked("auto")


def test_auto_is_the_address_of_the_environment_or_of_the_last_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("noted.invalid:6379")
    monkeypatch.setenv("RAY_ADDRESS", "given.invalid:6379")
    with pytest.raises(ClusterError, match=r"given\.invalid"):
        checked("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(ClusterError, match=r"noted\.invalid"):
        checked("auto")


def test_another_ray_or_python_is_named() -> None:
    import platform

    import ray

    same = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    _check_versions("head:6379", same)
    _check_versions("head:6379", {})
    with pytest.raises(ClusterVersionError, match=r"it runs Ray 2\.1\.0, here it is"):
        _check_versions("head:6379", {**same, "ray_version": "2.1.0"})
    with pytest.raises(ClusterVersionError, match=r"it runs Python 3\.8\.1, here it is"):
        _check_versions("head:6379", {**same, "python_version": "3.8.1"})


def test_a_command_at_a_dashboards_port_ends_with_one_sentence(dashboard: str, tmp_path: Path) -> None:
    table = json.dumps(str(tmp_path))  # never looked at: the cluster comes first
    command = f"from orchestrator.session import ray_session\nfrom workloads.command_line import run_command\n{table}\n"
    command += f"def app():\n    with ray_session({dashboard!r}): pass\nrun_command(app)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the Ray cluster at {dashboard}: something answers there")
    assert done.stderr.count("\n") == 1
