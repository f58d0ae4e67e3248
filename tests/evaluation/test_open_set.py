"""Open-set recognition against the same thing one query and one key at a time."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation.open_set_cases import Case, classified, column, lineage, measured_by_hand, nearest, specimens
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.evaluation.accuracy import lineages_of
from workloads.evaluation.embedded import Embedded, unit
from workloads.evaluation.open_set import OpenSet, open_set, open_set_measurements
from workloads.predictions import MISSING_RANK
from workloads.record import Measurement
from workloads.spec import Recipe


@pytest.fixture(scope="module", params=range(3))
def case(request: pytest.FixtureRequest) -> Case:
    seed = 10 * request.param
    queries = {"val": specimens("val", seed + 1), "test": specimens("test", seed + 2)}
    return Case(queries, specimens("key", seed + 3, 9, 11), classified(queries, seed))


def measured_of(found: OpenSet, recipe: Recipe = "corrected") -> list[Measurement]:
    return open_set_measurements(found.outcomes, found.specimens, MISSING_RANK[recipe])


def of(rows: Sequence[Measurement], method: str, part: str) -> dict[tuple[str, str, str, str], float]:
    rows = [row for row in rows if (row.method, row.partition) == (method, part)]
    return {(row.average, row.level, row.species, row.metric): row.value for row in rows}


METHODS = (
    "nn_dna",
    "nn_dna_calibrated",
    "nn_is_du",
    "linear_is_du",
    "nn_dna_oracle",
    "nn_is_du_oracle",
    "linear_is_du_oracle",
)


def assert_measured_by_hand(case: Case, recipe: Recipe, parts: Sequence[str]) -> None:
    found = open_set(case.queries, case.keys, recipe, case.classifier)
    rows = measured_of(found, recipe)
    for method in METHODS:
        threshold = found.thresholds[method].value if method in found.thresholds else math.nan
        for part in parts:
            expected = measured_by_hand(case, part, method, threshold)
            measured = of(rows, method, part)
            assert {place: measured[place] for place in expected} == pytest.approx(expected, abs=1e-12), method


@pytest.mark.parametrize("recipe", ["corrected", "authors"])
def test_every_number_is_that_of_one_query_at_a_time(case: Case, recipe: Recipe) -> None:
    assert_measured_by_hand(case, recipe, ("val", "test"))


@pytest.mark.parametrize("method", ["nn_is_du", "linear_is_du"])
def test_the_threshold_is_the_best_on_validation(case: Case, method: str) -> None:
    found = open_set(case.queries, case.keys, "corrected", case.classifier)
    chosen = found.thresholds[method]

    def mean_at(threshold: float) -> float:
        values = measured_by_hand(case, "val", method, threshold)
        seen, unseen = (values["micro", "species", subset, "top1"] for subset in ("seen", "unseen"))
        return 2 * seen * unseen / (seen + unseen) if seen and unseen else 0.0

    means = {threshold: mean_at(threshold) for threshold in [-math.inf, *np.linspace(-1.05, 1.05, 43)]}
    assert chosen.harmonic_mean == pytest.approx(mean_at(chosen.value), abs=1e-12)
    assert chosen.harmonic_mean >= max(means.values()) - 1e-12


def test_recipes_try_the_thresholds_that_they_name(case: Case) -> None:
    tried = {
        recipe: {
            m: t.num_tried for m, t in open_set(case.queries, case.keys, recipe, case.classifier).thresholds.items()
        }
        for recipe in MISSING_RANK
    }
    exact = {recipe: own.pop("nn_dna_calibrated") for recipe, own in tried.items()}
    assert len(set(exact.values())) == 1  # no recipe has a grid of constants
    assert tried["authors"] == {"nn_is_du": 1000, "linear_is_du": 1001}
    assert tried["paper"] == {"nn_is_du": 1000, "linear_is_du": 1000}
    scores = {nearest(case, query, "image", "seen")[0][0] for query in unit(case.queries["val"].rows["image"])}
    assert tried["corrected"]["nn_is_du"] == len(scores) + 1


def test_test_queries_have_no_say_in_the_threshold(case: Case) -> None:
    whole = open_set(case.queries, case.keys, "corrected", case.classifier)
    alone = open_set({"val": case.queries["val"]}, case.keys, "corrected", case.classifier)
    assert alone.thresholds == whole.thresholds
    assert {row.partition for row in measured_of(alone)} == {"val"}


def test_the_table_of_names_has_every_specimen_once(case: Case) -> None:
    found = open_set(case.queries, case.keys, "corrected", case.classifier)
    assert len(set(found.specimens["specimen_id"].to_pylist())) == len(found.specimens)


def test_without_a_classifier_there_are_no_linear_rows(case: Case) -> None:
    found = open_set(case.queries, case.keys)
    assert {row.method for row in measured_of(found)} == {name for name in METHODS if name.startswith("nn")}


def few_keys(case: Case) -> Case:
    """Two keys of seen and one of unseen species."""
    chosen = [*np.flatnonzero(case.keys.subset == "seen")[:2], np.flatnonzero(case.keys.subset == "unseen")[0]]
    return Case(case.queries, case.keys.take(np.array(chosen)), case.classifier)


def test_fewer_keys_than_five_and_species_without_keys_leave_places_empty(case: Case) -> None:
    assert_measured_by_hand(few_keys(case), "corrected", ("val", "test"))


def test_missing_ranks_are_left_out_or_a_class_as_the_recipe_says(case: Case) -> None:
    val = case.queries["val"]
    species = val.labels["species"].copy()
    species[:6] = None
    nameless = Embedded(val.ids, val.split, lineage(species), val.rows)
    rest = val.take(np.arange(len(val)) >= 6)
    found = open_set({"val": nameless}, case.keys)
    assert found.thresholds == open_set({"val": rest}, case.keys).thresholds
    counts = {
        recipe: sum(
            row.count
            for row in measured_of(open_set({"val": nameless}, case.keys, recipe), recipe)
            if (row.method, row.average, row.level, row.metric) == ("nn_dna", "micro", "species", "top1")
            and row.species in ("seen", "unseen")
        )
        for recipe in MISSING_RANK
    }
    assert counts == {"corrected": len(val) - 6, "paper": len(val), "authors": len(val)}


def test_a_test_partition_of_one_kind_has_that_kind_alone(case: Case) -> None:
    test = case.queries["test"]
    found = open_set({"val": case.queries["val"], "test": test.take(test.subset == "seen")}, case.keys)
    rows = of(measured_of(found), "nn_is_du", "test")
    assert {subset for _, _, subset, metric in rows if metric == "seen_unseen_accuracy"} == {"seen"}
    assert "unseen" not in {subset for _, _, subset, _ in rows}
    assert not any(metric in ("auroc", "fpr_at_95_tpr") for *_, metric in rows)


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_keys_of_one_kind_alone_are_refused(case: Case, kind: str) -> None:
    with pytest.raises(UsageError, match=f"no keys of {kind}"):
        open_set(case.queries, case.keys.take(case.keys.subset != kind))


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_validation_of_one_kind_alone_is_refused(case: Case, kind: str) -> None:
    val = case.queries["val"]
    with pytest.raises(UsageError, match=f"no queries of {kind}"):
        open_set({"val": val.take(val.subset != kind)}, case.keys)


def test_validation_has_to_be_there(case: Case) -> None:
    with pytest.raises(UsageError, match="no validation queries"):
        open_set({"test": case.queries["test"]}, case.keys)


def test_embeddings_without_dna_are_refused(case: Case) -> None:
    keys = Embedded(case.keys.ids, case.keys.split, case.keys.labels, {"image": case.keys.rows["image"]})
    with pytest.raises(UsageError, match=r"image, dna of .* image of keys"):
        open_set(case.queries, keys)


def test_a_classifier_that_has_not_seen_a_query_is_refused(case: Case) -> None:
    absent = case.queries["test"].ids[3]
    rows = [row for row in case.classifier.to_pylist() if row["specimen_id"] != absent]
    with pytest.raises(MissingPathError, match=rf"1 of 27 test .*\({absent} "):
        open_set(case.queries, case.keys, "corrected", pa.Table.from_pylist(rows))


def test_a_classifier_that_names_nothing_is_damaged(case: Case) -> None:
    rows = case.classifier.to_pylist()
    rows[2] |= {"predicted": [], "probability": []}
    with pytest.raises(DamagedError):
        open_set(case.queries, case.keys, "corrected", pa.Table.from_pylist(rows))


def test_a_class_has_the_names_that_most_of_its_keys_have() -> None:
    species = column(["a", "a", "a", "b", "b", None, "c"])
    genus = column(["x", "y", "y", "q", "p", "z", None])
    labels = {"order": column(["o"] * 7), "family": column([None] * 7), "genus": genus, "species": species}
    found = lineages_of(labels, ["a", "b", "c", "d"])
    assert found["genus"].tolist() == ["y", "p", None, None]
    assert found["order"].tolist() == ["o", "o", "o", None]
    assert found["family"].tolist() == [None] * 4
    assert found["species"].tolist() == ["a", "b", "c", "d"]
