"""A free search: what may be searched, and that nobody looks at test."""

import pytest

from orchestrator.free_search import parse_space, spec_of
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError, UsageError
from workloads.evaluation.embed import parts_of
from workloads.spec import ExperimentSpec

BASE = ExperimentSpec(dataset="d", data_fingerprint="f", batch_size=40)


def test_ranges_are_read_and_both_ends_are_tried() -> None:
    texts = ["max_learning_rate=loguniform:1e-5:1e-2", "image.dropout=uniform:0:0.5", "batch_size=choice:50,100"]
    found = parse_space(texts, BASE)
    assert [(one.field, one.kind, one.values) for one in found] == [
        ("max_learning_rate", "loguniform", ("1e-5", "1e-2")),
        ("image.dropout", "uniform", ("0", "0.5")),
        ("batch_size", "choice", ("50", "100")),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_learning_rate=loguniform:1e-2:1e-5", "LOW below HIGH"),
        ("max_learning_rate=loguniform:0:1", "LOW below HIGH"),
        ("max_learning_rate=normal:1:2", "choice:A,B"),
        ("max_learning_rate", "choice:A,B"),
        ("image.dropout=uniform:0:2", r"in \[0, 1\]"),
        ("learning_rate=uniform:0:1", "no such field"),
        ("batch_size=choice:50,many", "a whole number"),
    ],
)
def test_a_range_that_is_none_is_refused_before_anything_begins(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_space([text], BASE)


def test_a_trial_is_selected_by_validation_and_its_cycle_keeps_its_shape() -> None:
    spec = spec_of(BASE, {"max_learning_rate": 1e-3})
    assert spec.selection == "image_to_dna"
    assert spec.initial_learning_rate / spec.max_learning_rate == pytest.approx(
        BASE.initial_learning_rate / BASE.max_learning_rate
    )


def test_a_data_set_without_a_partition_has_none_of_its_queries(tiny_dataset: PreparedDataset) -> None:
    view = tiny_dataset.without(["test"])
    assert set(parts_of(tiny_dataset)) - set(parts_of(view)) == {"test"}
    assert view.facts.fingerprint == tiny_dataset.facts.fingerprint
    with pytest.raises(MissingPathError):
        view.load(list(tiny_dataset.facts.splits.queries["test"].values()))
