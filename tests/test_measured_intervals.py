"""Intervals of the measurements of retrievals: each at its place, by the rule for missing names."""

from dataclasses import replace

import numpy as np
import pytest

from workloads.averages import Averages
from workloads.evaluation.accuracy import accuracies_of
from workloads.intervals import bootstrap_intervals, rank_averages, with_intervals, with_intervals_of
from workloads.predictions import MISSING, Answers, MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS

NUM_QUERIES = 40
SUBSET = np.array(["seen"] * 16 + ["unseen"] * 24, dtype=object)


def retrieval(place: Place, seed: int = 0, missing_species: bool = True) -> Answers:
    """Forty queries of eleven species, two a genus; a few without a species; five neighbours of random names."""
    rng = np.random.default_rng(99)
    species = np.where(SUBSET == "seen", rng.integers(0, 4, NUM_QUERIES), rng.integers(4, 11, NUM_QUERIES))
    truth = {"species": species, "genus": species // 2, "family": species // 4, "order": species * 0}
    if missing_species:
        truth["species"] = np.where(rng.random(NUM_QUERIES) < 0.2, MISSING, species)
    rng = np.random.default_rng(seed)
    shape = (NUM_QUERIES, 5)
    return Answers(
        place,
        np.array([f"Q{number}" for number in range(NUM_QUERIES)], dtype=object),
        SUBSET,
        {rank: truth[rank].astype(np.int32) for rank in RANKS},
        {rank: rng.integers(MISSING, truth[rank].max() + 1, shape).astype(np.int32) for rank in RANKS},
        np.full(shape, "K", dtype=object),
        np.zeros(shape, dtype=np.float32),
    )


def measured(**where: object) -> Measurement:
    place = {"partition": "val", "average": "micro", "level": "species", "query": "image", "key": "dna"}
    return Measurement(**{**place, "species": "seen", "value": 0.5, "count": 9, **where})


IMAGE_DNA = Place("val", "image", "dna")


@pytest.mark.parametrize("missing", ["left_out", "a_class"])
@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize("k", [1, 3])
def test_each_number_has_the_interval_of_its_own_hits(missing: MissingRank, average: str, k: int) -> None:
    answers = retrieval(IMAGE_DNA)
    others = retrieval(Place("val", "dna", "dna"), seed=1), retrieval(Place("val", "image", "dna", keys="own"), seed=2)
    for rank in RANKS:
        counted = answers.counted(rank, missing)
        assert counted.all() == (rank != "species" or missing == "a_class")
        species = [i - 1000 if code == MISSING else int(code) for i, code in enumerate(answers.truth["species"])]
        units = np.arange(NUM_QUERIES) if average == "micro" else np.array(species)
        classes = answers.truth[rank] * (average == "macro")
        alone = Averages(
            SUBSET[counted], units[counted], [(classes[counted], answers.hits(rank, k)[counted][:, None].astype(float))]
        )
        rows = [
            measured(level=rank, average=average, species=part, metric=f"top{k}")
            for part in ("seen", "unseen", "harmonic_mean", "all")
        ]
        found = with_intervals(rows, [others[0], answers, others[1]], missing)
        expected = bootstrap_intervals(alone)
        assert len(expected) == 4
        for row in found:
            interval = expected[row.species]
            assert (row.low, row.high) == pytest.approx((interval.low[0], interval.high[0]), abs=1e-12)


def test_measurements_of_other_places_stay_as_they_are() -> None:
    rows = [
        measured(),
        measured(method="random_key"),
        measured(partition="test"),
        measured(keys="own"),
        measured(metric="seen_unseen_accuracy", low=0.4, high=0.6),
        measured(metric="top10"),
    ]
    found = with_intervals(rows, [retrieval(IMAGE_DNA)], "left_out")
    assert found[1:] == rows[1:]
    assert found[0].low is not None
    assert found[0].high is not None
    assert replace(found[0], low=None, high=None) == rows[0]


def test_retrievals_of_different_queries_are_resampled_apart() -> None:
    few = retrieval(Place("val", "text", "dna"))
    rows = slice(3, None)
    few = replace(
        few,
        ids=few.ids[rows],
        subset=few.subset[rows],
        truth={rank: codes[rows] for rank, codes in few.truth.items()},
        found={rank: codes[rows] for rank, codes in few.found.items()},
    )
    asked = [measured(), measured(query="text")]
    together = with_intervals(asked, [retrieval(IMAGE_DNA), few], "left_out")
    assert together[0] == with_intervals(asked, [retrieval(IMAGE_DNA)], "left_out")[0]
    assert together[1] == with_intervals(asked, [few], "left_out")[1]
    assert together[0].high != together[1].high


def test_a_rank_that_no_query_has_leaves_its_measurements_without_interval() -> None:
    answers = retrieval(IMAGE_DNA)
    nothing = np.full(NUM_QUERIES, MISSING, dtype=np.int32)
    answers = replace(answers, truth={**answers.truth, "family": nothing})
    found = with_intervals([measured(level="family"), measured(level="genus")], [answers], "left_out")
    assert found[0].low is None
    assert found[1].low is not None


def test_no_retrievals_are_no_intervals() -> None:
    assert with_intervals([measured()], [], "left_out") == [measured()]


def test_any_scores_have_intervals_such_as_the_chances_of_a_random_key() -> None:
    answers, chance = retrieval(IMAGE_DNA), np.random.default_rng(8).random((NUM_QUERIES, 1))
    place = replace(IMAGE_DNA, method="random_key")
    rows = [measured(method="random_key", level="genus", species="unseen")]
    [row] = with_intervals_of(rows, answers, [(place, "top1")], dict.fromkeys(RANKS, chance), "left_out")
    assert row.low is not None
    assert row.high is not None
    mean, error = chance[16:].mean(), chance[16:].std() / np.sqrt(24)
    assert row.low == pytest.approx(mean - 1.96 * error, abs=0.5 * error)
    assert row.high == pytest.approx(mean + 1.96 * error, abs=0.5 * error)


@pytest.mark.parametrize("missing", ["left_out", "a_class"])
def test_every_accuracy_of_a_retrieval_gets_an_interval_of_the_very_number(missing: MissingRank) -> None:
    answers = retrieval(IMAGE_DNA)
    rows = accuracies_of(answers, missing)
    found = with_intervals(rows, [answers], missing)
    assert len(found) == 4 * 2 * 4 * 3
    assert all(row.low is not None and row.high is not None and row.low <= row.high for row in found)
    hits = {rank: answers.hits(rank)[:, None] for rank in RANKS}
    values = {
        (group.average, rank, part): numbers[column]
        for group in rank_averages(answers, hits, missing)
        for part, numbers in group.averages.point().items()
        for column, rank in enumerate(group.ranks)
    }
    measured = {(row.average, row.level, row.species): row.value for row in rows if row.metric == "top1"}
    assert values == pytest.approx(measured, abs=2e-12)  # rounded to 12 digits
