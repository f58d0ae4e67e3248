"""Embeds keys and queries with a run, chunk by chunk: in this process, or wherever else a chunk is handed to.

The numbers do not depend on who embeds what: chunks are the same for any number of workers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch

from workloads.arrays import Floats
from workloads.command_line import Tell
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.embed import (
    BATCH_SIZE,
    GPU_BATCH_SIZE,
    all_splits,
    as_parts,
    embed_batches,
    embedded_specimens,
    parts_of,
    spread,
)
from workloads.evaluation.embedded import Embedded
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.placement import Placement, loaders_beside, this_device
from workloads.recipes import evaluation_precision
from workloads.record import RunFolder
from workloads.spec import Modality
from workloads.storage import Folder

Chunk = tuple[Modality, int, int]
"""Modality, and from which to which of its distinct inputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingJob:
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

    def experiment(self, dataset: PreparedDataset) -> LoadedModel:
        """The model."""
        run = RunFolder(Folder(self.run))
        return open_untrained(run.spec(), dataset, {}, run.folder) if self.untrained else open_run(run)


class Embedder:
    """A model and the specimens that it embeds, opened with the first chunk."""

    def __init__(
        self, job: EmbeddingJob, threads: int | None = None, gpu: bool = False, loader_processes: int = 0
    ) -> None:
        device = torch.device("cuda" if gpu else "cpu")
        self._job, self._placement = job, Placement(device, loader_processes=loader_processes)
        if threads:
            torch.set_num_threads(threads)

    @cached_property
    def _opened(self) -> tuple[LoadedModel, dict[str, tuple[str, ...]], Specimens]:
        """The model, the splits of each part, and the specimens."""
        dataset = PreparedDataset(Folder(self._job.data))
        experiment = self._job.experiment(dataset)
        experiment.model.to(self._placement.device)
        parts = parts_of(dataset, self._job.with_rest)
        return experiment, parts, experiment.specimens(dataset, all_splits(parts), self._job.modalities)

    def chunks(self, on_gpu: bool = False) -> list[Chunk]:
        """Everything there is to embed; the slow modality first, so that no worker is left with it alone."""
        _, _, specimens = self._opened
        sizes = {name: len(specimens.groups(name)[0]) for name in specimens.modalities}
        size = GPU_BATCH_SIZE if on_gpu else BATCH_SIZE
        return [
            (name, start, min(start + size, count)) for name, count in sizes.items() for start in range(0, count, size)
        ]

    def run(self, chunks: Sequence[Chunk]) -> list[tuple[Chunk, Floats]]:
        """Embed some chunks, (inputs, embedding) each."""
        return list(self.each(chunks))

    def each(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Floats]]:
        """Embed chunks, each as it is asked for, while the next one's inputs are made."""
        experiment, _, specimens = self._opened
        precision = evaluation_precision(experiment.spec)
        for modality, group in groupby(chunks, itemgetter(0)):
            own, first = list(group), specimens.groups(modality)[0]
            rows = (first[start:stop] for _, start, stop in own)
            made = embed_batches(experiment.model, specimens, modality, rows, self._placement, precision)
            yield from ((chunk, embedded.cpu().numpy()) for chunk, embedded in zip(own, made, strict=True))

    def put_together(
        self, embedded: Iterable[tuple[Chunk, Floats]], num_chunks: int, tell: Tell
    ) -> dict[str, Embedded]:
        """The parts from all chunks, in whatever order they come."""
        experiment, parts, specimens = self._opened
        rows = dict[Modality, Floats]()
        for done, ((modality, start, stop), own) in enumerate(embedded, start=1):
            if modality not in rows:
                rows[modality] = np.empty((len(specimens.groups(modality)[0]), own.shape[1]), dtype=np.float32)
            rows[modality][start:stop] = own
            tell(done, num_chunks)
        nothing = np.empty((0, experiment.spec.embedding_size), dtype=np.float32)
        whole = {name: spread(rows.get(name, nothing), specimens.groups(name)[1]) for name in specimens.modalities}
        return as_parts(embedded_specimens(specimens, whole), parts)


def embed_here(job: EmbeddingJob, tell: Tell, cpu_only: bool = False) -> dict[str, Embedded]:
    """Embed in this process."""
    device = this_device(cpu_only)
    on_gpu = device.type == "cuda"
    embedder = Embedder(job, gpu=on_gpu, loader_processes=loaders_beside(device))
    chunks = embedder.chunks(on_gpu)
    return embedder.put_together(embedder.each(chunks), len(chunks), tell)
