"""The nearest keys where a bound on rounding errors decides: every search against products in fp64, to the last bit."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import ZZ
from sympy.polys.matrices import DomainMatrix

from workloads.evaluation import candidates, retrieval
from workloads.evaluation.candidates import Held, Proposal, Propose, by_faiss, coarse_search, in_fp64
from workloads.evaluation.retrieval import largest_products

Rows = npt.NDArray[np.float32]
Random = np.random.Generator


def by_definition(queries: Rows, keys: Rows, wanted: int) -> tuple[list[list[int]], Rows]:
    """Each pair's product summed in fp64 and rounded to fp32, then a stable sort."""
    products = np.zeros((len(queries), len(keys)), dtype=np.float32)
    for row, query in enumerate(queries):
        same = np.repeat(query[None, :], len(keys), axis=0)
        products[row] = np.einsum("ij,ij->i", same, keys, dtype=np.float64)
    order = np.argsort(-products, axis=1, kind="stable")[:, :wanted]
    return order.tolist(), np.take_along_axis(products, order, axis=1)


def check(queries: Rows, keys: Rows, wanted: int = 5) -> None:
    """With the coarse search and without it, and whatever the machine would choose."""
    indices, cosines = by_definition(queries, keys, min(wanted, len(keys)))
    for coarse in (True, False, None):
        found, similarities = largest_products(queries, keys, wanted, coarse)
        assert found.tolist() == indices, f"coarse={coarse}"
        assert np.array_equal(similarities, cosines), f"coarse={coarse}"


def normal(random: Random, *shape: int) -> Rows:
    return random.standard_normal(shape).astype(np.float32)


def unit(rows: Rows) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def neighbours_in_fp32(random: Random) -> tuple[Rows, Rows]:
    """Keys that differ from three others by a unit or two in the last place; some are queries too."""
    near = unit(normal(random, 3, 12))[random.integers(0, 3, 250)]
    keys = (near.view(np.int32) + random.integers(-2, 3, near.shape).astype(np.int32)).view(np.float32)
    return keys[random.integers(0, 250, 40)], keys


def around_a_mean(spread: float) -> Callable[[Random], tuple[Rows, Rows]]:
    def make(random: Random) -> tuple[Rows, Rows]:
        mean = unit(normal(random, 1, 48))
        return unit(mean + spread * normal(random, 30, 48)), unit(mean + spread * normal(random, 900, 48))

    return make


def whole_numbers(random: Random) -> tuple[Rows, Rows]:
    return tuple(random.integers(-2, 3, (count, 6)).astype(np.float32) for count in (30, 500))  # type: ignore[return-value]  # two of them


def with_zero_rows(random: Random) -> tuple[Rows, Rows]:
    queries, keys = normal(random, 20, 7), normal(random, 200, 7)
    queries[::3], keys[random.random(200) < 0.3] = 0, 0
    return queries, keys


def of_lengths(query: float, key: float) -> Callable[[Random], tuple[Rows, Rows]]:
    def make(random: Random) -> tuple[Rows, Rows]:
        return normal(random, 20, 9) * np.float32(query), normal(random, 300, 9) * np.float32(key)

    return make


def of_very_different_lengths(random: Random) -> tuple[Rows, Rows]:
    lengths = 10.0 ** random.integers(-6, 7, (300, 1))
    return normal(random, 20, 9), (normal(random, 300, 9) * lengths).astype(np.float32)


def cancelling(random: Random) -> tuple[Rows, Rows]:
    """Keys that differ by 1e-17 only, to queries across them: sums in fp64 are nothing but their own errors."""
    size = 12
    queries, keys = np.zeros((10, 3 * size), np.float32), np.zeros((200, 3 * size), np.float32)
    keys[:, 0::3] = normal(random, 1, size)
    keys[:, 1::3] = -keys[:, 0::3]
    queries[:, 0::3] = normal(random, 10, size)
    queries[:, 1::3] = queries[:, 0::3]
    keys[:, 2::3], queries[:, 2::3] = normal(random, 200, size) * np.float32(1e-17), normal(random, 10, size)
    order = random.permutation(3 * size)
    return queries[:, order].copy(), keys[:, order].copy()


CASES: dict[str, Callable[[Random], tuple[Rows, Rows]]] = {
    "keys a unit in the last place apart": neighbours_in_fp32,
    "cosines of 0.9996": around_a_mean(0.003),
    "cosines of 1 - 1e-7": around_a_mean(5e-5),
    "whole numbers": whole_numbers,
    "rows of zeros": with_zero_rows,
    "tiny rows": of_lengths(1e-22, 1e-22),
    "long rows": of_lengths(1e15, 1e16),
    "short and long keys": of_very_different_lengths,
    "sums that cancel": cancelling,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wanted", [1, 5, 20])
def test_every_search_finds_what_products_in_fp64_say(case: str, wanted: int) -> None:
    for seed in range(6):
        check(*CASES[case](np.random.default_rng(seed)), wanted)


@pytest.mark.parametrize("num_keys", [1, 2, 4, 5, 15, 16, 17, 31, 79, 80, 81, 95, 96, 97])
def test_keys_need_not_fill_their_blocks(num_keys: int) -> None:
    random = np.random.default_rng(num_keys)
    check(normal(random, 8, 5), normal(random, num_keys, 5))
    check(random.integers(-1, 2, (8, 5)).astype(np.float32), random.integers(-1, 2, (num_keys, 5)).astype(np.float32))


@given(seed=st.integers(0, 10**6), num_keys=st.integers(1, 120), size=st.integers(1, 9), wanted=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_any_shape_with_ties_and_duplicates(seed: int, num_keys: int, size: int, wanted: int) -> None:
    random = np.random.default_rng(seed)
    keys = random.choice([-1.5, -0.1, -0.0, 0.0, 1e-3, 0.1, 1.5], (num_keys, size)).astype(np.float32)
    check(np.concatenate([keys[random.integers(0, num_keys, 3)], normal(random, 3, size)]), keys, wanted)


def test_a_query_with_too_many_candidates_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_MOST_BLOCKS", 6)
    random = np.random.default_rng(5)
    check(unit(normal(random, 40, 8)), unit(normal(random, 400, 8)))
    many = around_nothing(coarse_search)(unit(normal(random, 400, 8)), 5)(np.zeros((2, 8), np.float32))
    assert not len(many.query)
    assert np.isposinf(many.rest).all()


def test_a_coarse_search_that_proves_little_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(keys: candidates.Rows, wanted: int, mean: Rows) -> Propose:
        propose = coarse_search(keys, wanted, mean)

        def and_count(queries: Rows) -> Proposal:
            asked.append(len(queries))
            return propose(queries)

        return and_count

    monkeypatch.setattr(retrieval, "coarse_search", counted)
    monkeypatch.setattr(retrieval, "_CHUNK", 10)
    monkeypatch.setattr(candidates, "_MOST_BLOCKS", 1)  # fewer than five keys need, so nothing is ever proved
    random = np.random.default_rng(6)
    queries, keys = unit(normal(random, 35, 8)), unit(normal(random, 200, 8))
    found, _ = largest_products(queries, keys, coarse=True)
    assert asked == [10]
    assert found.tolist() == by_definition(queries, keys, 5)[0]


def test_queries_are_answered_alike_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", 7)
    random = np.random.default_rng(7)
    check(unit(normal(random, 30, 20)), unit(normal(random, 300, 20)))


Search = Callable[..., Propose]


def around_nothing(search: Search) -> Callable[[Rows, int], Propose]:
    return lambda keys, wanted: search(Held(keys), wanted, np.zeros(keys.shape[1], dtype=np.float32))


@pytest.mark.parametrize("search", [coarse_search, by_faiss, in_fp64])
@pytest.mark.parametrize("case", ["cosines of 0.9996", "whole numbers", "short and long keys", "rows of zeros"])
def test_no_key_that_was_not_proposed_exceeds_the_bound(search: Search, case: str) -> None:
    for seed in range(10):
        queries, keys = CASES[case](np.random.default_rng(seed))
        found = (in_fp64(Held(keys), 5) if search is in_fp64 else around_nothing(search)(keys, 5))(queries)
        products = queries.astype(np.longdouble) @ keys.T.astype(np.longdouble)
        products[found.query, found.key] = -np.inf
        nothing_left = products.max(axis=1)
        if search is in_fp64:  # it has no bound: the five largest are among what it proposes
            inside = np.full(products.shape, -np.inf)
            inside[found.query, found.key] = (queries.astype(np.float64) @ keys.T)[found.query, found.key]
            assert (np.sort(inside, axis=1)[:, -5] > nothing_left).all()
        else:
            assert (nothing_left <= found.rest).all()
        assert (np.diff(found.query) >= 0).all()
        assert len(set(zip(found.query, found.key, strict=True))) == len(found.query)


def row(of_sixteen: float, *others: float) -> list[float]:
    return [of_sixteen] * 16 + list(others)


# Two keys of which the first is nearer by a hair. bf16 has the numbers 1 and 1 + 2^-7, so 1 + A becomes 1.
A = 2.0**-8 - 2.0**-20
B = 3 * 2.0**-10 + 2.0**-18  # and 1 + 2^-7 - B becomes 1 + 2^-7
C = 7 * 2.0**-11 + 2.0**-18
D = 3324 * 2.0**-20
WORST = {
    "only the nearer key is rounded": (row(0.25, 1), row(1 + A, -4), row(0, 127 * 2.0**-13)),
    "only the query is rounded": (row(1 + A, 1), row(0.25, -4), row(0, 127 * 2.0**-13)),
    "the keys are rounded apart": (
        row(0.25, 1, 1),
        row(1 + 2.0**-8 - 2.0**-14, -4, 0),
        row(1 + 2.0**-8 + 2.0**-14, -4, -(2.0**-10)),
    ),
    "and so are their products, to 1 and 1 + 2^-5": (
        row(0.25, 2.0**-6, 2.0**-6),
        row(1 + B, -192, 0.25),
        row(1 + 2.0**-7 - B, -192, -0.25),
    ),
    "and further apart": (
        row(0.25, 2.0**-6, 2.0**-6),
        row(1 + D, -192, 0.25),
        row(1 + 2.0**-7 - D, -192, -0.25),
    ),
    "and the product of the nearer one, to 1": (
        row(0.25, 2.0**-6, 2.0**-6),
        row(1 + C, -192, 0.25),
        row(1 + 2.0**-7 - C, -192, 0.0),
    ),
    "and products below 0": (
        row(0.25, 2.0**-6, 2.0**-6),
        row(1 + B, -320, -0.75),
        row(1 + 2.0**-7 - B, -320, -1.25),
    ),
    "a sum in fp32 loses what is small beside its first term": (
        [1.0] * 18,
        [1.0, *[2.0**-25] * 16, -1.0],
        [0.0, 15 * 2.0**-25, *[0.0] * 16],
    ),
}


@pytest.mark.parametrize("case", WORST)
def test_the_coarse_bound_holds_where_all_roundings_go_against_the_nearer_key(case: str) -> None:
    query, nearer, other = (np.array(numbers) for numbers in WORST[case])
    assert nearer @ query > other @ query  # both are sums of few bits, hence exact
    keys = np.array([nearer, other], dtype=np.float32)
    assert np.array_equal(keys, [nearer, other])
    found = around_nothing(coarse_search)(keys, 1)(query.astype(np.float32)[None, :])
    assert 0 in found.key or nearer @ query <= found.rest[0]
    assert 1 in found.key
    check(query.astype(np.float32)[None, :], keys, 1)


def test_a_similarity_does_not_depend_on_what_else_is_searched() -> None:
    random = np.random.default_rng(8)
    queries, keys = unit(normal(random, 9, 33)), unit(normal(random, 700, 33))
    _, cosines = largest_products(queries, keys, 700)
    indices, _ = largest_products(queries, keys, 700)
    for row in range(9):
        for rank in (0, 1, 350, 699):
            alone = largest_products(queries[row : row + 1], keys[indices[row, rank]][None, :], 1)[1]
            assert alone[0, 0] == cosines[row, rank]


def test_different_rows_of_one_hash_are_told_apart() -> None:
    size = 6
    factors = np.random.default_rng(0).integers(0, 2**63, size, dtype=np.uint64).tolist()  # those of the search
    assert factors[0] % 2  # so that it can be divided by
    # Whole numbers d with d·factors = 0 modulo 2^64 are a lattice with this basis; reduced, it has short ones.
    basis = np.eye(size, dtype=object)
    basis[:, 0] = [2**64, *(-factor * pow(factors[0], -1, 2**64) % 2**64 for factor in factors[1:])]
    shortest, *_ = DomainMatrix(basis.tolist(), basis.shape, ZZ).lll().to_list()
    difference = np.array([int(d) for d in shortest], dtype=np.int32)
    assert sum(int(d) * f for d, f in zip(difference, factors, strict=True)) % 2**64 == 0
    one = np.ones(size, dtype=np.float32)
    other = (one.view(np.int32) + difference).view(np.float32)
    assert not np.array_equal(one, other)
    keys = np.stack([other, one, other, one, -one])
    _, group = retrieval._equal_rows(Held(keys), retrieval._numbered(keys))
    assert [group[0] == group[2], group[1] == group[3], group[0] == group[1]] == [True, True, False]
    check(np.stack([one, other, -one]), keys, 3)
