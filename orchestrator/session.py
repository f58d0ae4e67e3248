"""Ray's session: a small local cluster that is ours alone, or one that exists."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.resources import Resources, choose_resources, concurrent_runs
from workloads.errors import UsageError

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the default of 2 s costs 4 s at the end of every run
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "120",  # a starved pipeline becomes an error, not a silent wait
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our run folder is the record
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_LOCAL_ONLY = {
    # Despite its name: on Linux it makes every port of the local cluster listen on loopback only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def resources_here(workers: int | None, address: str | None, cpu_only: bool) -> Resources:
    """The workers of one run, on this machine or on a cluster."""
    import torch

    return choose_resources(
        num_cpus=os.cpu_count() or 1,
        num_gpus=torch.cuda.device_count(),
        remote=address is not None,
        workers=workers,
        cpu_only=cpu_only,
    )


def runs_at_once(resources: Resources) -> int:
    """How many runs fit the session that is open."""
    import ray

    there = ray.cluster_resources()
    return concurrent_runs(resources, cluster_cpus=there.get("CPU", 0), cluster_gpus=there.get("GPU", 0))


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray cluster for the time of a command; only what this started is stopped.

    Args:
        address: None for a local cluster of our own, `auto` or a host and port for one that runs.

    Raises:
        UsageError: there is no cluster at the address.
    """
    for name, value in {**_SETTINGS, **({} if address else _LOCAL_ONLY)}.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():  # the caller's own session, which it will stop itself
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            cores = os.cpu_count() or 1
            # Logical CPUs only count tasks; twice the cores lets Ray Data work beside the training workers.
            ray.init(num_cpus=max(4, 2 * cores), object_store_memory=512 * 2**20, include_dashboard=True, **quiet)
    except ConnectionError as error:
        raise UsageError(
            f"no Ray cluster answers at {address}. Start one with `ray up cluster.yaml` and run this command on its "
            "head node (`ray attach cluster.yaml`), or leave out --address to use this machine."
        ) from error
    import ray.data  # configures its logger when it is imported

    for name in ("ray.data", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)  # the commands have their own display
    try:
        yield
    finally:
        ray.shutdown()
