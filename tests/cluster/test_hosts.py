"""`clibd doctor` on several nodes, each a `ray start` with its own environment, and its own disk where that needs root.

The nodes share a head, and each goes when its test ends.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from workloads.source_tree import PACKAGES

ROOT = Path(__file__).parents[2]
DOCTOR = "import sys; sys.argv[0] = 'clibd'; from commands.clibd import main; main()"
EMBED = """
import sys
from orchestrator.embedding import embed_on_ray
from orchestrator.workers import Wanted
from workloads.measuring.chunks import EmbeddingJob
job = EmbeddingJob(run=sys.argv[2], data=sys.argv[2], modalities=())
embed_on_ray(job, print, Wanted.of("2", True, None, None), sys.argv[1])
"""
PATIENCE = 300
"""Seconds for anything that Ray does, on a busy machine."""


class Hosts:
    """A head on this machine, and nodes that come and go; each is a process group that this ends."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        token = folder / "token"
        token.write_text("0" * 64)
        token.chmod(0o600)
        self.scratch = tempfile.TemporaryDirectory(prefix="r", dir="/tmp")  # short: sockets lie below it
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": self.scratch.name,
            "TMPDIR": self.scratch.name,
            "CLIBD_CACHE": str(folder / "cache"),
            **environment,
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._head = self._start(["--head", f"--port={port}", "--include-dashboard=false"])

    def _start(self, words: Sequence[str], before: Sequence[str] = (), **environment: str) -> subprocess.Popen[bytes]:
        """Start a node and wait until Ray says that it runs; Ray gives up after 30 s of a busy machine."""
        ray = str(Path(sys.executable).with_name("ray"))
        command = [*before, ray, "start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", *words]
        for _ in range(4):
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix="node-", suffix=".log", delete=False) as log:
                node = subprocess.Popen(
                    command,
                    env={**self.environment, **environment},
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while node.poll() is None:
                if b"Ray runtime started" in Path(log.name).read_bytes():
                    return node
                time.sleep(0.2)
        raise AssertionError(Path(log.name).read_text()[-2000:])

    @contextmanager
    def node(self, private: Path | None = None, **environment: str) -> Iterator[None]:
        """One more node; it sees an empty disk of its own at `private`."""
        before: list[str] = []
        if private:
            script = f"mount -t tmpfs none '{private}' && exec \"$@\""
            before = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"]
        node = self._start([f"--address={self.address}", "--dashboard-agent-listen-port=0"], before, **environment)
        try:
            yield
        finally:
            end(node)

    def doctor(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command on these nodes."""
        return self.run(DOCTOR, "doctor", "--address", self.address, *words, **environment)

    def run(self, program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of ours from a folder without our packages: Ray lets workers import from there first."""
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def report(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit code, and the hosts with the head first."""
        done = self.doctor("--format", "json", *words)
        assert done.stdout, done.stderr
        told = json.loads(done.stdout)
        assert told["fit"] == (done.returncode == 0)
        return done.returncode, told["hosts"]

    def end(self) -> None:
        end(self._head)
        self.scratch.cleanup()


def end(node: subprocess.Popen[bytes]) -> None:
    """`ray start --block` ends what it has started."""
    node.terminate()
    try:
        node.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, 9)
        node.wait()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    started = Hosts(tmp_path_factory.mktemp("hosts"))
    yield started
    started.end()


def checks(host: Mapping[str, Any]) -> list[str]:
    return [problem["check"] for problem in host["problems"]]


def test_other_code_on_one_node_is_named_with_the_copy_that_mends_it(hosts: Hosts, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / "tree" / package)
    (tmp_path / "tree" / "sweeps" / "one_more.py").write_text('"""Nothing."""\n')
    runs = tmp_path / "runs"
    with hosts.node(PYTHONPATH=str(tmp_path / "tree")):
        code, (head, node) = hosts.report("--runs", str(runs))
        assert code == 1
        assert checks(head) == []
        assert checks(node) == ["code"]  # and both see the same folder
        assert "rsync" in node["problems"][0]["remedy"]
        assert str(tmp_path / "tree") in node["problems"][0]["remedy"]
        assert not runs.exists()
        shutil.rmtree(tmp_path / "tree" / "workloads")
        (tmp_path / "tree" / "workloads").mkdir()
        (tmp_path / "tree" / "workloads" / "__init__.py").touch()  # a copy that left something out
        code, (head, node) = hosts.report()
        assert code == 1
        assert checks(head) == []
        assert "workloads" in node["problems"][0]["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a node with a disk of its own")
def test_a_folder_that_one_node_has_for_itself_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    data = tmp_path / "own" / "data"
    data.mkdir(parents=True)
    for file in ("dataset.json", "spec.json"):
        (data / file).write_text("{}")
    places = ("--data", str(data), "--runs", str(tmp_path / "own" / "runs"))
    code, [alone] = hosts.report(*places)
    assert (code, checks(alone)) == (0, [])
    with hosts.node(private=tmp_path / "own"):
        code, (head, node) = hosts.report(*places)
        embedding = hosts.run(EMBED, hosts.address, str(data))
    assert code == 1
    assert checks(head) == []
    assert checks(node) == ["place", "place"]
    remedies = [problem["remedy"] for problem in node["problems"]]
    assert all("s3://" in remedy and "mount" in remedy for remedy in remedies)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["data"]
    assert embedding.returncode == 1
    for name in ("RUN", "--data"):  # before any actor starts
        assert f"does not see what the command sees in {name} {data}" in embedding.stderr


def test_a_node_that_comes_late_is_looked_at(hosts: Hosts, tmp_path: Path) -> None:
    program = (
        "import ray, sys\n"
        "from orchestrator.doctor import Needs, watching_hosts\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "with watching_hosts(sys.argv[1], Needs(), lambda line: print(line, flush=True)):\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, hosts.address]
    pipe = subprocess.PIPE
    watching = subprocess.Popen(
        command, env=hosts.environment, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert watching.stdout
    assert watching.stdout.readline() == "begun\n"
    (tmp_path / "file").write_text("")
    with hosts.node(CLIBD_CACHE=str(tmp_path / "file" / "cache")):
        line = watching.stdout.readline()
    assert "which has joined: nothing can be written to" in line
    assert "export CLIBD_CACHE=" in line
    watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 0


def test_another_token_is_refused_with_a_sentence(hosts: Hosts, tmp_path: Path) -> None:
    other = tmp_path / "other-token"
    other.write_text("1" * 64)
    done = hosts.doctor(RAY_AUTH_TOKEN_PATH=str(other))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


ACTOR = """
import sys
from orchestrator.session import ray_session
with ray_session(sys.argv[1]):
    import ray
    actor = ray.remote(num_cpus=0)(type("Actor", (), {"answer": lambda self: 42}))
    print(ray.get(actor.remote().answer.remote(), timeout=100))
"""


def test_a_cluster_that_has_no_token_is_of_use_to_who_has_one(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, RAY_AUTH_MODE="disabled")
    try:
        del hosts.environment["RAY_AUTH_MODE"]
        done = hosts.run(ACTOR, hosts.address)
        assert done.stdout == "42\n", done.stderr
        refused = hosts.run(ACTOR, hosts.address, RAY_AUTH_MODE="token")
        assert "it has no token" in refused.stderr
    finally:
        hosts.end()
