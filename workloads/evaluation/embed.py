"""Embeddings of specimens, shared among the workers of a process group."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from workloads.data.batches import Specimens, View
from workloads.models.clibd import Classifier, Clibd
from workloads.spec import Modality
from workloads.training.placement import Placement, kernels, matrix_products

Embeddings = npt.NDArray[np.float32]


def embed(
    model: Clibd | Classifier, specimens: Specimens, modality: Modality, placement: Placement, batch_size: int = 256
) -> Embeddings:
    """Unit embeddings of every specimen in one modality, in fp32; every worker gets all of them.

    Identical barcodes and labels are embedded once.

    Returns:
        (specimens, embedding).
    """
    first, which = specimens.groups(modality)
    share = math.ceil(len(first) / placement.num_workers)
    mine = first[placement.rank * share : (placement.rank + 1) * share]
    model.eval()

    def run(rows: npt.NDArray[np.int64]) -> Tensor:
        inputs = specimens.inputs(modality, rows, View()).to(placement.device)
        embedded, _ = model({modality: inputs})
        rows_embedded: Tensor = embedded[modality]
        return rows_embedded

    with torch.inference_mode(), matrix_products("fp32"), kernels(placement.device, "fp32"):
        own = _in_chunks(run, mine, batch_size)
        size = own.shape[1] if len(mine) else 0
        distinct = _all_rows(own, share, size, placement)[: len(first)]
    embeddings: Embeddings = distinct.cpu().numpy()[which]
    return embeddings


def _in_chunks(run: Callable[[npt.NDArray[np.int64]], Tensor], rows: npt.NDArray[np.int64], size: int) -> Tensor:
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
