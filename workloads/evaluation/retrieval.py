"""The nearest keys of every query by cosine, exactly, ties to the lowest index.

The similarity of two rows is their inner product, summed in fp64 and rounded to fp32: a number of these two alone, in
whatever order a matrix product adds, so that ties are ties with any search. A fast search proposes candidates, and a
bound on its error proves that no other key can be among the nearest; where it proves nothing, a slower one looks again:

    bf16 products of all pairs  ─unproved─▶  faiss, fp32  ─unproved─▶  fp64 products of all pairs
"""

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from workloads.arrays import Doubles, Floats, Indices, Mask
from workloads.data.inputs.tower_inputs import equal_rows
from workloads.errors import EmbeddingsError
from workloads.evaluation.candidates import (
    Chosen,
    Held,
    Proposal,
    Rows,
    by_faiss,
    coarse_search,
    fp64_error,
    in_fp64,
    longest,
    pieces,
)
from workloads.predictions import NUM_NEIGHBOURS

AnyFloats = TypeVar("AnyFloats", Floats, Doubles)

_Numbers = npt.NDArray[np.uint64]
_CHUNK = 1024
"""Queries at a time, at most."""
_MOST_PAIRS = 2**25
"""Pairs at a time: their products take 64 MB in bf16 and 256 MB in fp64, however many keys there are."""
_FEW_PAIRS = 20_000_000
"""Below this many pairs faiss is done before a bf16 copy of the keys is made."""
_WORTH_IT = 0.5
"""Share of proved queries below which the coarse search is given up for the remaining ones."""
_ROUNDING = 2.0**-23
"""Largest relative difference that rounding two similarities to fp32 can hide."""
_UNIT = 0.01
"""By which a row's length may exceed 1."""
_UNDERFLOW = 2.0**-126
"""What a product in fp32 or bf16 loses at most by being too small; rows of unit length never notice."""


def nearest_keys(
    queries: Floats, keys: Floats, num_neighbours: int = NUM_NEIGHBOURS, coarse: bool | None = None
) -> tuple[Indices, Floats]:
    """Exact search.

    Identical queries ask once. Identical keys are searched once and then listed from the lowest index up, and so are
    different keys of equal similarity.

    Args:
        queries: unit rows, (queries, size), finite as all of an `Embedded`.
        keys: unit rows, (keys, size), one at least.
        num_neighbours: how many keys to find, one at least; all of them when there are fewer.
        coarse: whether to begin with bf16 products; None where this processor multiplies bf16 and it pays.

    Returns:
        Indices of the keys, nearest first, and their cosines, both (queries, neighbours). The same with either search.

    Raises:
        EmbeddingsError: embeddings are of different sizes, or not of unit length, so that products are no cosines.
    """
    if queries.shape[1] != keys.shape[1]:
        sizes = f"queries have {queries.shape[1]} numbers and keys {keys.shape[1]}"
        raise EmbeddingsError(f"{sizes}, so they share no space")
    check_units("queries", queries)
    check_units("keys", keys)
    return largest_products(queries, keys, num_neighbours, coarse)


def check_units(name: str, rows: Floats) -> None:
    """Refuse rows whose products are no cosines.

    Raises:
        EmbeddingsError: one is longer than 1; it is called by the `name` of all.
    """
    if len(rows):
        check_length(name, float(np.max([longest(rows[start:stop]) for start, stop in pieces(len(rows))])))


def check_length(name: str, of_longest: float) -> None:
    """The same of rows whose greatest length is known."""
    if not of_longest <= 1 + _UNIT:  # so NaN, which no finite row has
        raise EmbeddingsError(f"{name} have rows of length {of_longest:.3g}, and products of such are no cosines")


def largest_products(
    queries: Floats, keys: Floats, num_neighbours: int = NUM_NEIGHBOURS, coarse: bool | None = None
) -> tuple[Indices, Floats]:
    """`nearest_keys` of rows of any length: by their products."""
    if coarse is None:
        coarse = len(queries) * len(keys) > _FEW_PAIRS and _multiplies_bf16()
    return Keys(Held(np.ascontiguousarray(keys, dtype=np.float32)), num_neighbours, coarse).nearest(queries)


class Keys:
    """Keys that are searched more than once: what a search needs of them is made once.

    Held are the distinct keys in bf16; in fp32 as well where bf16 does not prove what is found.
    """

    def __init__(self, keys: Rows, num_neighbours: int = NUM_NEIGHBOURS, coarse: bool | None = None) -> None:
        """Take some keys.

        Args:
            keys: rows of any length, one at least.
            num_neighbours: how many of them each query wants.
            coarse: as of `nearest_keys`.
        """
        looked, self._wanted = _LookedOver(keys), min(num_neighbours, len(keys))
        self.longest, self._groups = looked.longest, _Groups(keys, looked.numbers)
        coarse = _multiplies_bf16() if coarse is None else coarse
        self._search = _Search(self._groups.rows, self._wanted, looked, coarse)

    def nearest(self, queries: Floats) -> tuple[Indices, Floats]:
        """Numbers and products of the nearest keys, as `nearest_keys` has them."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        first, which = _equal_rows(Held(queries), _numbered(queries))
        distinct = queries[first] if len(first) < len(queries) else queries
        indices = np.empty((len(distinct), self._wanted), dtype=np.int64)
        cosines = np.empty((len(distinct), self._wanted), dtype=np.float32)
        step = max(1, min(_CHUNK, _MOST_PAIRS // len(self._groups.rows)))
        for start in range(0, len(distinct), step):
            chunk = slice(start, start + step)
            indices[chunk], cosines[chunk] = self._groups.expand(*self._search.run(distinct[chunk]), self._wanted)
        return (indices[which], cosines[which]) if len(first) < len(queries) else (indices, cosines)


def nearest_of(indices: Indices, cosines: AnyFloats) -> tuple[Indices, AnyFloats]:
    """The nearest five of some keys of each query, ties to the lowest index; NaN, which is no similarity, goes last.

    Args:
        indices: of keys, (queries, keys).
        cosines: of these, (queries, keys).
    """
    order = np.lexsort((indices, -cosines), axis=1)[:, :NUM_NEIGHBOURS]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def _multiplies_bf16() -> bool:
    """Whether this processor has instructions for it; without them torch takes far longer than for fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _LookedOver:
    """What there is to know of keys before they are searched, found in one pass over them."""

    def __init__(self, keys: Rows) -> None:
        self.numbers: _Numbers = np.empty(len(keys), dtype=np.uint64)
        total, long = np.zeros(keys.size), list[float]()
        for start, stop in pieces(len(keys)):
            own = keys.block(start, stop)
            self.numbers[start:stop] = _numbered(own)
            total += own.sum(axis=0, dtype=np.float64)
            long.append(longest(own))
        self.mean: Floats = (total / len(keys)).astype(np.float32)
        self.longest = float(np.max(long))


class _Search:
    """Nearest distinct keys of some queries: candidates, similarities, proof.

    The fast searches are among k - m instead of keys k of mean m: q·k = q·m + q·(k - m), and q·m is the same for all
    keys. Errors are proportional to the length of what is searched among, so keys that lie close together, as those of
    an untrained model do, are told apart all the same.
    """

    def __init__(self, keys: Rows, wanted: int, looked: "_LookedOver", coarse: bool) -> None:
        self._keys, self._wanted, self._mean = keys, min(wanted, len(keys)), looked.mean
        self._longest = looked.longest
        searches = [
            lambda: coarse_search(keys, self._wanted, self._mean),
            lambda: by_faiss(keys, self._wanted, self._mean),
            lambda: in_fp64(keys, self._wanted),
        ][0 if coarse else 1 :]
        # Made when their turn comes: the one before may have proved everything.
        self._searches = [cache(make) for make in searches]

    def run(self, queries: Floats) -> tuple[Indices, Indices, Floats]:
        """Every distinct key that may be among the nearest ones, with its similarity.

        Returns:
            Pairs of a query and a key, by number, with their similarity; for every query all keys at least as
            similar as the last one wanted, and perhaps more.
        """
        pairs, waiting = [], np.arange(len(queries))
        for number, search in enumerate(list(self._searches)):
            if not len(waiting):
                break
            asking = queries[waiting]
            proposal = search()(asking)
            exact = self._similarities(asking, proposal)
            proved = self._proved(asking, proposal, exact)
            if number == 0 and len(self._searches) == 3 and proved.mean() < _WORTH_IT:
                del self._searches[0]  # these keys lie too close together for bf16
            kept = proved[proposal.query]
            pairs.append((waiting[proposal.query[kept]], proposal.key[kept], exact[kept].astype(np.float32)))
            waiting = waiting[~proved]
        query, key, similarity = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return query, key, similarity

    def _similarities(self, queries: Floats, proposal: Proposal) -> Doubles:
        """Inner products of the proposed pairs in fp64, (pairs,)."""
        exact = np.empty(len(proposal.query))
        for start in range(0, len(exact), _CHUNK):
            part = slice(start, start + _CHUNK)
            left, right = queries[proposal.query[part]], self._keys.take(proposal.key[part])
            exact[part] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
        return exact

    def _proved(self, queries: Floats, proposal: Proposal, exact: Doubles) -> Mask:
        """For which queries no key outside the proposal can be as similar as the last one wanted, (queries,)."""
        enough = np.bincount(proposal.query, minlength=len(queries)) >= self._wanted
        order = np.lexsort((-exact, proposal.query))
        first = np.searchsorted(proposal.query, np.flatnonzero(enough))
        last_wanted = exact[order][first + self._wanted - 1]
        # A key outside may be summed to more than its product, and so may q·m, of which the bound is made.
        error = 2 * fp64_error(queries, self._longest) + queries.shape[1] * _UNDERFLOW
        rest = proposal.rest + queries.astype(np.float64) @ self._mean
        proved = np.zeros(len(queries), dtype=bool)
        proved[enough] = last_wanted - np.abs(last_wanted) * _ROUNDING > (rest + error)[enough]
        return proved


class _Groups:
    """The distinct rows among keys, and which keys each stands for."""

    def __init__(self, keys: Rows, numbers: _Numbers) -> None:
        first, group = _equal_rows(keys, numbers)
        self.rows: Rows = Chosen(keys, first) if len(first) < len(keys) else keys
        if len(first) == len(keys):
            group = np.arange(len(keys))
        self._members = np.argsort(group, kind="stable")
        self._size = np.bincount(group)
        self._start = np.cumsum(self._size) - self._size

    def expand(self, query: Indices, group: Indices, similarity: Floats, wanted: int) -> tuple[Indices, Floats]:
        """The nearest keys from the nearest groups.

        Args:
            query: counted from 0 without a gap, (pairs,).
            group: distinct key, (pairs,).
            similarity: of the two, (pairs,).
            wanted: keys a query.

        Returns:
            Keys and similarities, nearest first and ties from the lowest index up, both (queries, wanted).
        """
        members = np.minimum(self._size[group], wanted)  # of more, only the lowest can be listed
        pair = np.repeat(np.arange(len(group)), members)
        place = np.arange(len(pair)) - np.repeat(np.cumsum(members) - members, members)
        key = self._members[self._start[group[pair]] + place]
        order = np.lexsort((key, -similarity[pair], query[pair]))
        asking = query[pair][order]
        first = np.flatnonzero(np.r_[True, asking[1:] != asking[:-1]])
        chosen = order[first[:, None] + np.arange(wanted)]
        return key[chosen], similarity[pair][chosen]


def _equal_rows(rows: Rows, numbers: _Numbers) -> tuple[Indices, Indices]:
    """First row of each group of equal ones, and the group of each row, by their numbers."""
    _, first, group = np.unique(numbers, return_index=True, return_inverse=True)
    if len(first) == len(rows) or all(
        np.array_equal(rows.block(start, stop), rows.take(first[group[start:stop]]))
        for start, stop in pieces(len(rows))
    ):
        return first, group
    # Different rows of one number, which chance alone makes once in 10^10 searches.
    return equal_rows(rows.block(0, len(rows)))


def _numbered(rows: Floats) -> _Numbers:
    """A number of each row, the same of equal ones, (rows,)."""
    words = rows.view(np.uint32)
    found: _Numbers = words @ np.random.default_rng(0).integers(0, 2**63, words.shape[1], dtype=np.uint64)
    return found
