"""What training minimises: alignment of modalities, agreement of two views, classification, or hidden 5-mers.

Each loss takes this worker's embeddings and gives the mean over the global batch, the same on every worker: what the
other workers embedded is gathered first, in shares of any sizes. The gather's gradient is the sum over all workers'
equal losses, so that the mean which DistributedDataParallel takes over workers is the gradient of one process with the
whole batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads.errors import UsageError
from workloads.models.masked import GENUS
from workloads.placement import Placement, gathered
from workloads.training.positives import Positives, tiled_with_positives, whole_with_positives
from workloads.training.similarities import Similarities, tiled_sums

LARGEST_WHOLE = 2**22
"""Elements of a matrix of similarities that is held whole, 16 MiB in fp32: a batch of 2,048, and the paper's largest is
2,000. Its three pairs take some 240 MB at the peak, little beside a micro-batch's activations. At a batch of 8,192 they
would take 4 GB, and so what is larger is computed in tiles."""
_UNIT = 0.01
"""By which a row that was normalised in bf16 may miss a length of 1: its numbers have eight bits, and so 0.004."""


def contrastive_loss(
    embedded: Mapping[str, Tensor],
    scale: Tensor,
    bind_to: str | None = None,
    *,
    tile: int | None = None,
    sizes: Sequence[int] | None = None,
    there: Mapping[str, Tensor] | None = None,
    known_unit: bool = False,
    positives: Positives | None = None,
) -> Tensor:
    """Mean over pairs of modalities of the symmetric contrastive loss, each specimen against the whole global batch.

        L(a, b) = 1/2 [ CE(s A B', I) + CE(s B A', I) ]

    Only the specimen itself is a positive, as in the paper's equation 1 and the authors' default, unless `positives`
    says who else is (`workloads.training.positives` has that equation). The paper writes a sum over pairs (section 3);
    the mean is the authors' code's, and differs by a constant factor. Computed in fp32, or fp64 if the embeddings are.

    Where specimens lack modalities, the batch of a pair is those that have both: they alone are its rows, they alone
    its columns, and its loss is the mean over them. Every pair weighs the same, however few they are; one without any
    gives 0. What stands in for a missing embedding is in no sum and gets a gradient of 0.

    Args:
        embedded: unit embeddings by modality, this worker's share of the batch, (share, size); row i is the same
            specimen in all.
        scale: inverse temperature, positive scalar.
        bind_to: only pairs with this modality count, as in ImageBind (Table 12); None: all pairs.
        tile: side of the tiles in which similarities are computed; None: all at once up to `LARGEST_WHOLE`, and then
            what suits the device.
        sizes: of the workers' shares; None: all are equal.
        there: by modality which specimens have it, bool (share,); one that is not named all have. The same modalities
            are named on every worker.
        known_unit: whether lengths are known to be 1, as a model's are, and are not looked at: a GPU is waited for.
        positives: of this worker's share; None: each specimen is its own alone.

    Raises:
        UsageError: there are no two modalities, rows that do not belong together, or some that are not of unit length.
    """
    _check_embedded(embedded, bind_to)
    if not known_unit:
        _check_lengths(embedded, there or {})
    shares, scale = _in_one_precision(embedded, scale)
    whole = {name: gathered(share, sizes) for name, share in shares.items()}  # (batch, size) each
    pairs = [pair for pair in combinations(shares, 2) if bind_to is None or bind_to in pair]
    of_both, losses = _rows_of_pairs(there or {}, pairs, sizes), list[Tensor]()
    of_batch = positives.of_batch(sizes) if positives else None
    for a, b in pairs:
        rows = of_both.get((a, b))
        own_a, own_b, all_a, all_b = shares[a], shares[b], whole[a], whole[b]
        if rows:
            own_a, own_b = own_a.index_select(0, rows.own), own_b.index_select(0, rows.own)
            all_a, all_b = all_a.index_select(0, rows.whole), all_b.index_select(0, rows.whole)
        its_sizes, among = (rows.sizes, of_batch and of_batch.at(rows.whole)) if rows else (sizes, of_batch)
        is_tiled = tile or len(all_a) ** 2 > LARGEST_WHOLE
        if not len(all_a):  # no part of the graph is left out, so that workers reduce the gradients of all towers
            losses.append(all_a.sum() + all_b.sum() + 0 * scale)
        elif among and is_tiled:
            first = _first_row(own_a, its_sizes)
            losses.append(tiled_with_positives(own_a, all_b, scale, among, first, tile=tile, sizes=its_sizes))
        elif among:
            losses.append(whole_with_positives(all_a, all_b, scale, among))
        elif is_tiled:
            losses.append(_tiled_pair_loss(own_a, own_b, all_b, scale, tile, its_sizes))
        else:
            losses.append(_pair_loss(all_a, all_b, scale))
    return torch.stack(losses).mean()


def _check_embedded(embedded: Mapping[str, Tensor], bind_to: str | None) -> None:
    """Refuse what would give a number that means nothing, by shapes alone.

    Raises:
        UsageError: there is something of the kind.
    """
    shapes = {name: tuple(rows.shape) for name, rows in embedded.items()}
    if len(embedded) < 2:
        raise UsageError(f"embedded has {', '.join(embedded) or 'no modality'}; two modalities are aligned at least")
    if len({*shapes.values()}) > 1 or len(next(iter(shapes.values()))) != 2:
        raise UsageError(f"embedded is of the shapes {shapes}; each modality has the same (specimens, size)")
    if bind_to is not None and bind_to not in embedded:
        raise UsageError(f"bind_to is {bind_to!r}, and embedded has {', '.join(embedded)}")


def _check_lengths(embedded: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> None:
    """Refuse rows of another length than 1, whose products are no cosines; zeros stay zeros when they are normalised.

    Raises:
        UsageError: there is one of a specimen that has the modality.
    """
    for name, rows in embedded.items():
        lengths = rows.detach().float().norm(dim=1)
        lengths = lengths[there[name]] if name in there else lengths
        if len(strange := lengths[~(((lengths - 1).abs() <= _UNIT) | (lengths == 0))]):
            raise UsageError(
                f"embedded has rows of {name} of length {strange[0]:.3g}; normalise them: "
                "torch.nn.functional.normalize(rows, dim=1)"
            )


def loss_of_alike(batch_size: int, shares: Sequence[float]) -> float:
    """What `contrastive_loss` comes to where all embeddings are alike: of n specimens that a pair compares, log n.

    Args:
        batch_size: specimens.
        shares: of them that have both modalities of a pair, on average, for each pair.
    """
    # The mean of log n lies below the log of the mean, by half of the variance over its square.
    counts = [(batch_size * share, share) for share in shares]
    return sum(max(0.0, math.log(n) - (1 - share) / (2 * n)) if n else 0.0 for n, share in counts) / len(counts)


class _Rows(NamedTuple):
    """Those specimens of a batch that have both modalities of a pair."""

    own: Tensor
    """Their places in this worker's share, (own,)."""
    whole: Tensor
    """Their places in the batch, (rows,)."""
    sizes: list[int]
    """How many each worker has."""


def _rows_of_pairs(
    there: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]], sizes: Sequence[int] | None
) -> dict[tuple[str, str], _Rows]:
    """The rows of the pairs that some specimens lack. On a GPU it is waited for once."""
    if not there:
        return {}
    masks = torch.stack(list(there.values()), dim=1)  # (share, modalities)
    device, share = masks.device, len(masks)
    here = Placement.here(device)
    sizes = list(sizes or [share] * here.num_workers)
    known = dict(zip(there, gathered(masks.byte(), sizes).bool().cpu().unbind(1), strict=True))
    everyone = torch.ones(sum(sizes), dtype=torch.bool)
    found, first = {}, sum(sizes[: here.rank])
    for pair in pairs:
        both = known.get(pair[0], everyone) & known.get(pair[1], everyone)
        if not both.all():
            own, whole = (mask.nonzero()[:, 0].to(device) for mask in (both[first : first + share], both))
            found[pair] = _Rows(own, whole, [int(part.sum()) for part in both.split(sizes)])
    return found


def _pair_loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    logits = Similarities.apply(scale * a, b)  # s A B', (batch, batch)
    targets = torch.arange(len(a), device=a.device)  # each specimen itself
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def _tiled_pair_loss(
    a: Tensor, b: Tensor, whole_b: Tensor, scale: Tensor, tile: int | None, sizes: Sequence[int] | None
) -> Tensor:
    """The same, of this worker's rows against all: CE(s A B', I) is the mean of log Σ_j exp(s a_i b_j) - s a_i b_i."""
    own = _first_row(a, sizes)
    by_row, by_column, positives = tiled_sums(a, whole_b, scale, own, tile=tile)
    by_column = gathered(by_column[None]).logsumexp(0)  # over the rows of all workers
    return (gathered(by_row - 2 * positives, sizes) + by_column).mean() / 2


def two_view_loss(
    embedded: Mapping[str, Tensor], scale: Tensor, *, tile: int | None = None, sizes: Sequence[int] | None = None
) -> Tensor:
    """SimCLR's NT-Xent: each of 2 batch views against its other view and the 2 batch - 2 of other specimens.

        L = 1/(2 batch) Σ_i [ log Σ_{j≠i} exp(s z_i z_j) - s z_i z_p(i) ],   z_p(i) the other view of z_i

    The equation is SimCLR's first (arXiv:2002.05709). The negatives are those of the global batch; the authors' code
    compares with those on the same GPU only.

    Args:
        embedded: unit embeddings of the two views, this worker's share of the batch, (share, size) each.
        scale: inverse temperature, positive scalar.
        tile: as in `contrastive_loss`.
        sizes: as in `contrastive_loss`.
    """
    shares, scale = _in_one_precision(embedded, scale)
    one, other = shares.values()
    whole = torch.cat([gathered(one, sizes), gathered(other, sizes)])  # one view and then the other, (2 batch, size)
    if tile or len(whole) ** 2 > LARGEST_WHOLE:
        return _tiled_two_view_loss(one, other, whole, scale, tile, sizes)
    logits = Similarities.apply(scale * whole, whole).fill_diagonal_(-torch.inf)  # s Z Z', (2 batch, 2 batch)
    targets = torch.arange(len(whole), device=whole.device).roll(len(whole) // 2)  # each one's other view
    return F.cross_entropy(logits, targets)


def _tiled_two_view_loss(
    one: Tensor, other: Tensor, whole: Tensor, scale: Tensor, tile: int | None, sizes: Sequence[int] | None
) -> Tensor:
    """The same, of this worker's rows against all."""
    own = _first_row(one, sizes)
    others = own + len(whole) // 2
    by_one, _, positives = tiled_sums(one, whole, scale, others, own, tile=tile)
    by_other, _, _ = tiled_sums(other, whole, scale, own, others, tile=tile)
    return gathered(by_one + by_other - 2 * positives, sizes).mean() / 2


def classification_loss(
    embedded: Mapping[str, Tensor], scale: Tensor, labels: Tensor, *, sizes: Sequence[int] | None = None
) -> Tensor:
    """Mean cross entropy of the one entry's logits.

    Args:
        embedded: logits by modality, of one modality, this worker's share of the batch, (share, classes).
        scale: factor of the logits, scalar; 1 for a classifier.
        labels: class of each specimen, (share,).
        sizes: as in `contrastive_loss`.
    """
    shares, scale = _in_one_precision(embedded, scale)
    (logits,) = shares.values()
    of_shares = gathered(F.cross_entropy(scale * logits, labels)[None])  # (workers,)
    if sizes:
        of_shares = of_shares * of_shares.new_tensor([len(sizes) * size / sum(sizes) for size in sizes])
    return of_shares.mean()


def masked_loss(
    told: Mapping[str, Tensor],
    scale: Tensor,
    genera: Tensor | None = None,
    *,
    genus_weight: float = 0.0,
    sizes: Sequence[int] | None = None,
) -> Tensor:
    """Mean cross entropy of the 5-mers that are told in the whole batch, and of the genera of barcodes that have one.

        L = Σ_i s_i / Σ_i n_i + w Σ_{i: g_i ≥ 0} CE(q_i, g_i) / |{i: g_i ≥ 0}|

    Every 5-mer weighs the same, whichever barcode and worker it is of; BarcodeBERT's code takes the mean of each
    worker's mean (arXiv:2311.02401, pretraining.py). The genus beside it is BarcodeMAE+'s, there told from a token of
    its own. A batch without any 5-mer, or any genus, has 0 there.

    Args:
        told: of `MaskedModel`, this worker's share of the batch: s and n of each barcode under `dna`, (share, 3), and
            under `GENUS` logits q, (share, genera), where these are told.
        scale: 1, of no use here.
        genera: g, the genus of each barcode, -1 where it is not known, (share,).
        genus_weight: w.
        sizes: as in `contrastive_loss`.
    """
    whole = gathered(told["dna"], sizes)
    loss = whole[:, 0].sum() / whole[:, 1].sum().clamp(min=1)
    if genera is None or GENUS not in told:
        return loss
    entropies = F.cross_entropy(told[GENUS], genera, ignore_index=-1, reduction="none")  # 0 without a genus
    of_named = gathered(torch.stack([entropies, (genera >= 0).to(entropies)], dim=1), sizes)
    return loss + genus_weight * of_named[:, 0].sum() / of_named[:, 1].sum().clamp(min=1)


def _first_row(share: Tensor, sizes: Sequence[int] | None) -> int:
    """Place in the batch of the first specimen of this worker's share."""
    rank = Placement.here(share.device).rank
    return sum(sizes[:rank]) if sizes else rank * len(share)


def _in_one_precision(embedded: Mapping[str, Tensor], scale: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """All in the widest of their types, at least fp32."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in embedded.values()), torch.float32)
    return {name: tensor.to(dtype) for name, tensor in embedded.items()}, scale.to(dtype)
