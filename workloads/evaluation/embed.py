"""Embeddings of specimens, shared among the workers of a process group."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from workloads.arrays import Floats, Indices
from workloads.command_line import Counting, Tell, unseen
from workloads.data.inputs.batches import AS_THEY_ARE, Asked, Batch, Specimens, View
from workloads.data.inputs.loading import loaded
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.specimens.schema import subset_of
from workloads.errors import MissingPathError
from workloads.evaluation.embedded import KEYS, REST, Embedded
from workloads.models.clibd import Classifier, Clibd
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement, kernels, matrix_products
from workloads.recipes import evaluation_precision
from workloads.spec import Modality

Precision = Literal["bf16", "tf32", "fp32"]
Outputs = Literal["embeddings", "logits"]
Parts = Mapping[str, tuple[str, ...]]

BATCH_SIZE = 256
GPU_BATCH_SIZE = 1024
_NAMELESS = "no_split"
"""Split of specimens without a species, which only train."""


def parts_of(dataset: PreparedDataset, with_rest: bool = False) -> dict[str, tuple[str, ...]]:
    """The splits of the `keys`, and of the queries of each partition that has some.

    Args:
        dataset: prepared.
        with_rest: whether named specimens that train are in `rest` too, with which Bayesian zero-shot learning begins.
            INSECT's unseen species, which neither answer nor ask, are there in any case: all of its use is in them.

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
    used = {_NAMELESS, *(split for names in parts.values() for split in names)}
    rest = (
        *(splits.training if with_rest else ()),
        *(split for split in splits.unused if subset_of(split) == "unseen"),
    )
    parts[REST] = tuple(split for split in rest if counts.get(split) and split not in used)
    return {part: names for part, names in parts.items() if names}


def can_be_searched(dataset: PreparedDataset) -> bool:
    """Whether `parts_of` has keys and queries."""
    splits, counts = dataset.facts.splits, dataset.facts.num_specimens
    return all(any(counts.get(split) for split in own) for own in (splits.keys, splits.asking()))


def usable_modalities(experiment: LoadedModel, facts: DatasetFacts) -> tuple[list[Modality], dict[Modality, str]]:
    """The modalities of a run that a data set can be embedded in, and why not in the others."""
    why = {name: _misfit(name, experiment, facts) for name in experiment.spec.modalities}
    left_out = {name: reason for name, reason in why.items() if reason}
    return [name for name in why if name not in left_out], left_out


def _misfit(modality: Modality, experiment: LoadedModel, facts: DatasetFacts) -> str | None:
    """Why a tower cannot take what the data set has; None where it can."""
    if modality not in facts.modalities:
        return f"{facts.name} has none"
    towers = experiment.inputs
    if modality == "image":
        return _other_kind(towers.image_feature_size, facts.image_feature_size, "pixels")
    if modality == "dna" and experiment.spec.dna.kind == "features":
        return _other_kind(towers.dna_feature_size, facts.dna_feature_size, "barcodes alone")
    if modality == "dna" and not facts.barcodes:
        return f"the run's tower takes barcodes, and {facts.name} has features instead"
    return None


def _other_kind(takes: int | None, has: int | None, otherwise: str) -> str | None:
    if takes == has:
        return None
    wanted, there = (otherwise if size is None else f"features of {size} numbers" for size in (takes, has))
    return f"the run's tower takes {wanted}, and the data set has {there}"


def embed_parts(
    experiment: LoadedModel, dataset: PreparedDataset, placement: Placement, counting: Counting = unseen
) -> dict[str, Embedded]:
    """Keys and queries in every modality of the spec; called on every worker of a group alike, and the same on each.

    Identical barcodes and labels are embedded once, whether they are keys or queries.

    Args:
        experiment: with the model, on `placement.device`.
        dataset: with key and query splits.
        placement: this worker's.
        counting: shows how far it is.

    Raises:
        MissingPathError: the data set has no keys, or no queries in either partition.
    """
    parts = parts_of(dataset)
    specimens = experiment.specimens(dataset, all_splits(parts))
    return as_parts(embed_all(experiment, specimens, placement, counting), parts)


def embed_all(
    experiment: LoadedModel, specimens: Specimens, placement: Placement, counting: Counting = unseen
) -> Embedded:
    """Specimens in all modalities that they were opened in, at the precision of the experiment's evaluation."""
    precision = evaluation_precision(experiment.spec)
    rows = {
        name: embed(
            experiment.model, specimens, name, placement, precision, tell=counting(f"embedding {name}", "inputs")
        )
        if len(specimens.groups(name)[0])
        else np.zeros((len(specimens), experiment.spec.embedding_size), dtype=np.float32)
        for name in specimens.modalities
    }
    return embedded_specimens(specimens, rows)


def embedded_specimens(specimens: Specimens, rows: Mapping[Modality, Floats]) -> Embedded:
    """Specimens with their embeddings, (specimens, size) by modality."""
    masks = {str(name): there for name in rows if (there := specimens.there(name)) is not None}
    lacking = {name: ~there for name, there in masks.items() if not there.all()}
    named = {str(name): own for name, own in rows.items()}
    return Embedded(specimens.ids, specimens.split, specimens.labels, named, lacking)


def spread(rows: Floats, which: Indices) -> Floats:
    """A row for each specimen from one for every distinct input, (specimens, size); zeros for who has none.

    Args:
        rows: (inputs, size).
        which: of them each specimen has, -1 for none (`Specimens.groups`), (specimens,).
    """
    whole = np.zeros((len(which), rows.shape[1]), dtype=rows.dtype)
    whole[which >= 0] = rows[which[which >= 0]]
    return whole


def all_splits(parts: Parts) -> list[str]:
    """Every split of the parts, once."""
    return list(dict.fromkeys(split for splits in parts.values() for split in splits))


def as_parts(whole: Embedded, parts: Parts) -> dict[str, Embedded]:
    """What was embedded at once, part by part."""
    return {part: whole.take(np.isin(whole.split.astype(str), splits)) for part, splits in parts.items()}


def embed(
    model: Clibd | Classifier,
    specimens: Specimens,
    modality: Modality,
    placement: Placement,
    precision: Precision = "fp32",
    batch_size: int | None = None,
    of: Outputs = "embeddings",
    tell: Tell | None = None,
) -> Floats:
    """Unit embeddings, or a classifier's logits, of every specimen in one modality; every worker gets all of them.

    Identical barcodes and labels are embedded once.

    Returns:
        (specimens, embedding), fp32 whatever the precision of the tower; zeros for who lacks the modality.
    """
    first, which = specimens.groups(modality)

    def run(batches: Iterable[Indices]) -> Iterator[Tensor]:
        rows = (first[some] for some in batches)
        return embed_batches(model, specimens, modality, rows, placement, precision, of)

    size = batch_size or batch_size_on(placement.device)
    return spread(rows_of_all_workers(run, len(first), placement, size, tell), which)


def batch_size_on(device: torch.device) -> int:
    """Specimens that are embedded at a time."""
    return GPU_BATCH_SIZE if device.type == "cuda" else BATCH_SIZE


def embed_batches(
    model: Clibd | Classifier,
    specimens: Specimens,
    modality: Modality,
    batches: Iterable[Indices],
    placement: Placement,
    precision: Precision = "fp32",
    of: Outputs = "embeddings",
    view: View = AS_THEY_ARE,
) -> Iterator[Tensor]:
    """Unit embeddings, or what a model in training gives instead, of batches of one modality, fp32 on the device.

    Pictures are decoded by the placement's other processes; what other towers take is soon at hand.
    """
    model.eval()
    processes = placement.loader_processes if modality == "image" else 0
    asked = (Asked(rows=rows, modalities=(modality,), view=view) for rows in batches)
    with closing(loaded(specimens, asked, placement.device, processes)) as inputs:
        for batch in inputs:
            yield _embedded(model, batch, placement.device, precision, of)[modality].float()


def _embedded(
    model: Clibd | Classifier, inputs: Batch, device: torch.device, precision: Precision, of: Outputs
) -> Batch:
    with torch.inference_mode(), matrix_products(precision), kernels(device, precision):
        return model.embed(inputs) if of == "embeddings" else model(inputs)[0]


def rows_of_all_workers(
    run: Callable[[Iterable[Indices]], Iterable[Tensor]],
    total: int,
    placement: Placement,
    at_once: int,
    tell: Tell | None = None,
) -> npt.NDArray[Any]:
    """The rows that `run` makes, of which each worker makes a share, some at a time, in order.

    Args:
        run: makes the rows of these numbers, batch by batch.
        total: how many there are.
        placement: this worker's.
        at_once: rows of a batch.
        tell: told how many of this worker's rows are made.
    """
    share = math.ceil(total / placement.num_workers)
    mine = np.arange(total)[placement.rank * share : (placement.rank + 1) * share]
    made: list[Tensor] = []  # on the device, which is not waited for
    for rows in run(mine[start : start + at_once] for start in range(0, len(mine), at_once)):
        made.append(rows)
        if tell:
            tell(min(len(made) * at_once, len(mine)), len(mine))
    shares = [torch.cat(made).cpu().numpy() if made else None]
    if placement.num_workers > 1:
        own, shares = shares[0], [None] * placement.num_workers
        dist.all_gather_object(shares, own)
    return np.concatenate([rows for rows in shares if rows is not None])
