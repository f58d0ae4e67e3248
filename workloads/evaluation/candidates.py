"""Fast searches that propose keys, each with a bound on how similar any key that it did not propose can be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from torch import Tensor

from workloads.arrays import Doubles, Floats, Indices, Mask

_BLOCK = 16
"""Keys of which the coarse search first looks at the largest product only."""
_MOST_BLOCKS = 128
"""More of them a query, and looking into each takes longer than a better search."""
_DEEPER = 11
"""Keys that faiss proposes beyond those wanted; the first that it does not decides what is proved."""
_UNIT_FP32 = 2.0**-24
_UNIT_FP64 = 2.0**-53
_UNIT_BF16 = 2.0**-8
"""Largest error of rounding to bf16, whose numbers have 8 bits, relative to the rounded number as to the exact one."""
_SUBNORMAL = 2.0**-149
"""Between the smallest numbers of fp32."""


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


def around_their_mean(searches: Sequence[Callable[[Floats, int], Propose]], keys: Floats, wanted: int) -> list[Propose]:
    """Searches among k - m instead of keys k of mean m: q·k = q·m + q·(k - m), and q·m is the same for all of them.

    Errors are proportional to the length of what is searched among, so keys that lie close together, as those of an
    untrained model do, are told apart all the same.
    """
    mean = keys.mean(axis=0, dtype=np.float64).astype(np.float32)
    around = keys - mean
    farthest = longest(around)

    def shifted(search: Callable[[Floats, int], Propose]) -> Propose:
        propose = search(around, wanted)

        def shifted_propose(queries: Floats) -> Proposal:
            found = propose(queries)
            rounding = 2 * _UNIT_FP32 * _lengths(queries) * farthest  # of k - m
            return Proposal(found.query, found.key, found.rest + queries.astype(np.float64) @ mean + rounding)

        return shifted_propose

    return [shifted(search) for search in searches]


def coarse_search(keys: Floats, wanted: int) -> Propose:
    """Products of all pairs in bf16.

    For a query q and a key k, rounded to q' and k', and a product c of n terms, summed in fp32 and rounded to bf16:

        |q·k - q'·k'|  <=  |q - q'| |k'| + |q| |k - k'|          (Cauchy-Schwarz)
        |q'·k' - c|    <=  n 2^-24 |q'| |k'| + 2^-8 |c|

    Keys are dealt into blocks. The largest products of as many blocks as keys are wanted say how similar the last
    wanted key is at least, and whatever may be as similar is proposed; so little has to be sorted.
    """
    rounded = torch.from_numpy(keys).bfloat16()
    lengths = [_rounded_lengths(keys[start:stop], rounded[start:stop]) for start, stop in pieces(len(keys))]
    key_error, key_length = (max(of) for of in zip(*lengths, strict=True))
    transposed = rounded.T

    def propose(queries: Floats) -> Proposal:
        asked = torch.from_numpy(queries).bfloat16()
        as_asked = asked.float().numpy()
        error = _lengths(queries - as_asked) * key_length + _lengths(queries) * key_error
        error += queries.shape[1] * _UNIT_FP32 * _lengths(as_asked) * key_length
        blocks = _Blocks(asked @ transposed)
        if blocks.largest.shape[1] < wanted:
            return _everything(len(queries), len(keys))
        reached = torch.topk(blocks.largest, wanted, dim=1).values[:, -1].double().numpy()
        least = reached - np.abs(reached) * _UNIT_BF16 - error
        # The smallest product whose similarity can be that: c + 2^-8 |c| + error >= least.
        smallest = (least - error) / (1 + np.sign(least - error) * _UNIT_BF16)
        query, key, crowded = blocks.reaching(np.nextafter(smallest.astype(np.float32), np.float32(-np.inf)))
        return Proposal(query, key, np.where(crowded, np.inf, least))

    return propose


def _rounded_lengths(keys: Floats, rounded: Tensor) -> tuple[float, float]:
    """The largest rounding error of some keys, and the largest length of what they were rounded to."""
    back = rounded.float().numpy()
    return longest(keys - back), longest(back)


class _Blocks:
    """Products with all keys, (queries, keys), by blocks; block j holds the keys j, j + blocks, j + 2 blocks, …"""

    def __init__(self, products: Tensor) -> None:
        count, num_keys = products.shape
        self._num = num_keys // _BLOCK
        self._products = products
        self._blocks = products.as_strided((count, _BLOCK, self._num), (num_keys, self._num, 1))
        # The keys that are left over are blocks of their own.
        self.largest = torch.cat([self._blocks.amax(dim=1), products[:, self._num * _BLOCK :]], dim=1)

    def reaching(self, smallest: Floats) -> tuple[Indices, Indices, Mask]:
        """The keys whose products are at least so large, and for which queries there are too many to look at."""
        bound = torch.from_numpy(smallest)[:, None]
        passing = self.largest.float() >= bound
        crowded = passing.sum(dim=1) > _MOST_BLOCKS
        passing[crowded] = False
        query, block = torch.nonzero(passing, as_tuple=True)
        whole = block < self._num
        inside, row = torch.nonzero(
            self._blocks[query[whole], :, block[whole]].float() >= bound[query[whole]], as_tuple=True
        )
        asking = torch.cat([query[whole][inside], query[~whole]])
        key = torch.cat([row * self._num + block[whole][inside], block[~whole] + self._num * (_BLOCK - 1)])
        order = torch.argsort(asking, stable=True)
        return asking[order].numpy(), key[order].numpy(), crowded.numpy()


def by_faiss(keys: Floats, wanted: int) -> Propose:
    """Products in fp32, whose sums are off by n 2^-24 |q| |k| at most, in whatever order they add."""
    depth = min(wanted + _DEEPER, len(keys))
    longest_key = longest(keys)
    index: list[faiss.IndexFlatIP] = []

    def propose(queries: Floats) -> Proposal:
        if not index:  # only now: the coarse search may have proved everything
            index.append(faiss.IndexFlatIP(keys.shape[1]))
            index[0].add(keys)
        values, found = index[0].search(queries, depth)
        error = queries.shape[1] * _UNIT_FP32 * _lengths(queries) * longest_key
        rest = _nothing(len(queries)) if depth == len(keys) else values[:, -1] + error
        query = np.repeat(np.arange(len(queries)), depth)
        return Proposal(query, np.asarray(found, dtype=np.int64).ravel(), rest)

    return propose


def in_fp64(keys: Floats, wanted: int) -> Propose:
    """Products in fp64, for keys that lie closer together than fp32 can tell: all that can be among the nearest."""
    longest_key = longest(keys)
    transposed: list[Doubles] = []

    def propose(queries: Floats) -> Proposal:
        if not transposed:
            transposed.append(keys.T.astype(np.float64))
        values = queries.astype(np.float64) @ transposed[0]
        needed = np.partition(values, len(keys) - wanted, axis=1)[:, len(keys) - wanted]
        # Two sums of one product, and those of two keys, may differ in their error; and then they are rounded to fp32.
        error = 4 * fp64_error(queries, longest_key) + 4 * _UNIT_FP32 * np.abs(needed) + 2 * _SUBNORMAL
        query, key = np.nonzero(values >= (needed - error)[:, None])
        return Proposal(query, key, _nothing(len(queries)))

    return propose


def _everything(num_queries: int, num_keys: int) -> Proposal:
    query = np.repeat(np.arange(num_queries), num_keys)
    return Proposal(query, np.tile(np.arange(num_keys), num_queries), _nothing(num_queries))


def _nothing(count: int) -> Doubles:
    """All keys were proposed."""
    return np.full(count, -np.inf)


def pieces(count: int, size: int = 4096) -> list[tuple[int, int]]:
    """Where rows are cut so that no copy of all of them is made: from which to which."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def fp64_error(queries: Floats, longest_key: float) -> Doubles:
    """How far an inner product that is summed in fp64 can be from the exact one, (queries,)."""
    error: Doubles = queries.shape[1] * _UNIT_FP64 * _lengths(queries) * longest_key
    return error


def longest(rows: Floats) -> float:
    """The largest Euclidean length."""
    return max(float(_lengths(rows[start:stop]).max()) for start, stop in pieces(len(rows)))


def _lengths(rows: Floats) -> Doubles:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))
