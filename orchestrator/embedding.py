"""Embeds keys and queries with a run, chunk by chunk, on Ray's actors or in this process.

A chunk is embedded by whichever worker is free, so a slow one holds nobody up, and one that dies costs its chunk. The
numbers do not depend on who embeds what: chunks are the same for any number of workers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from orchestrator.resources import Resources
from workloads.arrays import Floats
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import ClibdError, UsageError
from workloads.evaluation.embed import BATCH_SIZE, all_splits, as_parts, embed_rows, embedded_specimens, parts_of
from workloads.evaluation.embedded import Embedded
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.recipes import evaluation_precision
from workloads.record import RunFolder
from workloads.spec import Modality
from workloads.storage import Folder

Tell = Callable[[int, int | None], None]
"""Is told how many chunks of how many are done."""
Chunk = tuple[Modality, int, int]
"""Modality, and from which to which of its distinct inputs."""

MAX_FAILURES = 3
"""Times that a worker is started again, and a chunk is tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is embedded, and with what."""

    run: str
    """Address of the run folder."""
    data: str
    """Address of the prepared data set."""
    modalities: tuple[Modality, ...]
    untrained: bool = False
    """With the weights that the run began with."""
    with_rest: bool = False
    """Named specimens that train, too."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where the weights lie that an untrained run names, beside the folders of runs."""

    def experiment(self, dataset: PreparedDataset) -> LoadedModel:
        """The model."""
        run = RunFolder(Folder(self.run))
        return open_untrained(run.spec(), dataset, self.places, run.folder) if self.untrained else open_run(run)


class Embedder:
    """A model and the specimens that it embeds."""

    def __init__(self, job: Job, threads: int | None = None, gpu: bool = False) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._dataset = PreparedDataset(Folder(job.data))
        self._experiment = job.experiment(self._dataset)
        self._device = torch.device("cuda" if gpu else "cpu")
        self._experiment.model.to(self._device)
        self.parts = parts_of(self._dataset, job.with_rest)
        self.specimens: Specimens = self._experiment.specimens(self._dataset, all_splits(self.parts), job.modalities)

    def chunks(self) -> list[Chunk]:
        """Everything there is to embed; the slow modality first, so that no worker is left with it alone."""
        sizes = {name: len(self.specimens.groups(name)[0]) for name in self.specimens.modalities}
        return [
            (name, start, min(start + BATCH_SIZE, count))
            for name, count in sizes.items()
            for start in range(0, count, BATCH_SIZE)
        ]

    def run(self, chunk: Chunk) -> tuple[Chunk, Floats]:
        """Embed one chunk, (inputs, embedding)."""
        modality, start, stop = chunk
        rows = self.specimens.groups(modality)[0][start:stop]
        precision = evaluation_precision(self._experiment.spec)
        embedded = embed_rows(self._experiment.model, self.specimens, modality, rows, self._device, precision)
        return chunk, embedded.cpu().numpy()


class Worker:
    """An actor. It opens the run with its first chunk: of an error in a constructor Ray keeps only the text."""

    def __init__(self, job: Job, threads: int, gpu: bool) -> None:
        self._job, self._threads, self._gpu = job, threads, gpu

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self._job, self._threads, self._gpu)

    def run(self, chunk: Chunk) -> tuple[Chunk, Floats]:
        """Embed one chunk, (inputs, embedding)."""
        return self._embedder.run(chunk)


def embed_here(job: Job, gpu: bool, tell: Tell) -> dict[str, Embedded]:
    """Embed in this process."""
    embedder = Embedder(job, gpu=gpu)
    return _gathered(embedder, map(embedder.run, embedder.chunks()), tell)


def check_room(resources: Resources) -> None:
    """Refuse more workers than fit a session that does not grow: those beyond would be waited for for ever.

    Raises:
        UsageError: there is no room for all of them.
    """
    import ray

    there = ray.cluster_resources()
    room = there.get("CPU", 0) // resources.cpus_per_worker
    if resources.gpus_per_worker:
        room = min(room, there.get("GPU", 0) // resources.gpus_per_worker)
    if resources.num_workers > room:
        raise UsageError(f"this machine has room for {int(room)} such workers, not for {resources.num_workers}")


def embed_on_ray(job: Job, resources: Resources, tell: Tell) -> dict[str, Embedded]:
    """Embed on Ray's actors, one a worker; a session has to be open.

    Raises:
        ClibdError: as the parts say, from whichever worker met it.
    """
    import ray
    from ray.util import ActorPool

    plan = Embedder(job)  # this process knows which inputs are distinct, and puts the rows together
    actor = ray.remote(
        num_cpus=resources.cpus_per_worker,
        num_gpus=resources.gpus_per_worker,
        max_restarts=MAX_FAILURES,
        max_task_retries=MAX_FAILURES,
    )(Worker)
    chunks = plan.chunks()
    count = min(resources.num_workers, len(chunks))
    workers = [actor.remote(job, resources.threads, resources.gpus_per_worker > 0) for _ in range(count)]

    def submit(worker: Any, chunk: Chunk) -> Any:
        return worker.run.remote(chunk)

    try:
        found: Iterator[tuple[Chunk, Floats]] = ActorPool(workers).map_unordered(submit, chunks)
        return _gathered(plan, found, tell)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ClibdError):
            raise error.cause from error
        raise
    finally:
        for worker in workers:
            ray.kill(worker)


def _gathered(embedder: Embedder, found: Iterable[tuple[Chunk, Floats]], tell: Tell) -> dict[str, Embedded]:
    """Put the chunks together, in whatever order they come."""
    chunks = embedder.chunks()
    rows: dict[Modality, Floats] = {}
    for done, ((modality, start, stop), embedded) in enumerate(found, start=1):
        if modality not in rows:
            count = max(end for name, _, end in chunks if name == modality)
            rows[modality] = np.empty((count, embedded.shape[1]), dtype=np.float32)
        rows[modality][start:stop] = embedded
        tell(done, len(chunks))
    specimens = embedder.specimens  # a row for each of them from one for every distinct input
    spread = {name: rows[name][specimens.groups(name)[1]] for name in specimens.modalities}
    return as_parts(embedded_specimens(specimens, spread), embedder.parts)
