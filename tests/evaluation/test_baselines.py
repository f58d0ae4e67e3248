"""Chance and majority against every set of keys that could be drawn, against loops, and against scikit-learn."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier

from workloads.arrays import Codes
from workloads.evaluation.accuracy import KS, coded_answers, label_codes
from workloads.evaluation.floors import BASELINES, baseline_measurements, baseline_scores, random_key_chance
from workloads.predictions import MissingRank, Place
from workloads.record import Measurement
from workloads.spec import RANKS

Names = Sequence[str | None]
RULES: tuple[MissingRank, ...] = ("left_out", "a_class")
WHERE = Place("val", "image", "dna")

some_names = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7)


def column(names: Names) -> npt.NDArray[np.object_]:
    return np.array([*names, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def labels(names: Names) -> dict[str, npt.NDArray[np.object_]]:
    return {rank: column(names) for rank in RANKS}


def measured(queries: Names, keys: Names, subset: Sequence[str], missing: MissingRank) -> list[Measurement]:
    codes, nearest = label_codes(labels(queries), labels(keys)), np.zeros(len(queries), dtype=np.int64)
    scores = baseline_scores(labels(queries), labels(keys), missing)
    return baseline_measurements(coded_answers(codes, nearest, column(subset), WHERE), scores, missing)


def shared_codes(queries: Names, keys: Names) -> tuple[Codes, Codes]:
    return label_codes(labels(queries), labels(keys))["species"]


def share_of_draws(name: str | None, keys: Names, k: int) -> float:
    """In how many of all sets of k keys one has the name."""
    draws = list(combinations(keys, min(k, len(keys))))
    return float(Fraction(sum(name in draw for draw in draws), len(draws)))


@given(queries=some_names, keys=some_names, k=st.integers(1, 8))
@settings(deadline=None)
def test_chance_is_the_share_of_all_draws(queries: Names, keys: Names, k: int) -> None:
    chance = random_key_chance(*shared_codes(queries, keys), k)
    assert chance == pytest.approx([share_of_draws(name, keys, k) for name in queries], abs=1e-12)


@given(queries=some_names, keys=some_names)
@settings(deadline=None)
def test_every_score_is_its_definition(queries: Names, keys: Names) -> None:
    for missing in RULES:
        counts = Counter(name for name in keys if name is not None or missing == "a_class")
        # Of equally common ones the first; no name comes before all names.
        commonest = min(counts, key=lambda name: (-counts[name], name or ""), default="none of them")
        expected = [
            [*(share_of_draws(name, keys, k) for k in KS), float(name == commonest)]
            for name in queries
            if name is not None or missing == "a_class"
        ]
        counted = [name is not None or missing == "a_class" for name in queries]
        for scores in baseline_scores(labels(queries), labels(keys), missing).values():
            assert scores.shape == (len(queries), len(BASELINES))
            np.testing.assert_allclose(scores[counted], np.reshape(expected, (-1, 4)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "missing", "right"),
    [
        (["b", "a", "b", "a"], "left_out", "a"),
        (["b", "c", None, None], "left_out", "b"),
        (["b", "c", None, None], "a_class", None),
        (["c", "c", None, None, None], "left_out", "c"),
        ([None, None], "left_out", "nobody"),
        ([None, None], "a_class", None),
    ],
)
def test_the_commonest_name(keys: Names, missing: MissingRank, right: str | None) -> None:
    queries = ["a", "b", "c", "d", None]
    scores = baseline_scores(labels(queries), labels(keys), missing)["genus"][:, -1]
    asked = queries if missing == "a_class" else queries[:-1]
    assert [name for name, score in zip(asked, scores, strict=False) if score] == ([right] if right in asked else [])


def test_the_majority_is_scikit_learn_s_dummy() -> None:
    random = np.random.default_rng(2)
    keys = [f"species {number}" for number in random.integers(0, 9, 70)]
    queries = [f"species {number}" for number in random.integers(0, 12, 50)]
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((70, 1)), keys)
    rows = measured(queries, keys, ["seen"] * 50, "left_out")
    [micro] = [
        row.value
        for row in rows
        if (row.method, row.level, row.average, row.species) == ("majority", "species", "micro", "all")
    ]
    assert micro == pytest.approx(dummy.score(np.zeros((50, 1)), queries), abs=1e-12)


@pytest.mark.parametrize("missing", RULES)
def test_averages_are_those_of_the_queries_that_count(missing: MissingRank) -> None:
    queries, subset = ["a", "a", "b", None, None], ["seen", "seen", "seen", "seen", "unseen"]
    keys = ["a", "a", "b", None]
    rows = measured(queries, keys, subset, missing)
    at = {
        (row.method, row.metric, row.average, row.species): (row.value, row.count)
        for row in rows
        if row.level == "family"
    }
    if missing == "left_out":
        assert at["random_key", "top1", "micro", "all"] == (pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3), 3)
        assert at["random_key", "top1", "macro", "all"] == (pytest.approx((1 / 2 + 1 / 4) / 2), 2)
        assert at["majority", "top1", "micro", "seen"] == (pytest.approx(2 / 3), 3)
        assert not [key for key in at if key[-1] in ("unseen", "harmonic_mean")]
    else:
        assert at["random_key", "top1", "micro", "all"] == (pytest.approx((1 / 2 + 1 / 2 + 3 / 4) / 5), 5)
        assert at["random_key", "top1", "macro", "seen"] == (pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3), 3)
        assert at["random_key", "top3", "micro", "unseen"] == (pytest.approx(3 / 4), 1)
        assert at["majority", "top1", "macro", "harmonic_mean"] == (0, 1)
    assert {row.keys for row in rows} == {"all"}


def test_with_as_many_draws_as_keys_chance_is_whether_the_name_is_there() -> None:
    chance = random_key_chance(*shared_codes(["a", "z", None], ["a", "b", None]), 5)
    assert chance.tolist() == [1, 0, 1]


def test_chance_stays_exact_for_many_keys() -> None:
    keys = ["rare", *["common"] * 21_117]
    truth, offered = shared_codes(["rare", "common", "none"], keys)
    assert random_key_chance(truth, offered, 1) == pytest.approx([1 / 21_118, 21_117 / 21_118, 0], rel=1e-9)
    assert random_key_chance(truth, offered, 5) == pytest.approx([5 / 21_118, 1, 0], rel=1e-9)
