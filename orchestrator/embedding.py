"""Embeds keys and queries with a run on Ray's actors.

A chunk is embedded by whichever worker is free, so a slow one holds nobody up, and one that dies costs its chunk.
"""

from orchestrator.session import Resources, ray_session
from workloads.command_line import Tell
from workloads.errors import ClibdError, UsageError
from workloads.evaluation.embedded import Embedded
from workloads.measuring.chunks import Embedder, EmbeddingJob

MAX_FAILURES = 3
"""Times that a worker is started again, and a chunk is tried."""


def embed_on_ray(
    job: EmbeddingJob, tell: Tell, resources: Resources, address: str | None = None
) -> dict[str, Embedded]:
    """Embed on Ray's actors, one a worker: in the session that there is, or in one for the time of the call.

    Args:
        job: what is embedded.
        tell: told how many chunks of how many are done.
        resources: of the actors.
        address: of a Ray cluster, which may grow; None is this machine.

    Raises:
        UsageError: there is no cluster at the address, or no room on this machine.
        ClibdError: as the parts say, from whichever worker met it.
    """
    with ray_session(address):
        import ray
        from ray.util import ActorPool

        if address is None:
            _check_room(resources)
        here = Embedder(job)  # this process knows which inputs are distinct, and puts the rows together
        actor = ray.remote(
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker,
            max_restarts=MAX_FAILURES,
            max_task_retries=MAX_FAILURES,
        )(Embedder)
        chunks = here.chunks()
        count = min(resources.num_workers, len(chunks))
        workers = [actor.remote(job, resources.threads, resources.gpus_per_worker > 0) for _ in range(count)]
        try:
            embedded = ActorPool(workers).map_unordered(lambda worker, chunk: worker.run.remote(chunk), chunks)
            return here.put_together(embedded, tell)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ClibdError):
                raise error.cause from error
            raise
        finally:
            for worker in workers:
                ray.kill(worker)


def _check_room(resources: Resources) -> None:
    """Refuse more workers than fit a session that does not grow: those beyond would be waited for for ever."""
    import ray

    there = ray.cluster_resources()
    room = there.get("CPU", 0) // resources.cpus_per_worker
    if resources.gpus_per_worker:
        room = min(room, there.get("GPU", 0) // resources.gpus_per_worker)
    if resources.num_workers > room:
        raise UsageError(f"this machine has room for {int(room)} such workers, not for {resources.num_workers}")
