import numpy as np
import pytest

from workloads.arrays import Floats
from workloads.errors import EmbeddingsError
from workloads.evaluation.candidates import Held
from workloads.identification import searching
from workloads.identification.searching import KeySearch, nearest


def units(count: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, 8)).round(1)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_sorting(query: Floats, keys: Floats, numbers: list[int], wanted: int) -> list[tuple[float, int]]:
    """By the definition: the most similar first, ties to the lowest number."""
    cosines = [np.float32(query.astype(np.float64) @ keys[number].astype(np.float64)) for number in numbers]
    return sorted(zip(cosines, numbers, strict=True), key=lambda one: (-one[0], one[1]))[:wanted]


@pytest.mark.parametrize("some", [False, True])
def test_blocks_give_what_sorting_gives_however_often_they_are_asked(
    some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_BLOCK", 7)
    monkeypatch.setattr(searching, "_MOST_HELD", 640 if some else 639)  # all blocks stay ready, or none
    keys, queries = units(40, 1), units(11, 2)
    keys[13] = keys[2] = keys[30]  # ties across blocks
    queries[0] = keys[2]
    chosen = np.arange(40) % 3 != 1 if some else None
    numbers = list(range(40)) if chosen is None else np.flatnonzero(chosen).tolist()
    search = KeySearch(Held(keys), 9, chosen)
    for part in (queries[:3], queries, queries[5:]):
        indices, cosines = search.nearest(part)
        for row, query in enumerate(part):
            plain = by_sorting(query, keys, numbers, 9)
            assert list(zip(cosines[row], indices[row], strict=True)) == plain


def test_there_may_be_fewer_keys_than_wanted() -> None:
    indices, cosines = nearest(units(2, 3), Held(units(4, 4)), 10)
    assert indices.shape == cosines.shape == (2, 4)


def test_what_is_of_no_unit_length_is_refused() -> None:
    with pytest.raises(EmbeddingsError, match="keys have rows"):
        nearest(units(2, 3), Held(units(4, 4) * 2), 1)
    with pytest.raises(EmbeddingsError, match="queries have rows"):
        nearest(units(2, 3) * 2, Held(units(4, 4)), 1)
