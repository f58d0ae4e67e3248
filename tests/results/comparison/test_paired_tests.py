"""p-values of paired runs against every possible swap, against the binomial distribution, and by hand."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from results.comparison.paired_tests import PERMUTATIONS, SMALLEST_P, halves, mcnemar_p, permutation_p
from workloads.averages import Averages
from workloads.intervals import SEED

Floats = npt.NDArray[np.float64]


@pytest.mark.parametrize(("only_first", "only_second", "both", "neither"), [(3, 9, 5, 2), (0, 6, 0, 0), (40, 61, 9, 8)])
def test_mcnemar_is_the_binomial_test_of_the_queries_that_differ(
    only_first: int, only_second: int, both: int, neither: int
) -> None:
    counts = [only_first, only_second, both, neither]
    first = np.repeat([True, False, True, False], counts)
    second = np.repeat([False, True, True, False], counts)
    expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    assert mcnemar_p(first, second) == mcnemar_p(second, first) == pytest.approx(expected)


@pytest.mark.parametrize("hits", [[True, False, True], [True], []])
def test_mcnemar_of_runs_that_never_differ_is_one(hits: list[bool]) -> None:
    same = np.array(hits, dtype=bool)
    assert mcnemar_p(same, same) == 1.0


def test_halves_are_the_first_and_the_second_run_of_each_rank() -> None:
    # Two ranks of three retrievals: rank, run and retrieval as digits.
    numbers = np.array([[111, 112, 113, 121, 122, 123, 211, 212, 213, 221, 222, 223]])
    first, second = halves(numbers, num_ranks=2)
    assert first.tolist() == [[111, 112, 113, 211, 212, 213]]
    assert second.tolist() == [[121, 122, 123, 221, 222, 223]]


def micro(subset: list[str], hits: Floats) -> Averages:
    whole = np.zeros(len(subset), dtype=int)
    return Averages(np.array(subset, dtype=object), np.arange(len(subset)), [(whole, hits)])


def test_permuting_queries_is_mcnemars_test() -> None:
    rng = np.random.default_rng(5)
    hits = rng.random((24, 2)) < (0.3, 0.7)
    p = permutation_p(micro(["seen"] * 12 + ["unseen"] * 12, hits.astype(float)), num_ranks=1)
    assert list(p) == ["seen", "unseen", "harmonic_mean"]
    # Swaps are drawn, as there are more than are tried: three standard errors of a drawn share.
    for part, rows in (("seen", slice(12)), ("unseen", slice(12, 24))):
        exact = mcnemar_p(hits[rows, 0], hits[rows, 1])
        assert p[part].item() == pytest.approx(exact, abs=2 * 3 * np.sqrt(exact / 2 / 9999) + SMALLEST_P)


def test_few_species_are_swapped_in_every_possible_way() -> None:
    """Four seen and four unseen species of three queries, each species swapped as a whole; macro over genera of two."""
    rng = np.random.default_rng(6)
    subset = np.repeat(np.array(["seen", "unseen"], dtype=object), 12)
    species = np.repeat(np.arange(8), 3)
    hits = (rng.random((24, 2)) < (0.35, 0.75)).astype(float)
    found = permutation_p(Averages(subset, species, [(species // 2, hits)]), num_ranks=1)

    def values(swapped: tuple[bool, ...]) -> list[float]:
        """Second minus first: of seen, of unseen, and of their harmonic means."""
        runs = np.array([hits[i, ::-1] if swapped[species[i]] else hits[i] for i in range(24)])
        shares = [[runs[species // 2 == genus, run].mean() for genus in range(4)] for run in (0, 1)]
        seen, unseen = ([np.mean(run[part]) for run in shares] for part in (slice(2), slice(2, 4)))
        both = [2 * a * b / (a + b) if a and b else 0.0 for a, b in zip(seen, unseen, strict=True)]
        return [round(float(second - first), 9) for first, second in (seen, unseen, both)]

    null = np.array([values(swapped) for swapped in product((False, True), repeat=8)])
    data = np.array(values((False,) * 8))
    one_sided = np.minimum((null >= data).mean(axis=0), (null <= data).mean(axis=0))
    assert [p.item() for p in found.values()] == pytest.approx(np.minimum(2 * one_sided, 1))
    assert len(set(one_sided)) == 3


def test_swaps_that_make_the_same_difference_are_ties_to_the_last_bit() -> None:
    """The same swaps counted in whole queries, which add without rounding; hundredths of sevenths do not."""
    hits = np.eye(2)[np.random.default_rng(8).integers(0, 2, 700)]  # the runs differ in every query
    by_query = hits[:, 1] - hits[:, 0]
    whole_queries = stats.permutation_test(
        (np.ones(700),),
        lambda signs, axis: signs @ by_query,
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        batch=200,
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    assert permutation_p(micro(["seen"] * 700, hits), num_ranks=1)["seen"].item() == whole_queries.pvalue


def test_species_in_which_the_runs_do_the_same_say_nothing() -> None:
    hits = np.array([[0, 1], [1, 1], [0, 0], [0, 1], [0, 1]], dtype=float)
    p = permutation_p(micro(["seen"] * 5, hits), num_ranks=1)
    assert p["seen"].item() == pytest.approx(2 / 2**3)
    assert list(p) == ["seen"]


@pytest.mark.parametrize("num_differing", [0, 1])
def test_without_units_to_swap_p_is_one(num_differing: int) -> None:
    hits = np.ones((4, 2))
    hits[:num_differing, 0] = 0
    p = permutation_p(micro(["seen", "seen", "unseen", "unseen"], hits), num_ranks=1)
    assert [(part, value.item()) for part, value in p.items()] == [("seen", 1), ("unseen", 1), ("harmonic_mean", 1)]


def test_without_queries_there_is_no_p() -> None:
    assert permutation_p(micro([], np.zeros((0, 2))), num_ranks=1) == {}


def test_p_values_of_runs_alike_are_spread_evenly() -> None:
    """Runs that differ by chance only: no more small p-values than there should be."""
    rng = np.random.default_rng(7)
    small = 0
    for _ in range(100):
        right = rng.beta(0.5, 0.5, 12).repeat(4)[:, None]
        species = np.arange(12).repeat(4)
        hits = (rng.random((48, 2)) < right).astype(float)
        p = permutation_p(Averages(np.array(["seen"] * 48, dtype=object), species, [(species, hits)]), num_ranks=1)
        small += p["seen"].item() < 0.2
    assert 8 <= small <= 32  # 20 expected, of which four standard errors are 16; ties make it fewer
