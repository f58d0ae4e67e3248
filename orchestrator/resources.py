"""What a run may use. None of it is part of the spec; of the numbers it decides what `workloads.execution` says."""

from dataclasses import dataclass, field, replace

from workloads.execution import Execution


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Workers of one run, and what each takes."""

    num_workers: int = 2
    gpus_per_worker: int = 0
    cpus_per_worker: int = 1
    loader_processes: int = 0
    """Processes that prepare batches for each worker."""
    threads: int = 1
    """Of torch in each worker."""
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


def choose_resources(*, num_cpus: int, num_gpus: int, remote: bool, workers: int | None, cpu_only: bool) -> Resources:
    """The workers of a run on this machine, or on a cluster.

    Args:
        num_cpus: cores of this machine.
        num_gpus: GPUs of this machine.
        remote: whether a cluster is attached; it may be scaled to zero now, so the paper's four GPUs are asked for.
        workers: as the user wants, or None.
        cpu_only: whether to leave GPUs alone.
    """
    if (remote or num_gpus) and not cpu_only:
        count = workers or (4 if remote else num_gpus)
        return Resources(num_workers=count, gpus_per_worker=1, cpus_per_worker=8, loader_processes=6, threads=2)
    count = workers or 2
    return Resources(num_workers=count, threads=max(1, num_cpus // count))


def concurrent_runs(resources: Resources, *, cluster_cpus: float, cluster_gpus: float) -> int:
    """How many runs fit a cluster at once; at least one, which then waits for the cluster to grow.

    Logical CPUs of a local cluster exceed its cores on purpose, so runs on CPUs go one by one.
    """
    if not resources.gpus_per_worker:
        return 1
    by_gpu = cluster_gpus // (resources.num_workers * resources.gpus_per_worker)
    by_cpu = cluster_cpus // (resources.num_workers * resources.cpus_per_worker)
    return max(1, int(min(by_gpu, by_cpu)))
