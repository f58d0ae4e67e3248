"""Similarities of all rows with all columns in full precision, and exact sums over them a tile at a time.

The matrix of a large batch is never held whole: memory grows with the batch, not with its square.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workloads.placement import full_precision

_TILE_ON_CPU, _TILE_ON_GPU = 1024, 4096
"""Side of a tile: the fastest of 256 to 2,048 on a CPU; on a GPU large enough to fill it, at 64 MB in fp32."""


class Similarities(torch.autograd.Function):
    """A B' in full precision, forward and backward: a scale of 14 to 100 magnifies what autocast and TF32 round."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        """Give A B', (rows, columns), of A (rows, size) and B (columns, size)."""
        ctx.save_for_backward(a, b)
        with full_precision(a.device):
            return a @ b.T

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        """Give G B and G' A."""
        a, b = ctx.saved_tensors
        with full_precision(a.device):
            return upstream[0] @ b, upstream[0].T @ a


def suited_tile(device: torch.device) -> int:
    """Side of the tiles that suit a device."""
    return _TILE_ON_CPU if device.type == "cpu" else _TILE_ON_GPU


def tiled_sums(
    rows: Tensor, columns: Tensor, scale: Tensor, positive: int, excluded: int | None = None, *, tile: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over the similarities S = s R C' of some rows with all columns, exact, with gradient, a tile at a time.

    Memory grows with the batch, not with its square. The way forward computes the similarities in tiles and keeps the
    log-sum-exp of every row and column; the way back computes the tiles again and adds each one's part of the
    gradients. That is one matrix product more than keeping all similarities would take (4 instead of 3).

    Args:
        rows: R, embeddings, (rows, size).
        columns: C, embeddings, (columns, size).
        scale: s, positive scalar.
        positive: column of the first row's positive; each further row's is one further.
        excluded: likewise the column that is left out, where rows are among the columns; None: none.
        tile: side of a tile; None: what suits the device.

    Returns:
        Log-sum-exp of each row, (rows,), that of each column, (columns,), and each row's positive similarity, (rows,).
    """
    tile = tile or suited_tile(rows.device)
    by_row, by_column, positives = _TiledSums.apply(rows, columns, scale, positive, excluded, tile)
    return by_row, by_column, positives


class _TiledSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, positive: int, excluded: int | None, tile: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        by_row = rows.new_full((len(rows),), -math.inf)
        by_column = rows.new_full((len(columns),), -math.inf)
        positives = torch.empty_like(by_row)
        with full_precision(rows.device):
            for at, to, similarities in _tiles(rows, columns, scale, excluded, tile):
                torch.logaddexp(by_row[at], similarities.logsumexp(1), out=by_row[at])
                torch.logaddexp(by_column[to], similarities.logsumexp(0), out=by_column[to])
                matched, its_positives = _diagonal(similarities, at.start + positive - to.start)
                positives[at][matched] = its_positives
        ctx.given = positive, excluded, tile
        ctx.set_materialize_grads(False)  # where nobody asks for some of the sums
        ctx.save_for_backward(rows, columns, scale, by_row, by_column)
        return by_row, by_column, positives

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        """Give s G C and s G' R, G[i, j] = up_row[i] P[i, j] + up_column[j] Q[i, j] + up_positive[i] [j is i's].

        P is the softmax of the rows, Q that of the columns.
        """
        rows, columns, scale, by_row, by_column = ctx.saved_tensors
        (positive, excluded, tile), (up_row, up_column, up_positive) = ctx.given, upstream
        into_rows, into_columns = torch.zeros_like(rows), torch.zeros_like(columns)
        with full_precision(rows.device):
            for at, to, similarities in _tiles(rows, columns, scale, excluded, tile):
                weights = torch.zeros_like(similarities)
                if up_row is not None:
                    weights += (similarities - by_row[at, None]).exp_().mul_(up_row[at, None])
                if up_positive is not None:
                    matched, of_positives = _diagonal(weights, at.start + positive - to.start)
                    of_positives += up_positive[at][matched]
                if up_column is not None:
                    weights += similarities.sub_(by_column[to]).exp_().mul_(up_column[to])
                into_rows[at].addmm_(weights, columns[to])
                into_columns[to].addmm_(weights.T, rows[at])
            of_scale = torch.dot(into_rows.flatten(), rows.flatten())
        return into_rows.mul_(scale), into_columns.mul_(scale), of_scale, None, None, None


def _tiles(
    rows: Tensor, columns: Tensor, scale: Tensor, excluded: int | None, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Which rows, which columns, and their similarities."""
    for top in range(0, len(rows), tile):
        scaled = scale * rows[top : top + tile]
        for left in range(0, len(columns), tile):
            similarities = scaled @ columns[left : left + tile].T
            if excluded is not None:
                similarities.diagonal(top + excluded - left).fill_(-math.inf)
            yield slice(top, top + tile), slice(left, left + tile), similarities


def _diagonal(tile: Tensor, offset: int) -> tuple[slice, Tensor]:
    """Those of a tile's rows that a diagonal crosses, and its elements."""
    diagonal = tile.diagonal(offset)
    first = max(0, -offset)
    return slice(first, first + len(diagonal)), diagonal
