"""Losses over all similarities of a batch, exact, a tile at a time: memory grows with the batch, not with its square.

The similarities S = s A B' of a batch are batch × batch numbers. The way forward computes them in tiles and keeps the
log-sum-exp of every row and column; the way back computes the tiles again and adds each one's part of the gradients.
That is one matrix product more than keeping S would take (4 instead of 3).

With W workers each owns batch / W rows, its share, and computes the similarities of these with the whole batch. What
the others own arrives by a gather, column sums are combined, and column gradients go back to their owners. Every worker
has the loss of the whole batch. Its gradients are W times its part, so that the mean that DistributedDataParallel takes
over workers is the gradient of the whole.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from workloads.placement import matrix_products

TILE_ON_CPU, TILE_ON_GPU = 1024, 4096
"""Side of a tile: the fastest of 256 to 2,048 on a CPU; on a GPU large enough to fill it, at 64 MB in fp32."""


def pairs_loss(
    shares: Sequence[Tensor], pairs: Sequence[tuple[int, int]], scale: Tensor, tile: int | None = None
) -> Tensor:
    """Mean over pairs of modalities of the symmetric NT-Xent loss (CLIBD, equation 1).

        L(a, b) = 1/2 [ CE(s A B', I) + CE(s B A', I) ]

    Args:
        shares: unit embeddings of each modality, this worker's rows, (batch / workers, size) each.
        pairs: which modalities are aligned, as numbers into `shares`.
        scale: inverse temperature, positive scalar.
        tile: side of a tile; None: what suits the device.
    """
    loss: Tensor = _PairsLoss.apply(scale, tuple(pairs), tile or _tile_on(scale.device), *shares)
    return loss


def views_loss(one: Tensor, other: Tensor, scale: Tensor, tile: int | None = None) -> Tensor:
    """NT-Xent between two views of the same specimens (SimCLR, arXiv:2002.05709, equation 1).

        L = 1/(2 batch) Σ_i [ log Σ_{j≠i} exp(s z_i z_j) - s z_i z_p(i) ],   z_p(i) the other view of z_i

    Args:
        one: unit embeddings of the first view, this worker's rows, (batch / workers, size).
        other: of the second view; row i is the same specimen as in `one`, (batch / workers, size).
        scale: inverse temperature, positive scalar.
        tile: side of a tile; None: what suits the device.
    """
    loss: Tensor = _ViewsLoss.apply(scale, one, other, tile or _tile_on(scale.device))
    return loss


class _PairsLoss(torch.autograd.Function):
    """Of a pair (a, b) this worker's rows of A meet all rows of B, so only second modalities are gathered."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor, pairs: tuple[tuple[int, int], ...], tile: int, *shares: Tensor) -> Tensor:
        rank, num_workers = _place()
        share = len(shares[0])
        own = slice(rank * share, (rank + 1) * share)
        total = scale.new_zeros(())
        sums: list[Tensor] = []
        with _full_precision(scale.device):
            gathered = {second: _gather(shares[second]) for _, second in pairs}
            for first, second in pairs:
                block = _Block(shares[first], gathered[second], scale, tile, positive=own.start)
                rows, columns, positives = block.sums()
                columns = _log_sum_exp_over_workers(columns)
                total += (rows - positives).sum() + (columns[own] - positives).sum()
                sums += [rows, columns]
        ctx.pairs, ctx.tile, ctx.seconds = pairs, tile, list(gathered)
        ctx.save_for_backward(scale, *shares, *gathered.values(), *sums)
        return _sum_over_workers(total) / (2 * share * num_workers * len(pairs))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale, *tensors = ctx.saved_tensors
        num_shares = len(tensors) - len(ctx.seconds) - 2 * len(ctx.pairs)
        shares, tensors = tensors[:num_shares], tensors[num_shares:]
        gathered = dict(zip(ctx.seconds, tensors, strict=False))
        sums = tensors[len(gathered) :]
        rank, num_workers = _place()
        found = [torch.zeros_like(share) for share in shares]
        # Alone, a worker's rows are all rows, and both sides of a pair add to the same gradients.
        of_whole = {second: torch.zeros_like(whole) for second, whole in gathered.items() if num_workers > 1}
        with _full_precision(scale.device):
            for number, (first, second) in enumerate(ctx.pairs):
                block = _Block(shares[first], gathered[second], scale, ctx.tile, positive=rank * len(shares[0]))
                rows, columns = sums[2 * number : 2 * number + 2]
                block.add_gradients(rows, columns, found[first], of_whole.get(second, found[second]))
            for second, gradient in of_whole.items():
                found[second] += _scatter_sum(gradient)
            # The mean of the whole batch, times the number of workers.
            weight = upstream / (2 * len(shares[0]) * len(ctx.pairs))
            of_scale, of_shares = _of_inputs(scale, weight, shares, found)
        return of_scale, None, None, *of_shares


class _ViewsLoss(torch.autograd.Function):
    """All 2 batch similarities are symmetric, so a row's gradient needs the sums of all rows and no column gradients.

    A worker's rows are its share of one view and then of the other; gathered, they are ordered by worker.
    """

    @staticmethod
    def forward(ctx: Any, scale: Tensor, one: Tensor, other: Tensor, tile: int) -> Tensor:
        with _full_precision(scale.device):
            whole = _gather(torch.cat([one, other]))
            found = [block.sums() for block in _views(one, other, whole, scale, tile)]
            rows = torch.cat([rows for rows, _, _ in found])
            total = (rows - torch.cat([positives for _, _, positives in found])).sum()
        ctx.tile = tile
        ctx.save_for_backward(scale, one, other, whole, rows, _gather(rows))
        return _sum_over_workers(total) / len(whole)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale, one, other, whole, rows, all_rows = ctx.saved_tensors
        found = [torch.zeros_like(one), torch.zeros_like(other)]
        with _full_precision(scale.device):
            blocks = _views(one, other, whole, scale, ctx.tile)
            for block, sums, gradient in zip(blocks, rows.chunk(2), found, strict=True):
                block.add_gradients(sums, all_rows, gradient, None)
            of_scale, of_shares = _of_inputs(scale, upstream / (2 * len(one)), (one, other), found)
        return of_scale, *of_shares, None


def _of_inputs(
    scale: Tensor, weight: Tensor, shares: Sequence[Tensor], found: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of scale and embeddings from the sums G B and G' A, where G = dL/dS up to `weight`.

    Σ G[i, j] a_i b_j, the scale's, appears once in A · (G B) and once more in B · (G' A); hence the half.
    """
    of_scale = sum(
        ((share * gradient).sum() for share, gradient in zip(shares, found, strict=True)), scale.new_zeros(())
    )
    return of_scale * weight / 2, [gradient.mul_(scale * weight) for gradient in found]


@dataclass(frozen=True, slots=True)
class _Block:
    """Similarities of some rows with all columns, S[i, j] = s rows[i] · columns[j]; never all at once."""

    rows: Tensor
    """(rows, size)."""
    columns: Tensor
    """(columns, size)."""
    scale: Tensor
    tile: int
    positive: int
    """Column of the first row's positive; each row's is one further."""
    excluded: int | None = None
    """Likewise the column that is left out: the row itself, where rows are among the columns."""

    def tiles(self) -> Iterator[tuple[int, int, Tensor]]:
        """First row, first column and similarities of every tile."""
        for top in range(0, len(self.rows), self.tile):
            scaled = self.scale * self.rows[top : top + self.tile]
            for left in range(0, len(self.columns), self.tile):
                similarities = scaled @ self.columns[left : left + self.tile].T
                if self.excluded is not None:
                    similarities.diagonal(top + self.excluded - left).fill_(-math.inf)
                yield top, left, similarities

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log-sum-exp of each row and, over these rows, of each column; and each row's positive similarity."""
        rows = self.scale.new_full((len(self.rows),), -math.inf)
        columns = self.scale.new_full((len(self.columns),), -math.inf)
        positives = torch.empty_like(rows)
        for top, left, similarities in self.tiles():
            height, width = similarities.shape
            of_rows, of_columns = rows[top : top + height], columns[left : left + width]
            torch.logaddexp(of_rows, similarities.logsumexp(1), out=of_rows)
            torch.logaddexp(of_columns, similarities.logsumexp(0), out=of_columns)
            offset = top + self.positive - left
            found = similarities.diagonal(offset)
            first = top + max(0, -offset)
            positives[first : first + len(found)] = found
        return rows, columns, positives

    def add_gradients(self, rows: Tensor, columns: Tensor, into_rows: Tensor, into_columns: Tensor | None) -> None:
        """Add G B to the gradients of rows, and G' A to those of columns.

            G[i, j] = exp(S[i, j] - rows[i]) + exp(S[i, j] - columns[j]) - 2 [j is i's positive]

        Args:
            rows: log-sum-exp of each row, (rows,).
            columns: log-sum-exp of each column over the rows of all workers, (columns,).
            into_rows: (rows, size).
            into_columns: (columns, size), or None.
        """
        for top, left, similarities in self.tiles():
            height, width = similarities.shape
            at, to = slice(top, top + height), slice(left, left + width)
            by_rows = (similarities - rows[at, None]).exp_()
            weights = similarities.sub_(columns[to]).exp_().add_(by_rows)
            weights.diagonal(top + self.positive - left).sub_(2)
            into_rows[at].addmm_(weights, self.columns[to])
            if into_columns is not None:
                into_columns[to].addmm_(weights.T, self.rows[at])


def _views(one: Tensor, other: Tensor, whole: Tensor, scale: Tensor, tile: int) -> tuple[_Block, _Block]:
    first = _place()[0] * 2 * len(one)
    second = first + len(one)
    return (
        _Block(one, whole, scale, tile, positive=second, excluded=first),
        _Block(other, whole, scale, tile, positive=first, excluded=second),
    )


def _tile_on(device: torch.device) -> int:
    return TILE_ON_CPU if device.type == "cpu" else TILE_ON_GPU


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32, whatever the towers use: a scale of 14 to 100 magnifies what they round."""
    with torch.autocast(device.type, enabled=False), matrix_products("fp32"):
        yield


def _place() -> tuple[int, int]:
    """Rank of this worker, and the number of workers."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _gather(share: Tensor) -> Tensor:
    """The rows of all workers, by rank; each has the same number."""
    num_workers = _place()[1]
    if num_workers == 1:
        return share
    whole = share.new_empty((num_workers * len(share), *share.shape[1:]))
    dist.all_gather(list(whole.chunk(num_workers)), share.contiguous())
    return whole


def _scatter_sum(whole: Tensor) -> Tensor:
    """This worker's rows of the sum over workers."""
    num_workers = _place()[1]
    share = whole.new_empty((len(whole) // num_workers, *whole.shape[1:]))
    dist.reduce_scatter(share, list(whole.chunk(num_workers)))
    return share


def _sum_over_workers(value: Tensor) -> Tensor:
    if _place()[1] > 1:
        dist.all_reduce(value)
    return value


def _log_sum_exp_over_workers(partial: Tensor) -> Tensor:
    """Combine log-sum-exps that each worker took over its own rows."""
    if _place()[1] == 1:
        return partial
    top = partial.clone()
    dist.all_reduce(top, dist.ReduceOp.MAX)
    return _sum_over_workers((partial - top).exp_()).log_().add_(top)
