"""`clibd-dashboard`: what it says, what it refuses, and how it ends."""

import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner

from commands.clibd import app as clibd
from commands.dashboard import app
from commands.sweep_end import _export, _has_reader
from results.dashboard.page import Kind, Page
from tests.dashboard.serving import only
from workloads.command_line import stderr_console
from workloads.storage import Folder

STAND_IN = """#!{python}
import json, sys
json.dump(sys.argv[1:], open({told!r}, "w"))
sys.exit({code})
"""


@contextmanager
def started(*words: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the address that it says."""
    command = [sys.executable, "-c", "import commands.dashboard as it; it.main()", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def asked(words: str, **headers: str) -> int:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", words)
    assert found, words
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
    connection.request("GET", "/", headers=headers)
    return connection.getresponse().status


def test_it_serves_until_ctrl_c_which_ends_in_a_sentence(tmp_path: Path) -> None:
    token = "a token of 16 and more"
    with started(str(tmp_path), "--port", "0", CLIBD_DASHBOARD_TOKEN=token) as (process, words):
        assert str(tmp_path) in words
        assert token not in words
        assert asked(words) == 401
        assert asked(words, Authorization=f"Bearer {token}") == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.startswith("interrupted; the dashboard has ended")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "CLIBD_DASHBOARD_TOKEN"),
        (["--host", "0.0.0.0", "--token", "short"], "16 characters"),
        (["--data", "nothing"], "clibd data prepare"),
        (["--cluster", "nothing.yaml"], "ray up"),
        (["--cluster", "x.yaml", "--host", "0.0.0.0"], "leave out"),
    ],
)
def test_misuse_is_a_sentence(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIBD_DASHBOARD_TOKEN", raising=False)
    done = CliRunner().invoke(app, [str(tmp_path), *words])
    assert getattr(done.exception, "exit_code", None) == 2
    assert said in str(done.exception)


def test_export_says_where_it_is_and_refuses_what_is_not_ours(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path / "runs"), "--out", str(tmp_path / "site")])
    assert "no runs" in str(done.exception)
    assert not (tmp_path / "site").exists()
    (tmp_path / "runs" / "amp").mkdir(parents=True)
    for program, words in ((app, ["export"]), (clibd, ["dashboard", "export"])):
        done = CliRunner().invoke(program, [*words, str(tmp_path / "runs"), "--out", str(tmp_path / "site")])
        assert done.exit_code == 0, done.output
        assert re.search(r"index\.html \([\d,]+ pages, [\d.]+ MB\)\.", done.stdout)
    (tmp_path / "mine").write_text("mine")
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "mine")])
    assert "is not overwritten" in str(done.exception)


@pytest.mark.parametrize("code", [0, 3])
def test_on_a_cluster_it_is_served_by_the_head_and_the_port_is_forwarded(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told.json"
    stand_in = tmp_path / "bin" / "ray"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(python=sys.executable, told=str(told), code=code))
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    (cluster := tmp_path / "my cluster.yaml").write_text("cluster_name: x\n")
    runs, data = "gs://insects/runs of; mine", "gs://insects/data $(x)"
    done = CliRunner().invoke(app, ["--cluster", str(cluster), runs, "--data", data, "--port", "18300"])
    assert (done.exit_code, done.exception is None) == ((0, True) if code == 0 else (1, False))
    if code:
        assert "exit code 3" in str(done.exception)
    *ray, command = json.loads(told.read_text())
    port = int(ray[-1])
    assert ray == ["exec", str(cluster), "--port-forward", str(port)]
    assert port >= 18300
    assert command == (
        f"clibd-dashboard serve 'gs://insects/runs of; mine' --port={port} --exact-port '--data=gs://insects/data $(x)'"
    )


SSH = """#!{python}
import subprocess, sys
ssh = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(ssh.pid, sys.stdin.read(), flush=True)
ssh.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_the_command_ends_what_reaches_the_head(number: signal.Signals, tmp_path: Path) -> None:
    stand_in = tmp_path / "ray"
    stand_in.write_text(SSH.format(python=sys.executable))
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    (cluster := tmp_path / "cluster.yaml").write_text("cluster_name: x\n")
    where = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with started("--cluster", str(cluster), "gs://insects/runs", PATH=where) as (process, words):
        ssh = psutil.Process(int(words))  # it says so once it has read all of its input, which is none
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 128 + number
    ssh.wait(timeout=30)


def test_nothing_is_opened_where_nobody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("BROWSER", "true")
    assert not _has_reader(), "a test has no terminal"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("CI", "true")
    assert not _has_reader()


def test_a_demo_leaves_pages_beside_its_runs_and_overwrites_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(title: str) -> Kind:
        page = Page(title=title, template="missing.html.j2", told={"why": ""})
        return Kind(name="overview", make=lambda catalog, asked: page)

    only({"overview": told("Overview")}, monkeypatch)
    request = SimpleNamespace(runs=Folder(tmp_path / "runs"), data=SimpleNamespace(folder=Folder(tmp_path / "data")))
    _export(request, stderr_console())  # type: ignore[arg-type]  # all that it needs
    assert "Overview" in (tmp_path / "runs-pages" / "index.html").read_text()
    (tmp_path / "runs-pages" / "export.json").unlink()
    _export(request, stderr_console())  # type: ignore[arg-type]  # all that it needs
    assert "Not exported" in capfd.readouterr().err
    assert not (tmp_path / "runs-pages" / "export.json").exists()
