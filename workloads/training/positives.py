"""The contrastive loss with more positives than oneself: of one BIN, of one species, or of shared ranks.

It is supervised contrastive learning (Khosla et al. 2020, arXiv:2004.11362, equation 2, L_out) from one modality to
another, each positive with a weight. Specimens i and j share w_ij = w_ji: 1 where they are one, else the weight of the
deepest rank at which they have the same name, else 0; W_i = sum_j w_ij over those that the pair compares, i among them.

    L(a, b) = 1/(2n) sum_i [ log sum_k exp(s a_i b_k) - sum_j (w_ij / W_i) s a_i b_j ]
            + 1/(2n) sum_j [ log sum_k exp(s a_k b_j) - sum_i (w_ij / W_j) s a_i b_j ]

`bin` and `species` have one rank, of weight 1: that is equation 2, but for the anchor, whose other modality is a
positive here. `ranks` has four. As there, positives stay in the sums over k. A name that is missing matches nothing,
not even another missing one: such a specimen has itself alone at that rank and is a negative of all others, as every
specimen is without this module. They may be of one species; nobody knows.

With w the identity it is `loss.contrastive_loss` as it was. What is multiplied with the similarities,
m_ij = w_ij (1 / W_i + 1 / W_j), has no gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workloads.placement import full_precision, gathered
from workloads.training.similarities import Similarities, suited_tile, tiled_sums


@dataclass(frozen=True, slots=True)
class Positives:
    """Who is whose positive."""

    codes: Tensor
    """Names as whole numbers, from the deepest rank up, below 0 where missing, int64 (specimens, ranks)."""
    weights: tuple[float, ...]
    """Of the ranks, (ranks,)."""

    def of_batch(self, sizes: Sequence[int] | None) -> "Positives":
        """Those of all workers, with the place in the batch as the deepest rank: each specimen is its own positive.

        Args:
            sizes: of the workers' shares; None: all are equal.
        """
        codes = gathered(self.codes, sizes)
        places = torch.arange(len(codes), device=codes.device)
        return Positives(torch.cat([places[:, None], codes], dim=1), (1.0, *self.weights))

    def at(self, rows: Tensor | slice) -> "Positives":
        """Those of some specimens."""
        return Positives(self.codes[rows], self.weights)

    def shared_with(self, others: "Positives", like: Tensor) -> Tensor:
        """The weights w of these with others, (these, others), of the type and on the device of a tensor."""
        shared = like.new_zeros(len(self.codes), len(others.codes))
        for own, their, weight in reversed(list(zip(self.codes.T, others.codes.T, self.weights, strict=True))):
            shared.masked_fill_((own[:, None] == their) & (own >= 0)[:, None], weight)  # the deepest rank last
        return shared


def whole_with_positives(a: Tensor, b: Tensor, scale: Tensor, positives: Positives) -> Tensor:
    """L(a, b) with all similarities at once.

    Args:
        a: unit embeddings of the batch, (batch, size).
        b: likewise of the other modality.
        scale: s, positive scalar.
        positives: of the batch.
    """
    logits = Similarities.apply(scale * a, b)  # s A B', (batch, batch)
    shared = positives.shared_with(positives, a)
    each = shared.sum(1).reciprocal()
    attracted = (shared.mul_(each[:, None] + each) * logits).sum()
    loss: Tensor = (logits.logsumexp(1).sum() + logits.logsumexp(0).sum() - attracted) / (2 * len(a))
    return loss


def tiled_with_positives(
    a: Tensor,
    whole_b: Tensor,
    scale: Tensor,
    positives: Positives,
    first: int,
    *,
    tile: int | None,
    sizes: Sequence[int] | None,
) -> Tensor:
    """L(a, b) of this worker's rows against all, a tile at a time; memory grows with the batch, not with its square.

    Args:
        a: unit embeddings of this worker's share, (share, size).
        whole_b: of the batch, in the other modality, (batch, size).
        scale: s, positive scalar.
        positives: of the batch.
        first: place in the batch of the first row.
        tile: side of a tile; None: what suits the device.
        sizes: of the workers' shares; None: all are equal.
    """
    tile = tile or suited_tile(a.device)
    own = slice(first, first + len(a))
    by_row, by_column, _ = tiled_sums(a, whole_b, scale, first, tile=tile)
    by_column = gathered(by_column[None]).logsumexp(0)  # over the rows of all workers
    totals = gathered(_totals(positives.at(own), positives, a, tile), sizes)
    attracting: Tensor = _Attracting.apply(whole_b, positives.at(own), positives, totals[own], totals, tile)
    attracted = scale * (a * attracting).sum(1)
    return (gathered(by_row - attracted, sizes) + by_column).mean() / 2


def _totals(own: Positives, whole: Positives, like: Tensor, tile: int) -> Tensor:
    """W of some rows, (rows,)."""
    totals = like.new_zeros(len(own.codes))
    for at, _, shared in _tiles(own, whole, like, tile):
        totals[at] += shared.sum(1)
    return totals


class _Attracting(torch.autograd.Function):
    """M B of some rows: what each is drawn to, by its own positives and as a positive of others."""

    @staticmethod
    def forward(
        ctx: Any, whole_b: Tensor, own: Positives, whole: Positives, of_own: Tensor, of_whole: Tensor, tile: int
    ) -> Tensor:
        """Give M B, (rows, size), of W of the rows and W of the batch."""
        ctx.given = own, whole, tile
        ctx.save_for_backward(of_own, of_whole)
        attracting = whole_b.new_zeros(len(of_own), whole_b.shape[1])
        with full_precision(whole_b.device):
            for at, to, shared in _tiles(own, whole, whole_b, tile):
                attracting[at].addmm_(_in_both_directions(shared, of_own[at], of_whole[to]), whole_b[to])
        return attracting

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Give M' G."""
        (of_own, of_whole), (own, whole, tile) = ctx.saved_tensors, ctx.given
        into_b = upstream[0].new_zeros(len(of_whole), upstream[0].shape[1])
        with full_precision(into_b.device):
            for at, to, shared in _tiles(own, whole, into_b, tile):
                into_b[to].addmm_(_in_both_directions(shared, of_own[at], of_whole[to]).T, upstream[0][at])
        return into_b, None, None, None, None, None


def _in_both_directions(shared: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
    """M of a tile, in the memory of its w."""
    return shared.mul_(of_rows.reciprocal()[:, None] + of_columns.reciprocal())


def _tiles(own: Positives, whole: Positives, like: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Which rows, which columns, and their w."""
    for top in range(0, len(own.codes), tile):
        for left in range(0, len(whole.codes), tile):
            at, to = slice(top, top + tile), slice(left, left + tile)
            yield at, to, own.at(at).shared_with(whole.at(to), like)
