"""Embeds keys and queries with a run, chunk by chunk: in this process, or wherever else a chunk is handed to.

The numbers do not depend on who embeds what: chunks are the same for any number of workers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from workloads.arrays import Floats
from workloads.command_line import Tell
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.embed import BATCH_SIZE, all_splits, as_parts, embed_rows, embedded_specimens, parts_of
from workloads.evaluation.embedded import Embedded
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.placement import this_device
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

    def __init__(self, job: EmbeddingJob, threads: int | None = None, gpu: bool = False) -> None:
        self._job, self._device = job, torch.device("cuda" if gpu else "cpu")
        if threads:
            torch.set_num_threads(threads)

    @cached_property
    def _opened(self) -> tuple[LoadedModel, dict[str, tuple[str, ...]], Specimens]:
        """The model, the splits of each part, and the specimens."""
        dataset = PreparedDataset(Folder(self._job.data))
        experiment = self._job.experiment(dataset)
        experiment.model.to(self._device)
        parts = parts_of(dataset, self._job.with_rest)
        return experiment, parts, experiment.specimens(dataset, all_splits(parts), self._job.modalities)

    def chunks(self) -> list[Chunk]:
        """Everything there is to embed; the slow modality first, so that no worker is left with it alone."""
        _, _, specimens = self._opened
        sizes = {name: len(specimens.groups(name)[0]) for name in specimens.modalities}
        return [
            (name, start, min(start + BATCH_SIZE, count))
            for name, count in sizes.items()
            for start in range(0, count, BATCH_SIZE)
        ]

    def run(self, chunk: Chunk) -> tuple[Chunk, Floats]:
        """Embed one chunk, (inputs, embedding)."""
        experiment, _, specimens = self._opened
        modality, start, stop = chunk
        rows, precision = specimens.groups(modality)[0][start:stop], evaluation_precision(experiment.spec)
        return chunk, embed_rows(experiment.model, specimens, modality, rows, self._device, precision).cpu().numpy()

    def put_together(self, embedded: Iterable[tuple[Chunk, Floats]], tell: Tell) -> dict[str, Embedded]:
        """The parts from all chunks, in whatever order they come."""
        _, parts, specimens = self._opened
        num_chunks, rows = len(self.chunks()), dict[Modality, Floats]()
        for done, ((modality, start, stop), own) in enumerate(embedded, start=1):
            if modality not in rows:
                rows[modality] = np.empty((len(specimens.groups(modality)[0]), own.shape[1]), dtype=np.float32)
            rows[modality][start:stop] = own
            tell(done, num_chunks)
        # A row for each specimen from one for every distinct input.
        spread = {name: rows[name][specimens.groups(name)[1]] for name in specimens.modalities}
        return as_parts(embedded_specimens(specimens, spread), parts)


def embed_here(job: EmbeddingJob, tell: Tell, cpu_only: bool = False) -> dict[str, Embedded]:
    """Embed in this process."""
    embedder = Embedder(job, gpu=this_device(cpu_only).type == "cuda")
    return embedder.put_together(map(embedder.run, embedder.chunks()), tell)
