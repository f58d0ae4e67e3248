"""A classifier's evaluation: on 150 synthetic insects, and against its definition one query at a time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import MissingPathError, SpecError
from workloads.evaluation.measure import class_accuracies, measure_classifier
from workloads.models.clibd import Classifier
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.predictions import Place
from workloads.record import Measurement, RunFolder
from workloads.spec import RANKS, ExperimentSpec, Modality
from workloads.storage import Folder

Names = Sequence[str | None]
Column = npt.NDArray[np.object_]


def column(names: Names) -> Column:
    return np.array([*names, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def classifier(spec: ExperimentSpec, dataset: PreparedDataset, modality: Modality = "dna") -> LoadedModel:
    return open_untrained(replace(spec, objective="classify", modalities=(modality,)), dataset)


def evaluate_classifier(
    experiment: LoadedModel, dataset: PreparedDataset, folder: Path
) -> tuple[list[Measurement], pa.Table]:
    """The measurements, and what every query was predicted to be."""
    measurements = measure_classifier(experiment, dataset, Placement(), Folder(folder))
    assert RunFolder(Folder(folder)).measurements() == measurements
    return measurements, Folder(folder).read_table("classifier.parquet")


@pytest.fixture(scope="module")
def experiment(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> LoadedModel:
    return classifier(tiny_spec, tiny_dataset)


@pytest.fixture(scope="module")
def evaluated(
    experiment: LoadedModel, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Measurement], pa.Table]:
    return evaluate_classifier(experiment, tiny_dataset, tmp_path_factory.mktemp("classifier"))


def test_every_query_is_predicted_once(
    evaluated: tuple[list[Measurement], pa.Table], experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    _, table = evaluated
    assert table.column_names == ["specimen_id", "partition", "subset", "predicted", "probability"]
    splits = {(part, kind): s for part, found in PROTOCOLS["clibd"].queries.items() for kind, s in found.items()}
    listed = {place: tiny_dataset.load([split])["specimen_id"].to_pylist() for place, split in splits.items()}
    rows = table.to_pylist()
    for place, ids in listed.items():
        assert [row["specimen_id"] for row in rows if (row["partition"], row["subset"]) == place] == ids
    assert len(rows) == sum(map(len, listed.values()))
    for row in rows:
        assert set(row["predicted"]) == set(experiment.classes)  # there are fewer than five
        assert row["probability"] == sorted(row["probability"], reverse=True)
        assert sum(row["probability"]) == pytest.approx(1, abs=1e-12)


def test_probabilities_are_the_softmax_of_the_models_own_logits(
    evaluated: tuple[list[Measurement], pa.Table], experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    from workloads.data.inputs.batches import View

    queries = experiment.specimens(tiny_dataset, ["test_seen"])
    with torch.no_grad():
        logits, scale = experiment.model.eval()(
            {"dna": queries.inputs("dna", np.arange(len(queries), dtype=np.int64), View())}
        )
    shares = logits["dna"].double().softmax(1)
    assert scale == 1
    by_id = {row["specimen_id"]: row for row in evaluated[1].to_pylist()}
    for row, identifier in enumerate(queries.ids):
        found = by_id[identifier]
        for name, probability in zip(found["predicted"], found["probability"], strict=True):
            # fp32 matrix products group their sums by the batch.
            assert probability == pytest.approx(shares[row, experiment.classes.index(name)].item(), abs=1e-6)
        assert found["probability"][0] == pytest.approx(shares[row].max().item(), abs=1e-6)


def test_accuracies_follow_from_the_predictions(
    evaluated: tuple[list[Measurement], pa.Table], experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    measurements, table = evaluated
    truth = tiny_dataset.load(["val_seen", "test_seen"])
    species = dict(zip(truth["specimen_id"].to_pylist(), truth["species"].to_pylist(), strict=True))
    for part in ("val", "test"):
        rows = [row for row in table.to_pylist() if (row["partition"], row["subset"]) == (part, "seen")]
        for metric, count in (("classifier_top1", 1), ("classifier_top5", 5)):
            hits = [species[row["specimen_id"]] in row["predicted"][:count] for row in rows]
            [found] = [
                row
                for row in measurements
                if (row.partition, row.metric, row.level, row.average) == (part, metric, "species", "micro")
            ]
            assert found.value == pytest.approx(sum(hits) / len(hits), abs=1e-12)
            assert (found.count, found.query, found.key, found.species) == (len(hits), "dna", "classes", "seen")


def test_every_rank_is_measured_once(evaluated: tuple[list[Measurement], pa.Table]) -> None:
    places = [(row.partition, row.metric, row.level, row.average) for row in evaluated[0]]
    wanted = {(part, "classifier_top1", rank, a) for part in ("val", "test") for rank in RANKS for a in AVERAGES}
    wanted |= {(part, "classifier_top5", "species", a) for part in ("val", "test") for a in AVERAGES}
    assert set(places) == wanted
    assert len(places) == len(wanted)


AVERAGES = ("micro", "macro")


def test_a_classifier_that_knows_the_labels_is_always_right(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    known = classifier(tiny_spec, tiny_dataset, "text")
    with torch.no_grad():
        fit_to_the_labels(known, tiny_dataset)
    measurements, table = evaluate_classifier(known, tiny_dataset, tmp_path)
    assert {row.value for row in measurements} == {1.0}
    assert {row.query for row in measurements} == {"text"}
    assert min(row["probability"][0] for row in table.to_pylist() if row["subset"] == "seen") > 0.5


def fit_to_the_labels(known: LoadedModel, dataset: PreparedDataset) -> None:
    """Give each class the output that is highest for the text of its species, in closed form."""
    from workloads.data.inputs.batches import View

    training = known.specimens(dataset, dataset.facts.splits.training)
    rows = np.array([training.labels["species"].tolist().index(name) for name in known.classes], dtype=np.int64)
    tower = known.model.eval().towers["text"]
    embedded = tower(training.inputs("text", rows, View())).double()
    centred = torch.cat([embedded, torch.ones(len(rows), 1)], dim=1)
    weights = torch.linalg.lstsq(centred.T @ centred + 1e-9 * torch.eye(centred.shape[1]), centred.T).solution
    assert isinstance(known.model, Classifier)
    layer = known.model.classifier
    layer.weight.copy_(1000 * weights.T[:, :-1])
    layer.bias.copy_(1000 * weights.T[:, -1])


name = st.sampled_from(["a", "b", "c", "d", "e", "f", "g"])


@settings(deadline=None)  # intervals are drawn for each
@given(st.lists(st.one_of(name, st.none()), min_size=1, max_size=12), st.integers(0, 1000))
def test_class_accuracies_are_their_definition(truth: list[str | None], seed: int) -> None:
    classes = ["a", "b", "c", "d", "e", "f"]
    genus = {"a": "A", "b": "A", "c": "A", "d": "B", "e": None, "f": "B"}
    random = np.random.default_rng(seed)
    best = np.array([random.permutation(6)[:5] for _ in truth])
    lineages: dict[str, Column] = {rank: column(classes) for rank in RANKS}
    lineages["genus"] = column([genus[name] for name in classes])
    labels: dict[str, Column] = {rank: column(truth) for rank in RANKS}
    labels["genus"] = column([genus.get(name or "") for name in truth])
    found = {
        (row.metric, row.level, row.average): row.value
        for row in class_accuracies(labels, lineages, best, Place("val", "image", "classes"), "left_out")
    }
    expected: dict[tuple[str, str, str], float] = {}
    for metric, rank, names, count in (
        ("classifier_top1", "species", dict(zip(classes, classes, strict=True)), 1),
        ("classifier_top5", "species", dict(zip(classes, classes, strict=True)), 5),
        ("classifier_top1", "genus", genus, 1),
    ):
        by_class: dict[str, list[bool]] = {}
        for row, label in enumerate(labels[rank]):
            if label is not None:
                answers = [names[classes[place]] for place in best[row, :count]]
                by_class.setdefault(label, []).append(label in answers)
        if every := [hit for hits in by_class.values() for hit in hits]:
            expected[metric, rank, "micro"] = sum(every) / len(every)
            expected[metric, rank, "macro"] = sum(sum(hits) / len(hits) for hits in by_class.values()) / len(by_class)
    assert {place: value for place, value in found.items() if place[1] in ("species", "genus")} == pytest.approx(
        expected, abs=1e-12
    )


def test_a_classifier_of_other_species_is_refused(
    experiment: LoadedModel, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="3 species"):
        evaluate_classifier(replace(experiment, classes=("a", "b", "c")), tiny_dataset, tmp_path)


def test_a_data_set_without_queries_is_named(
    experiment: LoadedModel, tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = dict.fromkeys(("val_seen", "test_seen"), 0)
    without = PreparedDataset(tiny_dataset.folder)
    monkeypatch.setattr(
        PreparedDataset,
        "facts",
        replace(tiny_dataset.facts, num_specimens={**tiny_dataset.facts.num_specimens, **counts}),
    )
    with pytest.raises(MissingPathError, match="seen species"):
        evaluate_classifier(experiment, without, tmp_path)


def test_accuracies_have_intervals_and_the_rule_for_missing_names(
    evaluated: tuple[list[Measurement], pa.Table],
) -> None:
    for row in evaluated[0]:
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value + 1e-12
        assert row.value <= row.high + 1e-12
    labels: dict[str, Column] = {rank: column(["a", None]) for rank in RANKS}
    lineages: dict[str, Column] = {rank: column(["a", "b", "c", "d", None]) for rank in RANKS}
    best, where = np.array([[0, 1, 2, 3, 4], [4, 1, 2, 3, 0]]), Place("val", "image", "classes")
    for missing, count in (("left_out", 1), ("a_class", 2)):
        rows = class_accuracies(labels, lineages, best, where, missing)
        assert {(row.value, row.count) for row in rows if row.average == "micro"} == {(1.0, count)}
