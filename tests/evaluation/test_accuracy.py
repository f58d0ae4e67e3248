"""Accuracies against their definition in loops, and against scikit-learn."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from workloads.arrays import Labels
from workloads.averages import harmonic_mean
from workloads.evaluation.accuracy import accuracies_of, coded_answers, label_codes
from workloads.evaluation.floors import baseline_measurements, baseline_scores
from workloads.predictions import Place
from workloads.record import Measurement
from workloads.spec import RANKS

WHERE = Place("val", "image", "dna")
Names = Sequence[str | None]


def column(names: Names) -> npt.NDArray[np.object_]:
    return np.array([*names, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def labels(names: Names) -> dict[str, npt.NDArray[np.object_]]:
    """The same names at every rank."""
    return {rank: column(names) for rank in RANKS}


def accuracies(
    query_labels: Labels,
    key_labels: Labels,
    nearest: npt.NDArray[np.int64],
    subset: npt.NDArray[np.object_],
    where: Place,
    ks: Sequence[int] = (1,),
) -> list[Measurement]:
    return accuracies_of(coded_answers(label_codes(query_labels, key_labels), nearest, subset, where), "left_out", ks)


def measure(truth: Names, keys: Names, nearest: Sequence[int], subset: Sequence[str]) -> list[Measurement]:
    return accuracies(labels(truth), labels(keys), np.array(nearest, dtype=np.int64), column(subset), WHERE)


def by_definition(truth: Names, scores: Sequence[Fraction], subset: Sequence[str]) -> dict[tuple[str, str], float]:
    """Every average of per-query scores, by average and kind of species, one query at a time."""
    found: dict[tuple[str, str], float] = {}
    for kind, members in {"seen": {"seen"}, "unseen": {"unseen"}, "all": {"seen", "unseen"}}.items():
        by_class: dict[str, list[Fraction]] = {}
        for name, score, part in zip(truth, scores, subset, strict=True):
            if name is not None and part in members:
                by_class.setdefault(name, []).append(score)
        if not by_class:
            continue
        every = [score for scores in by_class.values() for score in scores]
        shares = [sum(scores) / len(scores) for scores in by_class.values()]
        found["micro", kind] = float(sum(every) / len(every))
        found["macro", kind] = float(sum(shares) / len(shares))
    for average in ("micro", "macro"):
        if (average, "seen") in found and (average, "unseen") in found:
            seen, unseen = found[average, "seen"], found[average, "unseen"]
            found[average, "harmonic_mean"] = 0.0 if not seen or not unseen else 2 / (1 / seen + 1 / unseen)
    return found


def at_species(rows: Sequence[Measurement]) -> dict[tuple[str, str], float]:
    return {(row.average, row.species): row.value for row in rows if row.level == "species"}


def close(expected: dict[tuple[str, str], float]) -> object:
    return pytest.approx(expected, abs=1e-12)


name = st.sampled_from(["a", "b", "c", None])


@st.composite
def retrievals(draw: st.DrawFn) -> tuple[list[str | None], list[str | None], list[int], list[str]]:
    keys = draw(st.lists(st.sampled_from(["a", "b", "c", "only_key", None]), min_size=1, max_size=9))
    count = draw(st.integers(1, 12))
    truth = draw(st.lists(name, min_size=count, max_size=count))
    nearest = draw(st.lists(st.integers(0, len(keys) - 1), min_size=count, max_size=count))
    subset = draw(st.lists(st.sampled_from(["seen", "unseen"]), min_size=count, max_size=count))
    return truth, keys, nearest, subset


@given(retrievals())
def test_accuracies_are_their_definition(case: tuple[list[str | None], list[str | None], list[int], list[str]]) -> None:
    truth, keys, nearest, subset = case
    hits = [Fraction(t is not None and keys[n] == t) for t, n in zip(truth, nearest, strict=True)]
    assert at_species(measure(truth, keys, nearest, subset)) == close(by_definition(truth, hits, subset))


@given(retrievals())
def test_the_random_key_is_the_mean_over_every_key(
    case: tuple[list[str | None], list[str | None], list[int], list[str]],
) -> None:
    truth, keys, _, subset = case
    chances = [Fraction(sum(t is not None and key == t for key in keys), len(keys)) for t in truth]
    both = labels(truth), labels(keys)
    answers = coded_answers(label_codes(*both), np.zeros(len(truth), dtype=np.int64), column(subset), WHERE)
    rows = baseline_measurements(answers, baseline_scores(*both, "left_out"), "left_out")
    rows = [row for row in rows if (row.method, row.metric) == ("random_key", "top1")]
    assert at_species(rows) == close(by_definition(truth, chances, subset))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_labelled_queries_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = [None if value == 9 else f"species {value}" for value in random.integers(0, 10, 300)]
    keys = [f"species {value}" for value in random.integers(0, 12, 60)]
    nearest = random.integers(0, 60, 300)
    known = [row for row, label in enumerate(truth) if label is not None]
    right = [truth[row] for row in known]
    guessed = [keys[nearest[row]] for row in known]
    found = at_species(measure(truth, keys, nearest.tolist(), ["seen"] * 300))
    assert found["macro", "all"] == pytest.approx(balanced_accuracy_score(right, guessed), abs=1e-12)
    assert found["micro", "all"] == pytest.approx(accuracy_score(right, guessed), abs=1e-12)
    assert found["micro", "seen"] == found["micro", "all"]


def test_a_worked_case() -> None:
    truth = ["a", "a", "a", "b", "c", None]
    subset = ["seen", "seen", "seen", "seen", "unseen", "unseen"]
    found = measure(truth, ["a", "b", "c", None], [0, 0, 1, 1, 3, 3], subset)
    assert at_species(found) == close(
        {
            ("micro", "seen"): 3 / 4,
            ("macro", "seen"): (2 / 3 + 1) / 2,
            ("micro", "unseen"): 0.0,
            ("macro", "unseen"): 0.0,
            ("micro", "all"): 3 / 5,
            ("macro", "all"): (2 / 3 + 1 + 0) / 3,
            ("micro", "harmonic_mean"): 0.0,
            ("macro", "harmonic_mean"): 0.0,
        }
    )
    counts = {(row.average, row.species): row.count for row in found if row.level == "species"}
    assert counts["micro", "all"] == 5
    assert counts["macro", "all"] == 3
    assert counts["micro", "harmonic_mean"] == 1


def test_a_case_of_three_and_five_nearest_keys_made_by_hand() -> None:
    keys = ["a", "b", "b", "c", "d", "d"]
    nearest = [
        [0, 1, 2, 3, 4],  # a finds it first: a hit from k = 1 on
        [3, 1, 0, 4, 5],  # a finds it third: a hit from k = 3 on
        [3, 4, 1, 5, 2],  # b third
        [0, 3, 4, 1, 2],  # b fourth: a hit for k = 5 alone
        [4, 5, 0, 1, 3],  # c fifth: a hit for k = 5 alone
        [0, 1, 2, 3, 5],  # e, which no key has: never
    ]
    truth, subset = ["a", "a", "b", "b", "c", "e"], ["seen", "seen", "seen", "seen", "unseen", "unseen"]
    rows = accuracies(labels(truth), labels(keys), np.array(nearest), column(subset), WHERE, ks=(1, 3, 5))
    found = {(row.metric, row.average, row.species): row.value for row in rows if row.level == "species"}
    # Of the four seen queries 1, 3 and 4 are right; by class a: 1/2, 1, 1 and b: 0, 1/2, 1. Of the two unseen ones
    # 0, 0 and 1; by class c: 0, 0, 1 and e: 0. Macro over all is the mean over the four classes.
    assert found == pytest.approx(
        {
            ("top1", "micro", "seen"): 1 / 4,
            ("top3", "micro", "seen"): 3 / 4,
            ("top5", "micro", "seen"): 1,
            ("top1", "macro", "seen"): (1 / 2 + 0) / 2,
            ("top3", "macro", "seen"): (1 + 1 / 2) / 2,
            ("top5", "macro", "seen"): 1,
            ("top1", "micro", "unseen"): 0,
            ("top3", "micro", "unseen"): 0,
            ("top5", "micro", "unseen"): 1 / 2,
            ("top1", "macro", "unseen"): 0,
            ("top3", "macro", "unseen"): 0,
            ("top5", "macro", "unseen"): 1 / 2,
            ("top1", "micro", "all"): 1 / 6,
            ("top3", "micro", "all"): 3 / 6,
            ("top5", "micro", "all"): 5 / 6,
            ("top1", "macro", "all"): (1 / 2 + 0 + 0 + 0) / 4,
            ("top3", "macro", "all"): (1 + 1 / 2 + 0 + 0) / 4,
            ("top5", "macro", "all"): (1 + 1 + 1 + 0) / 4,
            ("top1", "micro", "harmonic_mean"): 0,
            ("top3", "micro", "harmonic_mean"): 0,
            ("top5", "micro", "harmonic_mean"): 2 / (1 + 2),
            ("top1", "macro", "harmonic_mean"): 0,
            ("top3", "macro", "harmonic_mean"): 0,
            ("top5", "macro", "harmonic_mean"): 2 / (1 + 2),
        }
    )


def test_a_class_that_only_keys_have_is_no_class_of_the_mean() -> None:
    found = at_species(measure(["a", "a"], ["a", "b"], [0, 1], ["seen", "seen"]))
    assert found["macro", "seen"] == 0.5


def test_a_single_class_has_equal_averages() -> None:
    found = at_species(measure(["a", "a", "a"], ["a", "b"], [0, 1, 0], ["seen"] * 3))
    assert found == close(
        {("micro", "seen"): 2 / 3, ("macro", "seen"): 2 / 3, ("micro", "all"): 2 / 3, ("macro", "all"): 2 / 3}
    )


def test_a_missing_label_of_a_query_and_of_its_key_is_not_a_hit() -> None:
    assert measure([None, None], [None], [0, 0], ["seen", "unseen"]) == []


def test_each_rank_is_measured_by_its_own_labels() -> None:
    query = labels(["a"]) | {"genus": column([None])}
    keys = labels(["a", "b"]) | {"species": column(["b", "a"])}
    found = accuracies(query, keys, np.array([0]), column(["seen"]), WHERE)
    assert {row.level: row.value for row in found} == {"order": 1.0, "family": 1.0, "species": 0.0}


def test_measurements_carry_their_place() -> None:
    where = Place("test", "dna", "dna", "kmer_nearest_neighbour")
    [row, *_] = accuracies(labels(["a"]), labels(["a"]), np.array([0]), column(["seen"]), where)
    expected = Measurement(
        method="kmer_nearest_neighbour",
        partition="test",
        average="micro",
        level="order",
        query="dna",
        key="dna",
        species="seen",
        value=1.0,
        count=1,
    )
    assert row == expected
    assert replace(row, value=0.0) != expected


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_harmonic_mean_is_symmetric_and_between_its_two(a: float, b: float) -> None:
    mean = harmonic_mean(a, b)
    assert mean == harmonic_mean(b, a)
    # Doubles have a relative precision of about 1e-16, and products of tiny ones may vanish.
    assert mean <= max(a, b) * (1 + 1e-12)
    assert min(a, b) * (1 - 1e-12) <= mean or a * b < 1e-300
    if a == 0 or b == 0:
        assert mean == 0
