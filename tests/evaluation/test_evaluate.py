"""Evaluation of an untrained model on 150 synthetic insects: which rows it gives, and that they hang together."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.measured import Evaluation, evaluate_embedded
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import EmbeddingsError, MissingPathError, ModalitiesError, UsageError
from workloads.evaluation.embed import embed, embed_parts
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.evaluate import ALL_PAIRS, Questions, find_answers
from workloads.evaluation.measure import measure
from workloads.models.loaded import open_untrained
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.predictions import Place, Predictions
from workloads.record import Measurement, RunFolder
from workloads.spec import RANKS, ExperimentSpec, Modality
from workloads.storage import Folder

PROTOCOL = PROTOCOLS["clibd"]
PARTITIONS = ("val", "test")


@pytest.fixture(scope="module")
def parts(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> dict[str, Embedded]:
    return embed_parts(open_untrained(tiny_spec, tiny_dataset), tiny_dataset, Placement())


def ask(parts: dict[str, Embedded], questions: Questions) -> Evaluation:
    return evaluate_embedded(parts["keys"], {part: parts[part] for part in PARTITIONS}, questions)


@pytest.fixture(scope="module")
def evaluation(parts: dict[str, Embedded]) -> Evaluation:
    return ask(parts, Questions(keys=("all", "own")))


def find(rows: Sequence[Measurement], **wanted: object) -> list[Measurement]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def test_every_retrieval_is_measured_at_every_rank_once(evaluation: Evaluation) -> None:
    places = [
        (r.method, r.metric, r.partition, r.keys, r.query, r.key, r.level, r.average, r.species)
        for r in evaluation.measurements
    ]
    assert set(places) == {
        (method, metric, part, keys, query, key, rank, average, species)
        for method, metric in (
            *((m, f"top{k}") for m in ("clibd", "random_key") for k in (1, 3, 5)),
            ("majority", "top1"),
        )
        for part in PARTITIONS
        for keys in ("all", "own")
        for query, key in ALL_PAIRS
        for rank in RANKS
        for average in ("micro", "macro")
        for species in ("seen", "unseen", "all", "harmonic_mean")
    }
    assert len(places) == len(set(places))
    assert len(ALL_PAIRS) == 24  # the authors' 21, and one string a species for three queries


def test_every_accuracy_lies_in_its_interval(evaluation: Evaluation) -> None:
    for row in evaluation.measurements:
        assert 0 <= row.value <= 1
        assert row.low is not None
        assert row.high is not None
        assert row.low - 1e-9 <= row.high
    own = find(evaluation.measurements, method="clibd", average="micro")
    inside = [row.low <= row.value <= row.high for row in own if row.low is not None and row.high is not None]
    assert np.mean(inside) > 0.99


def test_each_query_is_predicted_once_a_retrieval(evaluation: Evaluation, parts: dict[str, Embedded]) -> None:
    keys = set(parts["keys"].ids)
    for place in evaluation.predictions.places:
        answers = evaluation.predictions.answers(place)
        assert answers.ids.tolist() == parts[place.partition].ids.tolist()
        assert answers.key_ids.shape == (len(answers), 5)
        assert set(answers.key_ids.ravel()) <= (keys if place.keys == "all" else {*keys, None})  # few are seen keys
        assert not (np.diff(answers.cosines, axis=1) > 0).any()
    assert len(evaluation.predictions.places) == 2 * 2 * len(ALL_PAIRS)


def test_own_keys_are_of_the_query_s_kind(evaluation: Evaluation, parts: dict[str, Embedded]) -> None:
    kind = dict(zip(parts["keys"].ids, parts["keys"].subset, strict=True))
    answers = evaluation.predictions.answers(Place("val", "image", "dna", keys="own"))
    for subset, found in zip(answers.subset, answers.key_ids, strict=True):
        assert {kind[key] for key in found if key is not None} == {subset}


def test_measurements_follow_from_the_predictions(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.predictions.write(Folder(tmp_path))
    predictions = Predictions.read(Folder(tmp_path))
    names = predictions.specimens
    species = dict(zip(names["specimen_id"].to_pylist(), names["species"].to_pylist(), strict=True))
    for query, key in ALL_PAIRS:
        answers = predictions.answers(Place("test", query, key))
        for k in (1, 3, 5):
            hits = [
                species[query_id] in [species[found] for found in keys[:k]]
                for query_id, keys in zip(answers.ids, answers.key_ids, strict=True)
            ]
            where = {"method": "clibd", "partition": "test", "query": query, "key": key, "keys": "all"}
            at = {"metric": f"top{k}", "level": "species", "average": "micro", "species": "all"}
            [measured] = find(evaluation.measurements, **where, **at)
            assert measured.value == pytest.approx(sum(hits) / len(hits), abs=1e-12)
            assert measured.count == len(hits)


def test_species_text_keys_are_one_a_species(evaluation: Evaluation, parts: dict[str, Embedded]) -> None:
    answers = evaluation.predictions.answers(Place("val", "image", "species_text"))
    species = dict(zip(parts["keys"].ids, parts["keys"].labels["species"], strict=True))
    for found in answers.key_ids:
        assert len({species[key] for key in found}) == 5


def test_a_missing_name_is_left_out_or_a_class_as_the_recipe_says(parts: dict[str, Embedded]) -> None:
    val = parts["val"]
    genus = val.labels["genus"].copy()
    genus[:3] = None
    nameless = {**parts, "val": replace(val, labels={**val.labels, "genus": genus})}
    at = {"partition": "val", "method": "clibd", "metric": "top1", "level": "genus", "average": "micro"}
    counts = {}
    for recipe in ("corrected", "authors"):
        [row] = find(ask(nameless, Questions(recipe=recipe, pairs=[("dna", "dna")])).measurements, **at, species="all")
        counts[recipe] = row.count
    assert counts == {"corrected": len(val) - 3, "authors": len(val)}


def test_fewer_keys_than_five_are_all_that_is_listed(parts: dict[str, Embedded]) -> None:
    keys = parts["keys"].take(np.arange(3))
    found = evaluate_embedded(keys, {"val": parts["val"]}, Questions(pairs=[("image", "dna")]))
    answers = found.predictions.answers(Place("val", "image", "dna"))
    assert answers.key_ids.shape[1] == 3
    top3, top5 = (find(found.measurements, method="clibd", metric=metric) for metric in ("top3", "top5"))
    assert [row.value for row in top3] == [row.value for row in top5]


def test_a_species_without_keys_is_never_right(parts: dict[str, Embedded]) -> None:
    keys, val = parts["keys"], parts["val"]
    gone = val.labels["species"][0]
    fewer = keys.take(keys.labels["species"] != gone)
    found = evaluate_embedded(fewer, {"val": val}, Questions(pairs=[("dna", "dna")]))
    answers = found.predictions.answers(Place("val", "dna", "dna"))
    assert not answers.hits("species", 5)[val.labels["species"] == gone].any()


def test_what_cannot_be_asked_is_refused(parts: dict[str, Embedded]) -> None:
    keys, val = parts["keys"], parts["val"]
    with pytest.raises(UsageError, match="no queries"):
        evaluate_embedded(keys, {}, Questions())
    with pytest.raises(UsageError, match="no keys of unseen"):
        evaluate_embedded(keys.take(keys.subset == "seen"), {"val": val}, Questions(keys=("unseen",)))
    with pytest.raises(EmbeddingsError, match="for 2 specimens"):
        evaluate_embedded(keys, {"val": val, "test": val}, Questions())
    narrow = replace(val, rows={name: rows[:, :3] for name, rows in val.rows.items()})
    with pytest.raises(EmbeddingsError, match="share no space"):
        evaluate_embedded(keys, {"val": narrow}, Questions())
    with pytest.raises(ModalitiesError):
        evaluate_embedded(replace(keys, rows={"dna": keys.rows["dna"]}), {"val": replace(val, rows={})}, Questions())


def test_only_the_modalities_of_a_spec_are_measured(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, modalities=("dna", "text"))
    experiment, run = open_untrained(spec, tiny_dataset), RunFolder(Folder(tmp_path / "run"))
    save_weights(run.folder, experiment.model)
    measure(experiment, tiny_dataset, Placement(), run)
    pairs = {(row.query, row.key) for row in run.measurements()}
    assert pairs == {("dna", "dna"), ("dna", "text"), ("text", "dna"), ("text", "text"), ("dna", "species_text")}
    assert run.folder.read_json("evaluation.json")["aligned"] == ["dna", "text"]
    columns = (run.folder / "embeddings").read_table("val.parquet").column_names
    assert columns == ["specimen_id", "split", *RANKS, "dna", "text"]


@pytest.mark.parametrize("modality", ["image", "dna", "text"])
def test_embeddings_do_not_depend_on_the_batch_size(
    modality: Modality, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    experiment = open_untrained(tiny_spec, tiny_dataset)
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
    experiment = open_untrained(tiny_spec, tiny_dataset)
    twice = experiment.specimens(tiny_dataset, [*PROTOCOL.keys, *PROTOCOL.keys])
    embeddings = embed(experiment.model, twice, modality, Placement(), batch_size=7)
    half = len(twice) // 2
    assert np.array_equal(embeddings[:half], embeddings[half:])


def test_a_data_set_without_keys_is_named(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, modalities=("image", "dna"))
    experiment = open_untrained(spec, tiny_dataset)
    facts = replace(tiny_dataset.facts, num_specimens={"no_split": 46})
    Folder(tmp_path / "no-keys").write_json("dataset.json", asdict(facts))
    with pytest.raises(MissingPathError, match="seen_keys"):
        embed_parts(experiment, PreparedDataset(Folder(tmp_path / "no-keys")), Placement())


def test_progress_counts_every_search(parts: dict[str, Embedded]) -> None:
    told: list[tuple[int, int]] = []
    pairs = [("image", "dna"), ("dna", "dna")]
    queries = {part: parts[part] for part in PARTITIONS}
    find_answers(parts["keys"], queries, Questions(pairs=pairs), lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
