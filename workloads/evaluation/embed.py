"""Embeddings of specimens, shared among the workers of a process group."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from workloads.data.batches import Specimens, View
from workloads.data.prepared import PreparedDataset
from workloads.errors import MissingPathError
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.stored import KEYS, REST
from workloads.experiment import Experiment
from workloads.models.clibd import Classifier, Clibd
from workloads.recipes import evaluation_precision
from workloads.spec import Modality
from workloads.training.placement import Placement, kernels, matrix_products

Embeddings = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Precision = Literal["bf16", "fp32"]
Parts = Mapping[str, tuple[str, ...]]

BATCH_SIZE = 256
_NAMELESS = "no_split"
"""Split of specimens without a species, which only train."""


def parts_of(dataset: PreparedDataset, with_rest: bool = False) -> dict[str, tuple[str, ...]]:
    """The splits of the `keys`, and of the queries of each partition that has some.

    Args:
        dataset: prepared.
        with_rest: whether `rest` is one of the parts: named specimens that train, and INSECT's unseen species. Neither
            answer nor ask; Bayesian zero-shot learning begins with them.

    Raises:
        MissingPathError: the data set has no keys, or no queries in either partition.
    """
    splits, counts = dataset.facts.splits, dataset.facts.num_specimens
    if not any(counts.get(split) for split in splits.keys):
        wanted = f"specimens of {', '.join(splits.keys)}"
        raise MissingPathError(str(dataset.folder), wanted, "Prepare more specimens.")
    asking = {part: tuple(s for s in named.values() if counts.get(s)) for part, named in splits.queries.items()}
    if not any(asking.values()):
        raise MissingPathError(str(dataset.folder), "queries", "Prepare more specimens of each species.")
    parts = {KEYS: tuple(split for split in splits.keys if counts.get(split)), **asking}
    if with_rest:
        used = {split for names in parts.values() for split in names}
        named = (*splits.training, *(split for split in splits.unused if "unseen" in split))
        parts[REST] = tuple(split for split in named if counts.get(split) and split not in used and split != _NAMELESS)
    return {part: names for part, names in parts.items() if names}


def embed_parts(
    experiment: Experiment,
    dataset: PreparedDataset,
    placement: Placement,
    modalities: Sequence[Modality] | None = None,
) -> dict[str, Embedded]:
    """Keys and queries in every modality; called on every worker of a group alike, and the same on each.

    Identical barcodes and labels are embedded once, whether they are keys or queries.

    Args:
        experiment: with the model, on `placement.device`.
        dataset: with key and query splits.
        placement: this worker's.
        modalities: which to embed; None for all of the spec.

    Raises:
        MissingPathError: the data set has no keys, or no queries in either partition.
    """
    parts = parts_of(dataset)
    specimens = experiment.specimens(dataset, all_splits(parts), modalities)
    precision = evaluation_precision(experiment.spec)
    rows = {name: embed(experiment.model, specimens, name, placement, precision) for name in specimens.modalities}
    return as_parts(specimens, rows, parts)


def all_splits(parts: Parts) -> list[str]:
    """Every split of the parts, once."""
    return list(dict.fromkeys(split for splits in parts.values() for split in splits))


def as_parts(specimens: Specimens, rows: Mapping[Modality, Embeddings], parts: Parts) -> dict[str, Embedded]:
    """What was embedded at once, part by part."""
    by_name = {str(modality): own for modality, own in rows.items()}
    whole = Embedded(specimens.ids, specimens.split, specimens.labels, by_name)
    return {part: whole.take(np.isin(specimens.split.astype(str), splits)) for part, splits in parts.items()}


def embed(
    model: Clibd | Classifier,
    specimens: Specimens,
    modality: Modality,
    placement: Placement,
    precision: Precision = "fp32",
    batch_size: int = BATCH_SIZE,
) -> Embeddings:
    """Unit embeddings of every specimen in one modality; every worker gets all of them.

    Identical barcodes and labels are embedded once.

    Returns:
        (specimens, embedding), fp32 whatever the precision of the tower.
    """
    first, which = specimens.groups(modality)
    share = math.ceil(len(first) / placement.num_workers)
    mine = first[placement.rank * share : (placement.rank + 1) * share]

    def run(rows: Indices) -> Tensor:
        return embed_rows(model, specimens, modality, rows, placement.device, precision)

    own = _in_chunks(run, mine, batch_size)
    size = own.shape[1] if len(mine) else 0
    distinct = _all_rows(own, share, size, placement)[: len(first)]
    embeddings: Embeddings = distinct.cpu().numpy()[which]
    return embeddings


def embed_rows(
    model: Clibd | Classifier,
    specimens: Specimens,
    modality: Modality,
    rows: Indices,
    device: torch.device,
    precision: Precision = "fp32",
) -> Tensor:
    """Unit embeddings of some specimens in one modality, fp32 on the device, (rows, embedding)."""
    model.eval()
    with torch.inference_mode(), matrix_products("fp32"), kernels(device, precision):
        inputs = specimens.inputs(modality, rows, View()).to(device)
        embedded: Tensor = model({modality: inputs})[0][modality]
    return embedded.float()


def _in_chunks(run: Callable[[Indices], Tensor], rows: Indices, size: int) -> Tensor:
    if not len(rows):
        return torch.empty(0, 0)
    return torch.cat([run(rows[start : start + size]) for start in range(0, len(rows), size)])


def _all_rows(own: Tensor, share: int, size: int, placement: Placement) -> Tensor:
    """The rows of all workers in order; each has `share` of them, the last ones perhaps fewer."""
    if placement.num_workers == 1:
        return own
    sizes = torch.tensor([size], device=placement.device)
    dist.all_reduce(sizes, op=dist.ReduceOp.MAX)  # a worker without rows does not know the width
    padded = torch.zeros(share, int(sizes.item()), device=placement.device)
    if len(own):
        padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in range(placement.num_workers)]
    dist.all_gather(gathered, padded)
    return torch.cat(gathered)
