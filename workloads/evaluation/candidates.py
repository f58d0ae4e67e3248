"""Fast searches that propose keys, each with a bound on how similar any key that it did not propose can be.

Keys are read some at a time, so that they may lie on a disk, and in less room than their vectors take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import faiss
import numpy as np
import torch
from torch import Tensor

from workloads.arrays import Doubles, Floats, Indices, Mask

_BLOCK = 16
"""Keys of which the coarse search first looks at the largest product only."""
_MOST_BLOCKS = 512
"""More of them a query, and looking into each takes longer than a better search."""
_DEEPER = 11
"""Keys that faiss proposes beyond those wanted; the first that it does not decides what is proved."""
UNIT_FP32 = 2.0**-24
_UNIT_FP64 = 2.0**-53
_UNIT_BF16 = 2.0**-8
"""Largest error of rounding to bf16, whose numbers have 8 bits, relative to the rounded number as to the exact one."""
_SUBNORMAL = 2.0**-149
"""Between the smallest numbers of fp32."""


class Rows(Protocol):
    """Vectors of which any can be had without the others."""

    def __len__(self) -> int:
        """How many there are."""

    @property
    def size(self) -> int:
        """Numbers of one."""

    def block(self, start: int, stop: int) -> Floats:
        """Some of them, one behind the other, fp32 (stop - start, size)."""

    def take(self, numbers: Indices) -> Floats:
        """Any of them, fp32 (numbers, size)."""


@dataclass(frozen=True, slots=True)
class Held:
    """Rows in memory, fp32 and contiguous."""

    rows: Floats

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Numbers of one."""
        return int(self.rows.shape[1])

    def block(self, start: int, stop: int) -> Floats:
        """A view of some of them."""
        return self.rows[start:stop]

    def take(self, numbers: Indices) -> Floats:
        """A copy of any of them."""
        return self.rows[numbers]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some of other rows."""

    of: Rows
    numbers: Indices
    """Which, (chosen,)."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> int:
        """Numbers of one."""
        return self.of.size

    def block(self, start: int, stop: int) -> Floats:
        """As of `Rows`."""
        return self.of.take(self.numbers[start:stop])

    def take(self, numbers: Indices) -> Floats:
        """As of `Rows`."""
        return self.of.take(self.numbers[numbers])


@dataclass(frozen=True, slots=True)
class Proposal:
    """Candidates of some queries."""

    query: Indices
    """Ascending, (pairs,)."""
    key: Indices
    """(pairs,)."""
    rest: Doubles
    """No key that was not proposed has a larger product than this; infinite where nothing was found, (queries,)."""


Propose = Callable[[Floats], Proposal]


def coarse_search(keys: Rows, wanted: int, mean: Floats) -> Propose:
    """Products of all pairs in bf16, with the keys less a `mean`, (size,).

    For a query q and a key k, rounded to q' and k', and a product c of n terms, summed in fp32 and rounded to bf16:

        |q·k - q'·k'|  <=  |q - q'| |k'| + |q| |k - k'|          (Cauchy-Schwarz)
        |q'·k' - c|    <=  n 2^-24 |q'| |k'| + 2^-8 |c|

    and the keys, less their mean, had been rounded to fp32 before.

    Keys are dealt into blocks. The largest products of as many blocks as keys are wanted say how similar the last
    wanted key is at least, and whatever may be as similar is proposed; so little has to be sorted.
    """
    rounded = torch.empty((len(keys), keys.size), dtype=torch.bfloat16)
    key_error = farthest = 0.0
    for start, stop in pieces(len(keys)):
        around = keys.block(start, stop) - mean
        farthest = max(farthest, longest(around))
        rounded[start:stop] = torch.from_numpy(around)
        as_rounded = rounded[start:stop].float().numpy()
        key_error = max(key_error, longest(around - as_rounded))
    key_length = farthest + key_error  # of the rounded ones, at most
    transposed, num_blocks = rounded.T, len(keys) // _BLOCK

    def propose(queries: Floats) -> Proposal:
        asked = torch.from_numpy(queries).bfloat16()
        as_asked = asked.float().numpy()
        error = lengths(queries - as_asked) * key_length + lengths(queries) * key_error
        error += queries.shape[1] * UNIT_FP32 * lengths(as_asked) * key_length
        error += 2 * UNIT_FP32 * lengths(queries) * farthest
        products = asked @ transposed
        blocks = products.as_strided((len(queries), _BLOCK, num_blocks), (len(keys), num_blocks, 1))
        # The keys that are left over are blocks of their own.
        largest = torch.cat([blocks.amax(dim=1), products[:, num_blocks * _BLOCK :]], dim=1)
        if largest.shape[1] < wanted:
            none = np.empty(0, dtype=np.int64)  # so few keys are not worth it
            return Proposal(none, none, np.full(len(queries), np.inf))
        reached = torch.topk(largest, wanted, dim=1).values[:, -1].double().numpy()
        least = reached - np.abs(reached) * _UNIT_BF16 - error
        # The smallest product whose similarity can be that: c + 2^-8 |c| + error >= least.
        smallest = (least - error) / (1 + np.sign(least - error) * _UNIT_BF16)
        query, key, crowded = _reaching(blocks, largest, np.nextafter(smallest.astype(np.float32), np.float32(-np.inf)))
        return Proposal(query, key, np.where(crowded, np.inf, least))

    return propose


def _reaching(blocks: Tensor, largest: Tensor, smallest: Floats) -> tuple[Indices, Indices, Mask]:
    """The keys whose products are at least so large, and for which queries there are too many to look at.

    Args:
        blocks: products, (queries, keys a block, blocks); block j holds the keys j, j + blocks, j + 2 blocks, …
        largest: of each block, and behind these the products with the keys that are left over, (queries, ...).
        smallest: products that are looked for, (queries,).
    """
    num_blocks, bound = blocks.shape[2], torch.from_numpy(smallest)[:, None]
    passing = largest.float() >= bound
    crowded = passing.sum(dim=1) > _MOST_BLOCKS
    passing[crowded] = False
    query, block = torch.nonzero(passing, as_tuple=True)
    whole = block < num_blocks
    inside, row = torch.nonzero(blocks[query[whole], :, block[whole]].float() >= bound[query[whole]], as_tuple=True)
    asking = torch.cat([query[whole][inside], query[~whole]])
    key = torch.cat([row * num_blocks + block[whole][inside], block[~whole] + num_blocks * (_BLOCK - 1)])
    order = torch.argsort(asking, stable=True)
    return asking[order].numpy(), key[order].numpy(), crowded.numpy()


def by_faiss(keys: Rows, wanted: int, mean: Floats) -> Propose:
    """Products in fp32 with the keys less a `mean`, whose sums are off by n 2^-24 |q| |k| at most, in whatever order
    they add."""
    depth, longest_key = min(wanted + _DEEPER, len(keys)), 0.0
    around = np.empty((len(keys), keys.size), dtype=np.float32)
    for start, stop in pieces(len(keys)):
        around[start:stop] = keys.block(start, stop) - mean
        longest_key = max(longest_key, longest(around[start:stop]))
    index = faiss.IndexFlatIP(keys.size)
    index.add(around)  # at once, as an index that grows takes more room than it needs

    def propose(queries: Floats) -> Proposal:
        values, nearest = index.search(queries, depth)
        error = (queries.shape[1] + 2) * UNIT_FP32 * lengths(queries) * longest_key  # 2 for what k - m was rounded by
        rest = _nothing(len(queries)) if depth == len(keys) else values[:, -1] + error
        query = np.repeat(np.arange(len(queries)), depth)
        return Proposal(query, np.asarray(nearest, dtype=np.int64).ravel(), rest)

    return propose


def in_fp64(keys: Rows, wanted: int) -> Propose:
    """Products in fp64, for keys that lie closer together than fp32 can tell: all that can be among the nearest."""
    transposed = np.empty((keys.size, len(keys)), dtype=np.float64)
    longest_key = 0.0
    for start, stop in pieces(len(keys)):
        transposed[:, start:stop] = (own := keys.block(start, stop)).T
        longest_key = max(longest_key, longest(own))

    def propose(queries: Floats) -> Proposal:
        values = queries.astype(np.float64) @ transposed
        needed = np.partition(values, len(keys) - wanted, axis=1)[:, len(keys) - wanted]
        # Two sums of one product, and those of two keys, may differ in their error; and then they are rounded to fp32.
        error = 4 * fp64_error(queries, longest_key) + 4 * UNIT_FP32 * np.abs(needed) + 2 * _SUBNORMAL
        query, key = np.nonzero(values >= (needed - error)[:, None])
        return Proposal(query, key, _nothing(len(queries)))

    return propose


def _nothing(count: int) -> Doubles:
    """All keys were proposed."""
    return np.full(count, -np.inf)


def pieces(count: int, size: int = 512) -> list[tuple[int, int]]:
    """Where rows are cut so that no copy of all of them is made: from which to which."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def fp64_error(queries: Floats, longest_key: float) -> Doubles:
    """How far an inner product that is summed in fp64 can be from the exact one, (queries,)."""
    error: Doubles = queries.shape[1] * _UNIT_FP64 * lengths(queries) * longest_key
    return error


def longest(rows: Floats) -> float:
    """The largest Euclidean length; NaN where one has it."""
    return float(lengths(rows).max())


def lengths(rows: Floats) -> Doubles:
    """Euclidean, (rows,)."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))
