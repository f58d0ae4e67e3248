"""Two hosts on this machine, reached by ssh, each with processes, network and home of its own, and `ray up` on them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
HOSTS = ROOT.parent / "shared" / "lab" / "hosts.sh"
"""Makes hosts of namespaces; it lies beside the checkout."""
_DESK = "10.99.0.254"
"""This machine's address among the hosts."""


class Lab:
    """Hosts 1 and 2, and a desk from which they are reached.

    Args:
        folder: of the lab; a short path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._servers = folder, dict[int, int]()
        self._environment = {**os.environ, "LAB": str(folder), "HIDE": str(Path.home())}
        self._token = folder / "token"
        self._token.touch(mode=0o600)
        self._token.write_text(os.urandom(32).hex())
        self._hosts("up")
        for words in (("ip", "addr", "add", f"{_DESK}/24", "dev", "br0"), ("ip", "link", "set", "lo", "up")):
            subprocess.run(["ip", "netns", "exec", "lab-br", *words], check=True)

    def switch_on(self, host: int) -> None:
        """Start a host's ssh server; with it goes everything that runs there."""
        self._servers[host] = int(self._hosts("sshd", str(host)))

    def switch_off(self, host: int) -> None:
        """As when it loses its power."""
        os.kill(self._servers.pop(host), signal.SIGKILL)

    def cluster_file(self) -> Path:
        """`clusters/local.yaml` for these hosts; what pip would install is linked from this environment."""
        described: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / "local.yaml").read_text())
        described["provider"] |= {"head_ip": "10.99.0.1", "worker_ips": ["10.99.0.2"]}
        described["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.folder / "key")}
        described["min_workers"] = described["max_workers"] = 1
        described["file_mounts"] = {"~/clibd": str(ROOT), "~/.ray/auth_token": str(self._token)}
        settings = "PYTHONPATH=$HOME/clibd OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 RAY_agent_register_timeout_ms=300000"
        linked = f"ln -sfn {sys.prefix} ~/clibd/.venv && echo 'export {settings}' >> ~/.profile"
        described["setup_commands"] = [linked if "pip install" in c else c for c in described["setup_commands"]]
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            small = " --num-cpus=1 --object-store-memory=300000000"  # so that two workers need both hosts
            described[key] = [c + small if "ray start" in c else c for c in described[key]]
        path = self.folder / "local.yaml"
        path.write_text(yaml.safe_dump(described))
        return path

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """A program at the desk, such as `ray up`."""
        (self.folder / "home").mkdir(exist_ok=True)
        settings = {
            "HOME": str(self.folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_UP_enable_autoscaler_v2": "0",  # with it the local provider starts no workers
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_TMPDIR": str(self.folder / "desk"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        return subprocess.Popen(
            ["ip", "netns", "exec", "lab-br", *words],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ends_well(self, *words: str) -> bool:
        """Whether a program at the desk does what it is to do."""
        program = self.start(*words)
        program.communicate()
        return program.returncode == 0

    def run(self, *words: str, patience: int = 300) -> str:
        """A program at the desk until it ends well; what it printed."""
        program = self.start(*words)
        try:
            said, _ = program.communicate(timeout=patience)
        finally:
            program.kill()
        assert program.returncode == 0, said
        return said

    def end(self) -> None:
        """Take everything away."""
        for host in [*self._servers]:
            self.switch_off(host)
        self._hosts("down")

    def _hosts(self, *words: str) -> str:
        output = self.folder / "hosts.log"  # not a pipe, which the servers would keep open
        with output.open("w") as written:
            subprocess.run(["bash", HOSTS, *words], env=self._environment, stdout=written, check=True)
        return output.read_text()


@contextmanager
def python_in_hidden_home(folder: Path) -> Iterator[None]:
    """Each host has a home of its own, so a Python that lies in the user's is shown to them at its place."""
    base, home = Path(sys.base_prefix), Path.home()
    if not base.is_relative_to(home):
        yield
        return
    seen = folder / "python"
    seen.mkdir()
    subprocess.run(["mount", "--bind", base, seen], check=True)
    try:
        for host in ("h1", "h2"):
            link = folder / host / str(home).replace("/", "_") / base.relative_to(home)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(seen)
        yield
    finally:
        subprocess.run(["umount", "--lazy", seen], check=True)
