"""What training minimises: alignment of modalities, agreement of two views, or classification.

Each loss takes this worker's embeddings and gives the mean over the global batch, the same on every worker. Its
gradients are those of which DistributedDataParallel's mean over workers is the gradient of the whole.
"""

from collections.abc import Mapping
from functools import reduce
from itertools import combinations
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from workloads.training.tiled_loss import pairs_loss, views_loss


def contrastive_loss(
    embedded: Mapping[str, Tensor], scale: Tensor, bind_to: str | None = None, *, tile: int | None = None
) -> Tensor:
    """Mean of the symmetric NT-Xent losses over pairs of modalities, each specimen against the whole global batch.

        L(a, b) = 1/2 [ CE(s A B', I) + CE(s B A', I) ]

    Only the specimen itself is a positive, as in the paper's equation 1 and the authors' default. The paper writes a
    sum over pairs (section 3); the mean is the authors' code's, and differs by a constant factor. Computed in fp32, or
    fp64 if the embeddings are.

    Args:
        embedded: unit embeddings by modality, this worker's part of the batch, (batch / workers, size); row i is the
            same specimen in all.
        scale: inverse temperature, positive scalar.
        bind_to: only pairs with this modality count, as in ImageBind (Table 12); None: all pairs.
        tile: side of the tiles in which similarities are computed; None: what suits the device.
    """
    names = list(embedded)
    if bind_to is None:
        pairs = list(combinations(range(len(names)), 2))
    else:
        pairs = [(number, names.index(bind_to)) for number, name in enumerate(names) if name != bind_to]
    shares, scale = _in_one_precision(list(embedded.values()), scale)
    return pairs_loss(shares, pairs, scale, tile)


def two_view_loss(embedded: Mapping[str, Tensor], scale: Tensor, *, tile: int | None = None) -> Tensor:
    """SimCLR's NT-Xent: each of 2 batch views against its other view and the 2 batch - 2 of other specimens.

    The negatives are those of the global batch; the authors' code compares with those on the same GPU only.

    Args:
        embedded: unit embeddings of the two views, this worker's part of the batch, (batch / workers, size) each.
        scale: inverse temperature, positive scalar.
        tile: side of the tiles in which similarities are computed; None: what suits the device.
    """
    (one, other), scale = _in_one_precision(list(embedded.values()), scale)
    return views_loss(one, other, scale, tile)


def classification_loss(embedded: Mapping[str, Tensor], scale: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the one entry's logits.

    Args:
        embedded: logits by modality, of one modality, this worker's part of the batch, (batch / workers, classes).
        scale: factor of the logits, scalar; 1 for a classifier.
        labels: class of each specimen, (batch / workers,).
    """
    (logits,), scale = _in_one_precision(list(embedded.values()), scale)
    with torch.autocast(logits.device.type, enabled=False):
        loss: Tensor = _MeanOverWorkers.apply(F.cross_entropy(scale * logits, labels))
    return loss


def _in_one_precision(tensors: list[Tensor], scale: Tensor) -> tuple[list[Tensor], Tensor]:
    """All in the widest of their types, at least fp32."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors], scale.to(dtype)


class _MeanOverWorkers(torch.autograd.Function):
    """Mean of what each worker found; the gradient of its own part, since gradients are averaged later."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        mean = value.clone()
        if dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        return mean

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0]
