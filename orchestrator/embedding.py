"""Embeds keys and queries with a run on Ray's actors.

A chunk, or on GPUs a few, is embedded by whichever worker is free, so a slow one holds nobody up, and one that dies
costs no more.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from orchestrator.doctor import Needs, watching_hosts
from orchestrator.fleet import check_placeable, workers_that_fit
from orchestrator.inventory import resources_at
from orchestrator.session import ray_session
from orchestrator.workers import Wanted
from workloads.command_line import Tell, clock, stderr_console
from workloads.errors import ClibdError
from workloads.evaluation.embedded import Embedded
from workloads.measuring.chunks import Embedder, EmbeddingJob
from workloads.run_errors import WaitedError
from workloads.shared_places import data_place, run_place

MAX_FAILURES = 3
"""Times that a worker is started again, and a task is tried."""
GPU_CHUNKS = 8
"""Of one task: the worker's other processes make the next chunk's inputs meanwhile."""


def embed_on_ray(job: EmbeddingJob, tell: Tell, wanted: Wanted, address: str | None = None) -> dict[str, Embedded]:
    """Embed on Ray's actors, one a worker: in the session that there is, or in one for the time of the call.

    Args:
        job: what is embedded.
        tell: told how many chunks of how many are done.
        wanted: of the actors.
        address: of a Ray cluster, which may grow; None is this machine.

    Raises:
        UsageError: there is no cluster at the address, no room for so many actors, or a host that does not see the run.
        ClibdError: as the parts say, from whichever worker met it.
    """
    resources, fleet = resources_at(address, wanted)
    check_placeable(resources)
    needs = Needs(places=[run_place(job.run), data_place(job.data)])
    with ray_session(address, dashboard=False), watching_hosts(address, needs, stderr_console().print):
        import ray
        from ray.util import ActorPool

        here = Embedder(job)  # this process knows which inputs are distinct, and puts the rows together
        taken = resources.per_worker
        actor = ray.remote(
            num_cpus=taken.pop("CPU"),
            num_gpus=taken.pop("GPU", 0),
            resources=taken,
            max_restarts=MAX_FAILURES,
            max_task_retries=MAX_FAILURES,
        )(Embedder)
        on_gpu, loaders = resources.gpus_per_worker > 0, resources.loader_processes
        chunks = here.chunks(on_gpu)
        at_once = GPU_CHUNKS if on_gpu else 1
        tasks = [chunks[start : start + at_once] for start in range(0, len(chunks), at_once)]
        least = min(resources.least_workers, len(tasks))
        count = min(resources.num_workers, len(tasks), max(least, workers_that_fit(resources, fleet.nodes)))
        workers = [actor.remote(job, resources.threads, on_gpu, loaders) for _ in range(count)]
        try:
            _wait_for(workers, least, resources.wait)
            embedded = ActorPool(workers).map_unordered(lambda worker, task: worker.run.remote(task), tasks)
            return here.put_together(chain.from_iterable(embedded), len(chunks), tell)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ClibdError):
                raise error.cause from error
            raise
        finally:
            for worker in workers:
                ray.kill(worker)


def _wait_for(workers: Sequence[Any], least: int, longest: float | None) -> None:
    """Wait until enough actors are placed, if the user says how long.

    Raises:
        WaitedError: they are not.
    """
    import ray

    if longest is None:
        return
    ready, _ = ray.wait([worker.__ray_ready__.remote() for worker in workers], num_returns=least, timeout=longest)
    if len(ready) < least:
        raise WaitedError("embedding", clock(longest), f"{least - len(ready)} more of {least} workers")
