"""The nearest keys against a search one pair at a time."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workloads.evaluation.retrieval import nearest_keys

Rows = npt.NDArray[np.float32]


def brute_force(queries: Rows, keys: Rows, wanted: int) -> tuple[list[list[int]], list[list[float]]]:
    """Indices and products, nearest first and equal ones from the lowest index up."""
    indices, products = [], []
    for query in queries:
        found = sorted((-float(np.dot(query, key)), number) for number, key in enumerate(keys))[:wanted]
        indices.append([number for _, number in found])
        products.append([-product for product, _ in found])
    return indices, products


def check(queries: Rows, keys: Rows, wanted: int) -> None:
    indices, cosines = nearest_keys(queries, keys, wanted)
    expected_indices, expected_products = brute_force(queries, keys, wanted)
    assert indices.tolist() == expected_indices
    assert cosines.tolist() == expected_products


@given(
    queries=arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.integers(-2, 2).map(float)),
    keys=arrays(np.float32, st.tuples(st.integers(1, 25), st.just(3)), elements=st.integers(-2, 2).map(float)),
    wanted=st.integers(1, 8),
)
def test_small_whole_numbers_are_found_as_by_definition(queries: Rows, keys: Rows, wanted: int) -> None:
    check(queries / 64, keys / 64, min(wanted, len(keys)))


def test_duplicate_keys_are_listed_from_the_lowest_index_up() -> None:
    random = np.random.default_rng(0)
    distinct = random.integers(-3, 4, (7, 4)).astype(np.float32) / 16
    keys = distinct[random.integers(0, 7, 400)]
    check(random.integers(-3, 4, (20, 4)).astype(np.float32) / 16, keys, 5)


def test_different_keys_of_equal_similarity_are_listed_from_the_lowest_index_up() -> None:
    # Two hundred different keys, all with the product 1: no list that faiss cuts short holds the lowest five.
    keys = np.stack([np.ones(200), np.arange(200)[::-1]], axis=1).astype(np.float32) / 256
    indices, cosines = nearest_keys(np.array([[1, 0]], dtype=np.float32), keys)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]
    assert cosines.tolist() == [[1 / 256] * 5]


def test_zero_with_and_without_a_sign_is_one_key() -> None:
    keys = np.array([[1, -0.0], [1, 0.0], [0, 1]], dtype=np.float32)
    indices, _ = nearest_keys(np.array([[1, 0]], dtype=np.float32), keys, 2)
    assert indices.tolist() == [[0, 1]]


def test_unit_vectors_are_found_as_by_brute_force() -> None:
    random = np.random.default_rng(1)
    rows = random.standard_normal((330, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, keys = rows[:30], rows[30:]
    indices, cosines = nearest_keys(queries, keys)
    expected, products = brute_force(queries, keys, 5)
    assert indices.tolist() == expected
    np.testing.assert_allclose(cosines, products, rtol=0, atol=1e-6)  # fp32 sums of 16 products


def test_fewer_keys_than_wanted_are_all_listed() -> None:
    keys = np.eye(3, dtype=np.float32)
    indices, cosines = nearest_keys(keys[:2], keys, 5)
    assert indices.tolist() == [[0, 1, 2], [1, 0, 2]]
    assert cosines.shape == (2, 3)


def test_no_queries_find_nothing() -> None:
    indices, cosines = nearest_keys(np.empty((0, 3), np.float32), np.eye(3, dtype=np.float32), 2)
    assert indices.shape == cosines.shape == (0, 2)
