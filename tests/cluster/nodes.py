"""Several nodes of Ray on this machine, and programs that use them; what runs here ends with the test that began it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 600
"""Seconds until a test gives up waiting; this is no measure of how long anything may take."""


class Nodes:
    """Logical nodes: each has a raylet, workers and an environment of its own, and knows nothing of the others' disks.

    Args:
        folder: their sessions go here; a short path, as sockets are in it.
    """

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self._cluster, self._started = folder, Cluster(), list[subprocess.Popen[str]]()

    @property
    def address(self) -> str:
        """For `--address`."""
        return str(self._cluster.address)

    def add(self, num_cpus: int = 2, env: dict[str, str] | None = None, **more: Any) -> Any:
        """A node more, the first one being the head; `env` is its own environment, `more` as `ray start` has it."""
        return self._cluster.add_node(num_cpus=num_cpus, env_vars=env, include_dashboard=False, **more)

    def kill(self, node: Any) -> None:
        """As when a machine loses its power."""
        self._cluster.remove_node(node, allow_graceful=False)

    def start(self, *words: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        """One of our programs, on these nodes; in a session of its own, as from another terminal."""
        program = subprocess.Popen(
            [str(Path(sys.executable).with_name(words[0])), *words[1:], f"--address={self.address}"],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(program)
        return program

    def run(self, *words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """One of our programs, until it ends."""
        program = self.start(*words, env=env)
        out, complaint = program.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(words, program.returncode, out, complaint)

    def placement_groups(self) -> list[str]:
        """Those that hold a place, or wait for one."""
        from ray._private.state import GlobalState
        from ray._raylet import GcsClientOptions

        state = GlobalState()
        state._initialize_global_state(
            GcsClientOptions.create(self.address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
        )
        try:
            table = state.placement_group_table()
        finally:
            state.disconnect()
        return [name for name, group in table.items() if group["state"] != "REMOVED"]

    def end(self) -> None:
        """Take everything away that was started."""
        for program in self._started:
            end_group(program)
        self._cluster.shutdown()
        until(lambda: not processes_of(self.folder), "the processes of Ray end")


def end_group(program: "subprocess.Popen[str]") -> None:
    """End a program that has a session of its own, and its children."""
    if program.poll() is None:
        os.killpg(program.pid, signal.SIGKILL)
    program.communicate()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process whose session of Ray is in a folder, whoever its parent is."""
    return [process for process in psutil.process_iter() if _environment(process).get("RAY_TMPDIR") == str(folder)]


def title(process: psutil.Process) -> str:
    """What a process calls itself; nothing where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.pid != os.getpid() else {}
    except psutil.Error:  # it ended meanwhile, or is another user's
        return {}


def until(true: Callable[[], Any], what: str, program: "subprocess.Popen[str] | None" = None) -> Any:
    """Wait for something, and give it.

    Raises:
        AssertionError: it does not come, or the program that was to bring it has ended.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := true():
            return value
        assert program is None or program.poll() is None, f"before {what}: {program.communicate() if program else ''}"
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


@contextmanager
def nodes_in(folder: Path) -> Iterator[Nodes]:
    """Nodes for the time of a test."""
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.end()
