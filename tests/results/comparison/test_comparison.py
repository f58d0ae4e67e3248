"""Two runs on the same queries: values by loops, intervals by scipy, Holm by hand, and what cannot be compared."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from results.comparison.compare import Comparison, compare
from results.comparison.paired_tests import mcnemar_p
from results.evaluated import Pairing, pair
from workloads.errors import IncomparableError, MissingPathError
from workloads.intervals import SEED
from workloads.predictions import Place
from workloads.storage import Folder

IMAGE_DNA, DNA_DNA = Place("val", "image", "dna"), Place("val", "dna", "dna")
Write = Callable[..., Folder]
Queries = Callable[..., list[Any]]


def rows_of(pairing: Pairing, *ranks: Any) -> dict[tuple[str, ...], Comparison]:
    rows = compare(pairing.pairs, pairing.facts["missing_rank"], ranks or ("species",))
    return {(row.first.query, row.first.level, row.first.average, row.first.species): row for row in rows}


@pytest.fixture
def pairing(evaluated: Write, asked: Queries) -> Pairing:
    first = evaluated("a", {IMAGE_DNA: asked(1, 0.3), DNA_DNA: asked(2, 0.9)})
    second = evaluated("b", {IMAGE_DNA: asked(3, 0.8), DNA_DNA: asked(4, 0.9)})
    return pair(first, second)


def test_values_counts_and_their_order_are_those_of_loops(pairing: Pairing, asked: Queries) -> None:
    found = rows_of(pairing, "genus", "species")
    expected = {}
    for query, runs in (("image", (asked(1, 0.3), asked(3, 0.8))), ("dna", (asked(2, 0.9), asked(4, 0.9)))):
        for level in ("genus", "species"):
            for average in ("micro", "macro"):
                values, counts = {}, {}
                for part in ("seen", "unseen"):
                    values[part] = [mean(run, part, level, average) for run in runs]
                    queries = [q for q in runs[0] if q.subset == part]
                    counts[part] = len(queries) if average == "micro" else len({getattr(q, level) for q in queries})
                values["harmonic_mean"] = [stats.hmean(both) for both in zip(*values.values(), strict=True)]
                counts["harmonic_mean"] = min(counts.values())
                for part, (first, second) in values.items():
                    expected[query, level, average, part] = (first, second, counts[part])
    assert list(found) == list(expected)
    for place, row in found.items():
        assert (row.first.value, row.second.value, row.first.count) == pytest.approx(expected[place])
        assert row.difference == row.second.value - row.first.value


def mean(run: list[Any], part: str, level: str, average: str) -> float:
    """A right key has the query's species and genus; a wrong one neither."""
    by_class: dict[str, list[bool]] = {}
    for query in run:
        if query.subset == part:
            by_class.setdefault("all" if average == "micro" else getattr(query, level), []).append(query.right)
    return float(np.mean([np.mean(hits) for hits in by_class.values()]))


def test_intervals_are_scipys_for_the_differences_of_pairs(pairing: Pairing, asked: Queries) -> None:
    runs = asked(1, 0.3), asked(3, 0.8)
    hits = [[[q.right for q in run if q.subset == part] for part in ("seen", "unseen")] for run in runs]

    def difference(part: str, *drawn: Any) -> float:
        """Of both runs on the same drawn queries, seen and unseen."""
        values = []
        for run in hits:
            seen, unseen = (np.mean([run[i][int(query)] for query in drawn[i]]) for i in (0, 1))
            both = 2 * seen * unseen / (seen + unseen)
            values.append({"seen": seen, "unseen": unseen, "harmonic_mean": both}[part])
        return float(values[1] - values[0])

    for part in ("seen", "unseen", "harmonic_mean"):
        interval = stats.bootstrap(
            [np.arange(20), np.arange(40)],
            partial(difference, part),
            n_resamples=1000,
            batch=100,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        row = rows_of(pairing)["image", "species", "micro", part]
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=1e-11)


def test_micro_accuracies_are_tested_by_mcnemar_and_others_by_permutation(pairing: Pairing, asked: Queries) -> None:
    found = rows_of(pairing)
    assert {place[2:] for place, row in found.items() if row.test == "McNemar"} == {
        ("micro", "seen"),
        ("micro", "unseen"),
    }
    assert {row.test for row in found.values()} == {"McNemar", "permutation"}
    for part in ("seen", "unseen"):
        first, second = (np.array([q.right for q in run if q.subset == part]) for run in (asked(1, 0.3), asked(3, 0.8)))
        assert found["image", "species", "micro", part].p == mcnemar_p(first, second)


def test_holm_multiplies_the_smallest_by_the_number_of_rows_and_so_on(pairing: Pairing) -> None:
    rows = list(rows_of(pairing, "order", "genus", "species").values())
    ordered = sorted(rows, key=lambda row: row.p)
    largest = 0.0
    for number, row in enumerate(ordered):
        largest = max(largest, min(1.0, row.p * (len(rows) - number)))
        assert row.p_holm == pytest.approx(largest)
    assert ordered[0].p_holm < 0.05 < ordered[-1].p_holm
    assert {row.better for row in rows} == {None, "B"}
    assert all((row.better is None) == (row.p_holm >= 0.05) for row in rows)


def test_what_else_is_in_the_table_moves_nothing_but_holms_correction(pairing: Pairing) -> None:
    all_rows, alone = rows_of(pairing, "order", "species"), rows_of(replace(pairing, pairs=pairing.pairs[:1]))
    assert len(alone) == 6
    for place, row in alone.items():
        assert replace(all_rows[place], p_holm=row.p_holm) == row
        assert all_rows[place].p_holm >= row.p_holm


def test_the_other_way_round_everything_changes_its_sign_alone(evaluated: Write, asked: Queries) -> None:
    one, other = evaluated("a", {IMAGE_DNA: asked(1, 0.2)}), evaluated("b", {IMAGE_DNA: asked(3, 0.8)})
    there, back = rows_of(pair(one, other)), rows_of(pair(other, one))
    assert {row.better for row in back.values()} <= {None, "A"}
    for place, row in there.items():
        assert row.low is not None
        assert row.high is not None
        assert back[place].difference == -row.difference
        assert (back[place].low, back[place].high) == pytest.approx((-row.high, -row.low))
        assert (back[place].p, back[place].p_holm) == (row.p, row.p_holm)


def test_a_run_against_itself_differs_in_nothing(evaluated: Write, asked: Queries) -> None:
    run = evaluated("a", {IMAGE_DNA: asked(1)})
    for row in rows_of(pair(run, run)).values():
        assert (row.difference, row.low, row.high, row.p, row.p_holm, row.better) == (0, 0, 0, 1, 1, None)


def test_neither_the_order_of_queries_nor_of_names_matters(evaluated: Write, asked: Queries) -> None:
    first, second = evaluated("a", {IMAGE_DNA: asked(1)}), evaluated("b", {IMAGE_DNA: asked(3, 0.8)})
    turned = evaluated("c", {IMAGE_DNA: asked(3, 0.8)[::-1]})
    assert rows_of(pair(first, turned)) == rows_of(pair(first, second))


@pytest.mark.parametrize(("missing", "count"), [("left_out", 15), ("a_class", 20)])
def test_queries_without_a_species_count_as_both_runs_say(
    evaluated: Write, asked: Queries, missing: str, count: int
) -> None:
    runs = [
        [replace(query, species=None) if i < 5 else query for i, query in enumerate(asked(seed))] for seed in (1, 3)
    ]
    folders = [evaluated(f"{i}", {IMAGE_DNA: run}, missing=missing) for i, run in enumerate(runs)]
    found = rows_of(pair(*folders), "order", "species")
    assert found["image", "species", "micro", "seen"].first.count == count
    assert found["image", "order", "micro", "seen"].first.count == 20


def test_without_unseen_queries_or_with_a_single_one_rows_say_what_they_can(evaluated: Write, asked: Queries) -> None:
    runs = asked(1, 0.3), asked(3, 0.8)
    seen = [evaluated(f"seen{i}", {IMAGE_DNA: run[:20]}) for i, run in enumerate(runs)]
    assert {place[3] for place in rows_of(pair(*seen))} == {"seen"}
    few = [evaluated(f"few{i}", {IMAGE_DNA: run[:21]}) for i, run in enumerate(runs)]
    found = rows_of(pair(*few))
    for part in ("unseen", "harmonic_mean"):
        assert found["image", "species", "micro", part].low is None
    assert found["image", "species", "micro", "seen"].low is not None


# --- What cannot be compared --------------------------------------------------------------------------------------


def change(queries: list[Any], number: int, **fields: Any) -> list[Any]:
    return [replace(query, **fields) if i == number else query for i, query in enumerate(queries)]


@pytest.mark.parametrize(
    ("number", "fields", "reason"),
    [
        (3, {"id": "X"}, r"val queries by image to dna: 2 .* one run only \(Q03, X\)"),
        (3, {"subset": "unseen"}, r"1 .* seen .* unseen .*\(Q03\)"),
        (3, {"species": "s98"}, r"1 .* another genus .*\(Q03\)"),
        (3, {"species": None}, r"1 .* another genus .*\(Q03\)"),
    ],
)
def test_other_queries_subsets_or_names_are_refused(
    evaluated: Write, asked: Queries, number: int, fields: dict[str, Any], reason: str
) -> None:
    first = evaluated("a", {IMAGE_DNA: asked(1)})
    second = evaluated("b", {IMAGE_DNA: change(asked(3), number, **fields)})
    with pytest.raises(IncomparableError, match=reason):
        pair(first, second)


def test_fewer_queries_are_refused_not_compared_in_part(evaluated: Write, asked: Queries) -> None:
    with pytest.raises(IncomparableError, match=r"5 .* one run only \(Q55, Q56, Q57, …\)"):
        pair(evaluated("a", {IMAGE_DNA: asked(1)}), evaluated("b", {IMAGE_DNA: asked(3)[:55]}))


def test_another_rule_for_missing_names_is_refused(evaluated: Write, asked: Queries) -> None:
    first = evaluated("a", {IMAGE_DNA: asked(1)})
    second = evaluated("b", {IMAGE_DNA: asked(1)}, missing="a_class")
    with pytest.raises(IncomparableError, match=r"left_out .* a_class "):
        pair(first, second)


def test_runs_without_a_common_retrieval_are_refused(evaluated: Write, asked: Queries) -> None:
    first, second = evaluated("a", {IMAGE_DNA: asked(1)}), evaluated("b", {DNA_DNA: asked(1)})
    with pytest.raises(IncomparableError, match="of any queries"):
        pair(first, second)
    with pytest.raises(IncomparableError, match="of test queries"):
        pair(first, first, "test")


def test_a_folder_that_was_not_evaluated_is_named(evaluated: Write, asked: Queries, tmp_path: Any) -> None:
    with pytest.raises(MissingPathError, match="nothing: no evaluation"):
        pair(evaluated("a", {IMAGE_DNA: asked(1)}), Folder(tmp_path / "nothing"))
