"""What a run may use, and Ray's session for it: a small local cluster that is ours alone, or one that exists.

None of it is part of the spec; of the numbers it decides what `workloads.execution` says.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from workloads.errors import UsageError
from workloads.execution import Execution

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
_LOCAL_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Despite its name: on Linux it makes every port of the local cluster listen on loopback only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Workers of one run, and what each takes."""

    num_workers: int = 2
    gpus_per_worker: int = 0
    cpus_per_worker: int = 1
    loader_processes: int = 0
    """Processes that prepare batches for each worker."""
    threads: int = 1
    """Torch's threads in each worker."""
    offline: bool = False
    """Whether published weights may only come from this machine."""
    execution: Execution = field(default_factory=Execution)

    @property
    def describe(self) -> str:
        """In words, for the plan."""
        kind = "GPU" if self.gpus_per_worker else "CPU"
        return f"{self.num_workers} {kind} worker{'s' if self.num_workers > 1 else ''}"


def fitting(resources: Resources, batch_size: int) -> Resources:
    """The same for a batch that does not divide among all workers: as many as share it evenly, with the same threads.

    So a batch of 150 takes three of four GPUs, instead of being refused.
    """
    count = next(n for n in range(resources.num_workers, 0, -1) if batch_size % n == 0)
    threads = resources.threads if resources.gpus_per_worker else resources.threads * resources.num_workers // count
    return replace(resources, num_workers=count, threads=threads)


def resources_here(workers: int | None, address: str | None, cpu_only: bool) -> Resources:
    """The workers of a run on this machine, or on a cluster.

    Args:
        workers: as the user wants, or None.
        address: of a cluster, or None; it may be scaled to zero now, so the paper's four GPUs are asked for.
        cpu_only: whether to leave GPUs alone.
    """
    import torch

    num_gpus = 4 if address is not None else torch.cuda.device_count()
    if num_gpus and not cpu_only:
        return Resources(
            num_workers=workers or num_gpus, gpus_per_worker=1, cpus_per_worker=8, loader_processes=6, threads=2
        )
    count = workers or 2
    return Resources(num_workers=count, threads=max(1, (os.cpu_count() or 1) // count))


def runs_at_once(resources: Resources, cluster: Mapping[str, float]) -> int:
    """How many runs fit a cluster at once; at least one, which then waits for the cluster to grow.

    Logical CPUs of a local cluster exceed its cores on purpose, so runs on CPUs go one by one.

    Args:
        resources: of a run.
        cluster: as `ray.cluster_resources` says them.
    """
    if not resources.gpus_per_worker:
        return 1
    by_gpu = cluster.get("GPU", 0) // (resources.num_workers * resources.gpus_per_worker)
    by_cpu = cluster.get("CPU", 0) // (resources.num_workers * resources.cpus_per_worker)
    return max(1, int(min(by_gpu, by_cpu)))


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
