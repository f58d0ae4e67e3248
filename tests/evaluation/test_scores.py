"""Scores of any names, against their definition in loops."""

import math

import numpy as np
import pytest

from workloads.arrays import Names
from workloads.errors import UsageError
from workloads.evaluation.scores import CLASSES, SCORES, class_table, score_table

Row = dict[str, str | float | int | None]


def names(*values: str | None) -> Names:
    return np.array(values, dtype=object)


def drawn(seed: int = 0, count: int = 40) -> tuple[dict[str, Names], dict[str, Names], Names]:
    """Names at two ranks, some missing, of seen and unseen species; what is given is right in half of the cases."""
    random = np.random.default_rng(seed)
    species = random.integers(0, 9, count)
    true = {
        "genus": names(*(None if random.random() < 0.1 else f"G{number % 3}" for number in species)),
        "species": names(*(None if random.random() < 0.2 else f"G{number % 3} s{number}" for number in species)),
    }
    given = {
        rank: names(
            *(
                None if random.random() < 0.2 else name if random.random() < 0.6 else f"G{random.integers(3)}"
                for name in column
            )
        )
        for rank, column in true.items()
    }
    return true, given, names(*("unseen" if number >= 6 else "seen" for number in species))


def slow(true: Names, given: Names, subset: Names, average: str, part: str, metric: str) -> float:
    if part == "harmonic_mean":
        a, b = (slow(true, given, subset, average, one, metric) for one in ("seen", "unseen"))
        return 2 * a * b / (a + b) if a and b else 0.0
    scores: dict[str, list[float]] = {}
    for name, answer, kind in zip(true, given, subset, strict=True):
        if name is None or part not in ("all", kind) or (metric == "accuracy_answered" and answer is None):
            continue
        value = answer is not None if metric == "answered" else answer == name
        scores.setdefault(name if average == "macro" else "", []).append(float(value))
    return sum(sum(own) / len(own) for own in scores.values()) / len(scores)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_score_is_that_of_the_definition_within_its_interval(seed: int) -> None:
    true, given, subset = drawn(seed)
    table = score_table(true, given, subset)
    assert table.schema == SCORES
    rows = table.to_pylist()
    assert len(rows) == 2 * 2 * 4 * 3
    for row in rows:
        wanted = slow(true[row["rank"]], given[row["rank"]], subset, row["average"], row["species"], row["metric"])
        assert math.isclose(row["value"], wanted, abs_tol=1e-9), row
        assert row["low"] <= row["value"] <= row["high"], row
    counts = {(row["rank"], row["species"]): row["num_queries"] for row in rows if row["metric"] == "accuracy"}
    assert counts["species", "seen"] + counts["species", "unseen"] == counts["species", "all"]
    assert counts["species", "all"] == sum(name is not None for name in true["species"])


def test_without_kinds_of_species_there_are_numbers_of_all_alone() -> None:
    true, given, subset = drawn()
    plain = score_table(true, given).to_pylist()
    assert {row["species"] for row in plain} == {"all"}
    told_apart = [row for row in score_table(true, given, subset).to_pylist() if row["species"] == "all"]
    assert [row["value"] for row in plain] == [row["value"] for row in told_apart]


def test_every_class_is_counted_with_precision_recall_and_intervals() -> None:
    true = {"species": names("a", "a", "a", "b", None, "c")}
    given = {"species": names("a", "b", None, "b", "b", "d")}
    table = class_table(true, given)
    assert table.schema == CLASSES
    rows = {row["name"]: row for row in table.to_pylist()}
    assert [(name, row["num_queries"], row["num_right"], row["num_named"]) for name, row in rows.items()] == [
        ("a", 3, 1, 1),
        ("b", 1, 1, 2),  # the query without a true name is nobody's mistake
        ("c", 1, 0, 0),
        ("d", 0, 0, 1),
    ]
    assert (rows["a"]["recall"], rows["a"]["precision"], rows["a"]["f1"]) == (pytest.approx(1 / 3), 1, 0.5)
    assert (rows["c"]["precision"], rows["d"]["recall"]) == (None, None)
    # Wilson's interval of one of three, from its formula.
    z, p, n = 1.959964, 1 / 3, 3
    middle, half = (p + z**2 / (2 * n)), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = ((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))
    assert (rows["a"]["recall_low"], rows["a"]["recall_high"]) == pytest.approx(ends, abs=1e-6)


def test_words_for_no_name_are_none() -> None:
    table = score_table({"species": names("a", "not_classified")}, {"species": names("a", "n/a")})
    assert {row["num_queries"] for row in table.to_pylist()} == {1}


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UsageError, match="3 true names and 2 given"):
        score_table({"species": names("a", "b", "c")}, {"species": names("a", "b")})
    with pytest.raises(UsageError, match="no query has a true name"):
        score_table({"species": names(None)}, {"species": names("a")})
