"""Ray's session for a command: a small local cluster that is ours alone, or one that exists."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

import psutil
from joblib import cpu_count

from orchestrator.connecting import checked
from orchestrator.environment import carried, keep_from_tune, without
from orchestrator.ray_files import ray_folder, token_of_local_clusters
from workloads.command_line import stderr_console
from workloads.errors import ClibdError, first_line
from workloads.run_errors import ClusterError
from workloads.sockets import sockets_fit
from workloads.stopping import ended_at_once_by

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the default of 2 s costs 4 s at the end of every run
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "45",  # a worker that stands still is noticed within a minute
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # the first worker looks itself, and this is a process less
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what a worker prints is in its own files, and nowhere twice
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "120",  # a starved pipeline becomes an error, not a silent wait
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our run folder is the record
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_LOCAL_ONLY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux every port listens on loopback only
    "RAY_enable_metrics_collection": "0",  # nobody reads them, and they cost two cores some percent of their time
    "RAY_task_events_report_interval_ms": "0",
}
_OF_ANOTHER_CLUSTER = ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""By which a local cluster would take itself for a part of the one that they speak of."""
_GRACE = 2.0
"""Seconds for processes of Ray to end when their cluster has."""
_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}


def logical_cpus() -> int:
    """Of a local cluster: they only count tasks, and twice the cores lets Ray Data work beside the training workers."""
    cores: int = cpu_count()
    return max(4, 2 * cores)


def cpus_of_a_core() -> int:
    """How many CPUs of a local cluster a task takes that never waits, and has a core to itself."""
    cores: int = cpu_count()
    return logical_cpus() // cores


@contextmanager
def ray_session(address: str | None, *, dashboard: bool = True) -> Iterator[None]:
    """A Ray cluster for the time of a command; only what this started is stopped.

    Args:
        address: None for a local cluster of our own, `auto` or a host and port for one that runs.
        dashboard: whether a local cluster has one. Ray Train asks it what lives; others can do without its processes.

    Raises:
        ClusterError: there is no cluster at the address, or none that can be used.
        ClibdError: a local cluster cannot start.
    """
    for name, value in {**_SETTINGS, **({} if address else _LOCAL_ONLY)}.items():
        os.environ.setdefault(name, value)
    if _is_open():  # the caller's own session, which it will stop itself
        yield
        return
    # A signal to a whole group ends the local cluster too, and Ray would then end this process without a word.
    with nullcontext() if address else ended_at_once_by("terminated", "disconnected"):
        yield from _session(address, dashboard)


def _session(address: str | None, dashboard: bool) -> Iterator[None]:
    with _own_handlers():
        if address:
            _connect(address)
        else:
            _start(dashboard)
    import ray
    import ray.data  # configures its logger when it is imported

    keep_from_tune()
    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)  # the commands have their own display
    try:
        yield
    finally:
        ours = [] if address else _processes()
        ray.shutdown()
        for process in psutil.wait_procs(ours, _GRACE)[1]:
            with suppress(psutil.Error):
                process.kill()


def has_ended() -> bool:
    """Whether the local cluster has ended before its command, as by a signal to both; then no run can save."""
    node = sys.modules["ray"]._private.worker._global_node if _is_open() else None
    return node is not None and any(kind in ("gcs_server", "raylet") for kind, _ in node.dead_processes())


def _processes() -> list[psutil.Process]:
    """Of the local cluster. One that stands still in its own end is no longer the raylet's, which ends the others."""
    found = list[psutil.Process]()
    for _, service in sys.modules["ray"]._private.worker._global_node.live_processes():
        with suppress(psutil.Error):
            found += psutil.Process(service.pid).children(recursive=True)
    return found


def _is_open() -> bool:
    ray = sys.modules.get("ray")  # imported only once the environment is as it has to be
    return ray is not None and ray.is_initialized()


def _connect(address: str) -> None:
    found = checked(address)
    env_vars, said = carried(os.environ, tuple(_SETTINGS))
    for sentence in said:
        _say_once(sentence)
    import ray

    try:
        ray.init(address=found, runtime_env={"env_vars": env_vars}, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        remedy = "`ray status` on its head says how it is."
        raise ClusterError(found, f"it cannot be joined ({first_line(error)})", remedy) from error


@cache
def _say_once(sentence: str) -> None:
    """Of a command that has several sessions."""
    stderr_console().print(sentence)


def _start(dashboard: bool) -> None:
    """A cluster of our own; never another one, whatever the environment says of it."""
    token_of_local_clusters()
    places = ray_folder(_say_once)
    sockets_fit()
    import ray

    how: dict[str, Any] = {
        "num_cpus": logical_cpus(),
        "object_store_memory": 512 * 2**20,
        "include_dashboard": dashboard,
    }
    try:
        with without(*_OF_ANOTHER_CLUSTER):
            try:
                ray.init(address="local", **how, **places, **_QUIET)
            except Exception:  # also of no other kind, where a busy machine takes more than Ray's own 30 s
                _say_once("Ray did not start in its time; once more")
                ray.shutdown()
                ray.init(address="local", **how, **places, **_QUIET)
    except Exception as error:
        raise ClibdError(
            f"Ray does not start here ({first_line(error)}). Look for what lacks: memory, room in RAY_TMPDIR "
            "or /tmp, `ulimit -n` of 1024 or more, or patience on a busy machine. Its logs: ray/session_latest there."
        ) from error


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Handlers of signals stay what they were: Ray takes SIGTERM, and would answer it with a dump of its stack."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
