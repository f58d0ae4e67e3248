"""Averages for any draw of units, against loops over the queries."""

import numpy as np
import numpy.typing as npt
import pytest

from workloads.arrays import Doubles
from workloads.averages import SAMPLES, Averages, Part, Sample, harmonic_means

Draws = dict[Sample, Doubles]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def slow_mean(times: list[float], units: list[int], classes: list[int], values: list[float]) -> float:
    """The definition: `times` says how often the unit of each query was drawn."""
    total, weights = 0.0, 0.0
    for name in set(classes):
        mine = [i for i in range(len(classes)) if classes[i] == name]
        units_of_class = {units[i] for i in mine}
        drawn_units = sum({units[i]: times[i] for i in mine}.values())
        drawn_queries = sum(times[i] for i in mine)
        if drawn_queries:
            weight = drawn_units / len(units_of_class)
            total += weight * sum(times[i] * values[i] for i in mine) / drawn_queries
            weights += weight
    return total / weights


def slow_parts(
    subset: list[str], units: list[int], classes: list[int], values: list[float], draws: Draws, draw: int
) -> dict[Part, float]:
    times = []
    for sample, unit in zip(subset, units, strict=True):
        names = sorted({u for s, u in zip(subset, units, strict=True) if s == sample})
        times.append(float(draws["seen" if sample == "seen" else "unseen"][draw, names.index(unit)]))

    def over(rows: list[int]) -> float:
        return slow_mean(*([column[i] for i in rows] for column in (times, units, classes, values)))

    seen = over([i for i, sample in enumerate(subset) if sample == "seen"])
    unseen = over([i for i, sample in enumerate(subset) if sample == "unseen"])
    both = 2 / (1 / seen + 1 / unseen) if seen and unseen else 0.0
    return {"seen": seen, "unseen": unseen, "harmonic_mean": both, "all": over(list(range(len(subset))))}


def make(rng: np.random.Generator, num_queries: int = 61) -> tuple[npt.NDArray[np.object_], Doubles, Doubles, Doubles]:
    """Subsets; units within them; classes, which cross units and subsets; two numbers."""
    subset = np.array(["seen", "unseen", "unseen"], dtype=object)[rng.integers(0, 3, num_queries)]
    units = np.where(subset == "seen", 0, 100) + rng.integers(0, 7, num_queries)
    classes = rng.integers(-1, 5, num_queries)
    return subset, units, classes, rng.integers(0, 2, (num_queries, 2)).astype(float)


def drawing(rng: np.random.Generator, averages: Averages, num_draws: int) -> Draws:
    """How often each unit was drawn."""
    draws: Draws = {}
    for sample, count in averages.num_units.items():
        draws[sample] = rng.multinomial(count, np.full(count, 1 / count), num_draws).astype(float)
    return draws


def test_averages_of_draws_are_those_of_loops(rng: np.random.Generator) -> None:
    for _ in range(5):
        subset, units, classes, values = make(rng)
        averages = Averages(subset, units, [(classes, values[:, :1]), (units % 3, values[:, 1:])])
        draws = drawing(rng, averages, 8)
        found = averages.of(draws)
        assert list(found) == ["seen", "unseen", "harmonic_mean", "all"]
        for number, block in enumerate((classes, units % 3)):
            for draw in range(8):
                columns = (c.tolist() for c in (subset, units, block, values[:, number]))
                slow = slow_parts(*columns, draws, draw)
                # Doubles are rounded to 12 digits, and a harmonic mean moves at most twice as far as its values.
                assert {part: v[draw, number] for part, v in found.items()} == pytest.approx(slow, abs=2e-12)


def test_with_each_unit_drawn_once_they_are_the_plain_averages(rng: np.random.Generator) -> None:
    subset, units, classes, values = make(rng)
    whole = np.zeros(len(subset), dtype=int)
    micro = Averages(subset, np.arange(len(subset)), [(whole, values)]).point()
    macro = Averages(subset, units, [(classes, values)]).point()
    for part, rows in (("seen", subset == "seen"), ("unseen", subset == "unseen"), ("all", subset != "")):
        assert micro[part] == pytest.approx(values[rows].mean(axis=0))
        shares = [values[rows & (classes == name)].mean(axis=0) for name in np.unique(classes[rows])]
        assert macro[part] == pytest.approx(np.mean(shares, axis=0))


def test_contributions_add_up_to_the_number_of_their_subset(rng: np.random.Generator) -> None:
    subset, units, classes, values = make(rng)
    averages = Averages(subset, units, [(classes, values), (units, values[:, :1])])
    point = averages.point()
    for sample, contributions in averages.contributions().items():
        assert contributions.shape == (averages.num_units[sample], 3)
        assert contributions.sum(axis=0) == pytest.approx(point[sample])


def test_a_species_drawn_twice_counts_twice_and_one_not_drawn_drops_out() -> None:
    subset = np.array(["seen"] * 4, dtype=object)
    species, hits = np.array([0, 0, 1, 2]), np.array([[1.0], [0.0], [1.0], [0.0]])
    averages = Averages(subset, species, [(species, hits)])
    assert averages.of({"seen": np.array([[2.0, 1.0, 0.0]])})["seen"].item() == pytest.approx((2 * 0.5 + 1) / 3)
    # A genus of both first species, one of the third: with each drawn once both genera count one.
    genus = np.array([0, 0, 0, 1])
    by_genus = Averages(subset, species, [(genus, hits)])
    assert by_genus.point()["seen"].item() == pytest.approx((2 / 3 + 0) / 2)
    # Of the first genus one of two species is drawn, so it counts half; of the other one two of one.
    drawn = by_genus.of({"seen": np.array([[0.0, 1.0, 2.0]])})["seen"].item()
    assert drawn == pytest.approx((0.5 * 1 + 2 * 0) / 2.5)


@pytest.mark.parametrize("only", SAMPLES)
def test_of_one_subset_alone_all_queries_are_its_queries(rng: np.random.Generator, only: Sample) -> None:
    subset, units, classes, values = make(rng)
    both = Averages(subset, units, [(classes, values)])
    rows = subset == only
    alone = Averages(subset[rows], units[rows], [(classes[rows], values[rows])])
    found = alone.point()
    assert list(found) == [only, "all"]
    assert found[only].tolist() == found["all"].tolist() == both.point()[only].tolist()


def test_without_queries_there_are_no_averages() -> None:
    nothing = np.array([], dtype=int)
    averages = Averages(np.array([], dtype=object), nothing, [(nothing, np.zeros((0, 2)))])
    assert averages.num_units == {}
    assert averages.point() == {}
    assert averages.contributions() == {}


@pytest.mark.parametrize(("a", "b", "mean"), [(0.5, 0.25, 1 / 3), (0.0, 0.7, 0.0), (0.7, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_the_harmonic_mean_is_zero_where_either_is(a: float, b: float, mean: float) -> None:
    assert harmonic_means(np.array([a]), np.array([b])).item() == pytest.approx(mean)
