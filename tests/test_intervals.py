"""Bootstrap intervals: scipy's own for each single number, in loops; how often they hold the truth; what has none."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workloads.arrays import Doubles
from workloads.averages import Averages, Part
from workloads.intervals import SEED, Interval, bootstrap_intervals, species_units
from workloads.predictions import MISSING

BATCH = 100


def micro(subset: Sequence[str], values: npt.ArrayLike) -> Averages:
    numbers = np.asarray(values, dtype=float).reshape(len(subset), -1 if subset else 1)
    whole = np.zeros(len(subset), dtype=int)
    return Averages(np.array(subset, dtype=object), np.arange(len(subset)), [(whole, numbers)])


def macro(subset: Sequence[str], units: Sequence[int], classes: Sequence[int], values: npt.ArrayLike) -> Averages:
    numbers = np.asarray(values, dtype=float).reshape(len(subset), -1)
    return Averages(np.array(subset, dtype=object), np.asarray(units), [(np.asarray(classes), numbers)])


def from_scipy(samples: Sequence[npt.ArrayLike], statistic: Callable[..., float]) -> tuple[float, float]:
    """The interval of one number by scipy alone, its statistic called for one resample at a time."""
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=1000,
        batch=BATCH,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def ends(interval: Interval, number: int = 0) -> tuple[float, float]:
    return float(interval.low[number]), float(interval.high[number])


def harmonic(a: float, b: float) -> float:
    return 2 / (1 / a + 1 / b) if a and b else 0.0


def test_micro_intervals_are_those_of_scipy_for_the_same_resamples() -> None:
    rng = np.random.default_rng(1)
    seen, unseen = rng.random((23, 2)) < (0.8, 0.5), rng.random((31, 2)) < (0.1, 0.5)
    found = bootstrap_intervals(micro(["seen"] * 23 + ["unseen"] * 31, np.concatenate([seen, unseen])))
    assert list(found) == ["seen", "unseen", "harmonic_mean", "all"]
    for number in (0, 1):
        samples = seen[:, number].astype(float), unseen[:, number].astype(float)
        one_number: Mapping[Part, Callable[[Doubles, Doubles], float]] = {
            "seen": lambda a, b: a.mean(),
            "unseen": lambda a, b: b.mean(),
            "harmonic_mean": lambda a, b: harmonic(a.mean(), b.mean()),
            "all": lambda a, b: np.concatenate([a, b]).mean(),
        }
        for part, statistic in one_number.items():
            assert ends(found[part], number) == pytest.approx(from_scipy(samples, statistic), abs=1e-12)


def test_macro_intervals_draw_species_with_all_their_queries() -> None:
    rng = np.random.default_rng(2)
    species = np.sort(rng.integers(0, 9, 40))
    hits = rng.random(40) < 0.2 + 0.07 * species
    names, sizes = np.unique(species, return_counts=True)

    def at_species(drawn: Doubles) -> float:
        return float(np.mean([hits[species == names[int(unit)]].mean() for unit in drawn]))

    def at_genus(drawn: Doubles) -> float:
        """Three species a genus; a genus counts by the share of its species that was drawn."""
        total, weights = 0.0, 0.0
        for genus in set(names // 3):
            mine = [int(unit) for unit in drawn if names[int(unit)] // 3 == genus]
            if mine:
                weight = len(mine) / sum(names // 3 == genus)
                right = sum(hits[species == names[unit]].sum() for unit in mine)
                total += weight * right / sum(sizes[unit] for unit in mine)
                weights += weight
        return total / weights

    for classes, statistic in ((species, at_species), (species // 3, at_genus)):
        found = bootstrap_intervals(macro(["unseen"] * 40, species, classes, hits))
        assert list(found) == ["unseen", "all"]
        slow = from_scipy([np.arange(len(names), dtype=float)], statistic)
        assert ends(found["unseen"]) == ends(found["all"]) == pytest.approx(slow, abs=1e-12)


def test_a_contrast_of_paired_runs_is_measured_on_the_same_resamples() -> None:
    rng = np.random.default_rng(3)
    pair = rng.random((50, 2)) < 0.6
    averages = micro(["seen"] * 50, pair)
    found = bootstrap_intervals(averages, lambda numbers: numbers[..., 1:] - numbers[..., :1])["seen"]
    difference = pair[:, 1].astype(float) - pair[:, 0]
    assert ends(found) == pytest.approx(from_scipy([difference], np.mean), abs=1e-12)


# --- How often intervals hold the truth ---------------------------------------------------------------------------


def coverage(simulate: Callable[[np.random.Generator], Averages], truth: float, count: int = 200) -> float:
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(count):
        low, high = ends(bootstrap_intervals(simulate(rng))["unseen"])
        inside += low <= truth <= high
    return inside / count


def clustered(rng: np.random.Generator, units: str, per_genus: int) -> Averages:
    """Forty species of six queries each: some are mostly right, some mostly wrong, half of all."""
    species = np.repeat(np.arange(40), 6)
    right = rng.beta(0.5, 0.5, 40)[species]
    drawn = {"species": species, "queries": np.arange(240)}[units]
    return macro(["unseen"] * 240, drawn.tolist(), (species // per_genus).tolist(), rng.random(240) < right)


def test_micro_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    assert 0.88 <= coverage(lambda rng: micro(["unseen"] * 80, rng.random(80) < 0.7), 0.7) <= 0.99


@pytest.mark.parametrize("per_genus", [1, 2, 4])
def test_macro_intervals_hold_the_truth_at_every_rank(per_genus: int) -> None:
    assert 0.88 <= coverage(lambda rng: clustered(rng, "species", per_genus), 0.5) <= 0.99


def test_drawing_queries_where_species_differ_would_be_too_sure() -> None:
    assert coverage(lambda rng: clustered(rng, "queries", 1), 0.5) < 0.8


# --- What has no interval, or one of no width ---------------------------------------------------------------------


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_all_right_or_all_wrong_is_an_interval_of_no_width(hit: float) -> None:
    found = bootstrap_intervals(micro(["seen"] * 5 + ["unseen"] * 4, [hit] * 9))
    assert {part: ends(interval) for part, interval in found.items()} == dict.fromkeys(found, (hit, hit))
    assert len(found) == 4


@pytest.mark.parametrize("averages", [micro(["seen"], [1]), macro(["seen"] * 3, [7, 7, 7], [1, 1, 2], [1, 0, 1])])
def test_one_query_or_one_species_has_no_interval(averages: Averages) -> None:
    assert bootstrap_intervals(averages) == {}


def test_a_single_seen_query_takes_the_interval_from_the_harmonic_mean_and_from_all() -> None:
    assert list(bootstrap_intervals(micro(["seen", "unseen", "unseen"], [1, 0, 1]))) == ["unseen"]


def test_without_queries_there_are_no_intervals() -> None:
    assert bootstrap_intervals(micro([], [])) == {}


def test_queries_without_a_species_are_units_of_their_own() -> None:
    units = species_units(np.array([4, MISSING, 4, 0, MISSING, MISSING], dtype=np.int32))
    assert units[0] == units[2]
    assert len(set(units.tolist())) == 5


# --- Properties ---------------------------------------------------------------------------------------------------

queries = st.lists(
    st.tuples(st.sampled_from(["seen", "unseen"]), st.integers(0, 4), st.booleans()), min_size=2, max_size=25
)


@given(queries)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_interval_lies_between_the_worst_and_the_best_of_its_queries(rows: list[tuple[str, int, bool]]) -> None:
    subset, species, hits = zip(*rows, strict=True)
    for averages in (micro(subset, hits), macro(subset, species, species, hits)):
        for interval in bootstrap_intervals(averages).values():
            low, high = ends(interval)
            assert 0 <= low <= high <= 1 + 1e-12
            assert min(hits) - 1e-12 <= low
            assert high <= max(hits) + 1e-12


def averages_of(rows: Sequence[tuple[str, int, bool]]) -> list[Averages]:
    subset, species, hits = zip(*rows, strict=True)
    return [macro(subset, species, species, hits), micro(subset, hits)]


@given(queries.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_order_of_queries_moves_no_value_and_no_macro_interval(
    orders: tuple[list[tuple[str, int, bool]], list[tuple[str, int, bool]]],
) -> None:
    for one, other in zip(*map(averages_of, orders), strict=True):
        values = [{part: value.item() for part, value in averages.point().items()} for averages in (one, other)]
        assert values[0] == pytest.approx(values[1])
    intervals = [bootstrap_intervals(averages_of(rows)[0]) for rows in orders]
    assert [*map(ends, intervals[0].values())] == [*map(ends, intervals[1].values())]
