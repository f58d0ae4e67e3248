"""Evaluation of an untrained model on 150 synthetic insects: which rows it gives, and that they hang together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from workloads.data.prepared import PreparedDataset, write_facts
from workloads.data.schema import PROTOCOLS
from workloads.errors import MissingPathError
from workloads.evaluation.embed import embed
from workloads.evaluation.evaluate import RETRIEVALS, Evaluation, evaluate, write_evaluation
from workloads.experiment import open_experiment
from workloads.record import RunFolder, measurements_from_table
from workloads.spec import RANKS, ExperimentSpec, Modality
from workloads.storage import Folder
from workloads.training.placement import Placement

PROTOCOL = PROTOCOLS["clibd"]


@pytest.fixture(scope="module")
def evaluation(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> Evaluation:
    return evaluate(open_experiment(tiny_spec, tiny_dataset), tiny_dataset, Placement())


def test_every_retrieval_is_measured_at_every_rank_once(evaluation: Evaluation) -> None:
    places = [
        (row.method, row.partition, row.query, row.key, row.level, row.average, row.species)
        for row in evaluation.measurements
    ]
    assert set(places) == {
        (method, part, query, key, rank, average, species)
        for method in ("clibd", "random_key")
        for part in ("val", "test")
        for query, key in RETRIEVALS
        for rank in RANKS
        for average in ("micro", "macro")
        for species in ("seen", "unseen", "all", "harmonic_mean")
    }
    assert len(places) == len(set(places)) == 512
    assert all(0 <= row.value <= 1 for row in evaluation.measurements)


def test_each_query_is_predicted_once_a_retrieval(evaluation: Evaluation, tiny_dataset: PreparedDataset) -> None:
    counts = tiny_dataset.facts.num_specimens
    queries = sum(counts[split] for part in PROTOCOL.queries.values() for split in part.values())
    assert evaluation.predictions.num_rows == queries * len(RETRIEVALS)
    keys = set(tiny_dataset.load(PROTOCOL.keys)["specimen_id"].to_pylist())
    for row in evaluation.predictions.to_pylist():
        assert len(row["key_ids"]) == len(set(row["key_ids"])) == 5
        assert set(row["key_ids"]) <= keys
        assert row["cosines"] == sorted(row["cosines"], reverse=True)


def test_measurements_follow_from_the_predictions(evaluation: Evaluation, tiny_dataset: PreparedDataset) -> None:
    splits = [*PROTOCOL.keys, *(split for part in PROTOCOL.queries.values() for split in part.values())]
    table = tiny_dataset.load(splits)
    species = dict(zip(table["specimen_id"].to_pylist(), table["species"].to_pylist(), strict=True))
    for query, key in RETRIEVALS:
        hits = [
            species[row["specimen_id"]] == species[row["key_ids"][0]]
            for row in evaluation.predictions.to_pylist()
            if (row["partition"], row["query"], row["key"]) == ("test", query, key)
        ]
        [measured] = [
            row
            for row in evaluation.measurements
            if (row.method, row.partition, row.query, row.key) == ("clibd", "test", query, key)
            and (row.level, row.average, row.species) == ("species", "micro", "all")
        ]
        assert measured.value == pytest.approx(sum(hits) / len(hits), abs=1e-12)
        assert measured.count == len(hits)


def test_only_the_modalities_of_a_spec_are_measured(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    spec = replace(tiny_spec, modalities=("dna", "text"))
    found = evaluate(open_experiment(spec, tiny_dataset), tiny_dataset, Placement())
    assert {(row.query, row.key) for row in found.measurements} == {("dna", "dna")}
    assert set(found.embeddings) == {"keys", "val", "test"}
    assert found.embeddings["val"].column_names == ["specimen_id", "split", "dna", "text"]


@pytest.mark.parametrize("modality", ["image", "dna", "text"])
def test_embeddings_do_not_depend_on_the_batch_size(
    modality: Modality, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    experiment = open_experiment(tiny_spec, tiny_dataset)
    specimens = experiment.specimens(tiny_dataset, PROTOCOL.keys)
    whole, by_three = (embed(experiment.model, specimens, modality, Placement(), batch_size=size) for size in (256, 3))
    assert whole.shape == (len(specimens), tiny_spec.embedding_size)
    # fp32 matrix products group their sums by the batch: a few units in the last place of a unit vector.
    np.testing.assert_allclose(by_three, whole, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("modality", ["dna", "text"])
def test_equal_inputs_have_equal_embeddings_to_the_bit(
    modality: Modality, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    experiment = open_experiment(tiny_spec, tiny_dataset)
    twice = experiment.specimens(tiny_dataset, [*PROTOCOL.keys, *PROTOCOL.keys])
    embeddings = embed(experiment.model, twice, modality, Placement(), batch_size=7)
    half = len(twice) // 2
    assert np.array_equal(embeddings[:half], embeddings[half:])


def test_an_evaluation_can_be_read_back_from_its_run_folder(evaluation: Evaluation, tmp_path: Path) -> None:
    run = RunFolder(Folder(tmp_path / "run"))
    write_evaluation(run, evaluation)
    assert run.measurements() == evaluation.measurements
    assert measurements_from_table(run.folder.read_table("measurements.parquet")) == evaluation.measurements
    assert run.folder.read_table("predictions.parquet").equals(evaluation.predictions)
    assert (run.folder / "embeddings").files() == ["keys.parquet", "test.parquet", "val.parquet"]


def test_a_data_set_without_keys_is_named(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, modalities=("image", "dna"))
    experiment = open_experiment(spec, tiny_dataset)
    write_facts(Folder(tmp_path / "no-keys"), replace(tiny_dataset.facts, num_specimens={"no_split": 46}), [])
    with pytest.raises(MissingPathError, match="seen_keys"):
        evaluate(experiment, PreparedDataset(Folder(tmp_path / "no-keys")), Placement())
