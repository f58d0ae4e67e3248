"""The contrastive loss over all pairs of modalities, and the gather that lets it see every worker's specimens."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class _GatherWithGradient(torch.autograd.Function):
    """Concatenates every worker's rows; the gradient of a row flows back to the worker that made it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num_rows = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Each of W workers computes the same whole loss, so the sum is W times the gradient of a row; the mean that
        # DistributedDataParallel takes over workers brings it back to one.
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.num_rows
        return gradient[start : start + ctx.num_rows]


def gather(rows: Tensor) -> Tensor:
    """The rows of all workers, in order of rank; without a process group the rows themselves.

    Args:
        rows: (batch / workers, size), the same number on every worker.

    Returns:
        (batch, size).
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _GatherWithGradient.apply(rows)
    return gathered


def pair_loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Symmetric NT-Xent between two modalities.

        L(a, b) = 1/2 [ CE(s A B', I) + CE(s B A', I) ]

    Only the specimen itself is a positive, as in the paper's equation 1 and the authors' default.

    Args:
        a: unit embeddings of one modality, (batch, size).
        b: unit embeddings of the other, (batch, size); row i is the same specimen as in `a`.
        scale: inverse temperature, positive scalar.

    Returns:
        Mean over the batch, scalar.
    """
    logits = scale * a @ b.T  # (batch, batch)
    targets = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def contrastive_loss(embedded: Mapping[str, Tensor], scale: Tensor) -> Tensor:
    """Mean of the pair losses over all pairs of modalities, each specimen against the whole global batch.

    The paper writes a sum over pairs (section 3); the mean is the authors' code's, and differs by a constant factor.

    Args:
        embedded: unit embeddings by modality, this worker's part of the batch, (batch / workers, size).
        scale: inverse temperature, positive scalar.
    """
    whole = [gather(rows) for rows in embedded.values()]
    losses = [pair_loss(a, b, scale) for a, b in combinations(whole, 2)]
    return torch.stack(losses).mean()
