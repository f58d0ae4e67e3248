"""The contrastive loss with more positives than oneself: of one BIN, of one species, or of shared ranks.

It is supervised contrastive learning (Khosla et al. 2020, arXiv:2004.11362, equation 2, L_out) from one modality to
another, at each rank by itself, and the mean over ranks by weight (Zhang et al. 2022, arXiv:2204.13207, equation 3, is
the same within one modality). Specimens i and j are positives at rank r, S_rij = 1, where they are one or have the same
name there; n_ri = sum_j S_rij over those that the pair compares, i among them; and with weights l_r of sum 1

    w_ij = sum_r l_r S_rij / n_ri
    L(a, b) = 1/(2n) sum_i [ log sum_k exp(s a_i b_k) - sum_j w_ij s a_i b_j ]
            + 1/(2n) sum_j [ log sum_k exp(s a_k b_j) - sum_i w_ji s a_i b_j ]

`bin` and `species` have one rank: that is equation 2, but for the anchor, whose other modality is a positive here.
`ranks` has four. A rank's positives share its weight, however many they are, so that an order that fills half of the
batch weighs no more than a genus of two. As there, positives stay in the sums over k. A name that is missing matches
nothing, not even another missing one: such a specimen has itself alone at that rank and is a negative of all others, as
every specimen is without this module. They may be of one species; nobody knows.

With w the identity it is `loss.contrastive_loss` as it was. What is multiplied with the similarities,
m_ij = w_ij + w_ji, has no gradient.
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
    """Of the ranks, of which one is above 0, (ranks,)."""

    def of_batch(self, sizes: Sequence[int] | None) -> "Positives":
        """Those of all workers.

        Args:
            sizes: of the workers' shares; None: all are equal.
        """
        return Positives(gathered(self.codes, sizes), self.weights)

    def at(self, rows: Tensor) -> "Positives":
        """Those of some specimens."""
        return Positives(self.codes[rows], self.weights)

    def shares(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The names at each rank that weighs something, and l_r / n_r, both (specimens,); of the type of a tensor.

        Where a name is missing the number is one that no other specimen has.
        """
        found = []
        for names, weight in zip(self.codes.T, self.weights, strict=True):
            if weight:
                alone = -1 - torch.arange(len(names), device=names.device)
                names = torch.where(names < 0, alone, names)
                _, place, count = torch.unique(names, return_inverse=True, return_counts=True)
                found.append((names, weight / sum(self.weights) / count[place].to(like)))
        return found


def _attraction(shares: Sequence[tuple[Tensor, Tensor]], at: slice, to: slice) -> Tensor:
    """M of some rows and columns, (rows, columns)."""
    (names, _), *_ = shares
    attraction = shares[0][1].new_zeros(len(names[at]), len(names[to]))
    for names, share in shares:
        both = share[at][:, None] + share[to]
        attraction += both.masked_fill_(names[at][:, None] != names[to], 0)
    return attraction


def whole_with_positives(a: Tensor, b: Tensor, scale: Tensor, positives: Positives) -> Tensor:
    """L(a, b) with all similarities at once.

    Args:
        a: unit embeddings of the batch, (batch, size).
        b: likewise of the other modality.
        scale: s, positive scalar.
        positives: of the batch.
    """
    logits = Similarities.apply(scale * a, b)  # s A B', (batch, batch)
    everything = slice(None)
    attracted = (_attraction(positives.shares(a), everything, everything) * logits).sum()
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
    by_row, by_column, _ = tiled_sums(a, whole_b, scale, first, tile=tile)
    by_column = gathered(by_column[None]).logsumexp(0)  # over the rows of all workers
    attracting: Tensor = _Attracting.apply(whole_b, positives.shares(a), first, len(a), tile)
    attracted = scale * (a * attracting).sum(1)
    return (gathered(by_row - attracted, sizes) + by_column).mean() / 2


class _Attracting(torch.autograd.Function):
    """M B of some rows: what each is drawn to, by its own positives and as a positive of others."""

    @staticmethod
    def forward(
        ctx: Any, whole_b: Tensor, shares: Sequence[tuple[Tensor, Tensor]], first: int, num_rows: int, tile: int
    ) -> Tensor:
        """Give M B, (rows, size), of the rows from the first on."""
        ctx.given = shares, first, num_rows, tile
        attracting = whole_b.new_zeros(num_rows, whole_b.shape[1])
        with full_precision(whole_b.device):
            for at, to, attraction in _tiles(*ctx.given):
                attracting[at].addmm_(attraction, whole_b[to])
        return attracting

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Give M' G."""
        shares = ctx.given[0]
        into_b = upstream[0].new_zeros(len(shares[0][0]), upstream[0].shape[1])
        with full_precision(into_b.device):
            for at, to, attraction in _tiles(*ctx.given):
                into_b[to].addmm_(attraction.T, upstream[0][at])
        return into_b, None, None, None, None


def _tiles(
    shares: Sequence[tuple[Tensor, Tensor]], first: int, num_rows: int, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Which rows, counted from the first, which columns, and their M."""
    for top in range(0, num_rows, tile):
        at = slice(top, min(top + tile, num_rows))
        for left in range(0, len(shares[0][0]), tile):
            to = slice(left, left + tile)
            yield at, to, _attraction(shares, slice(first + at.start, first + at.stop), to)
