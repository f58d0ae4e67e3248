"""Queries and keys that lack modalities: each asks and answers in what it has, and is counted there alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from results.evaluated import EvaluatedFolder
from tests.evaluation.measured import Evaluation, evaluate_embedded
from workloads.bzsl.feature_source import read_source
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.kmers import kmer_counts
from workloads.errors import EmbeddingsError, SpecError
from workloads.evaluation.embed import embed_parts, parts_of
from workloads.evaluation.embedded import KEYS, Embedded, has_feature, key_specimens, query_specimens
from workloads.evaluation.evaluate import ALL_PAIRS, Questions
from workloads.evaluation.floors import stored_floors
from workloads.evaluation.measure import measure_classifier
from workloads.evaluation.open_set import open_set
from workloads.evaluation.openclip_row import embed_openclip
from workloads.evaluation.selection import selection_score
from workloads.evaluation.stored import EmbeddingFacts, lacking_of, read_parts, write_embedded
from workloads.measuring.chunks import Embedder, EmbeddingJob
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.predictions import KeyChoice, Place, Predictions
from workloads.record import EVALUATION, RunFolder
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.storage import Folder

COLUMNS = {"image": "image", "dna": "barcode", "text": "text"}
FACTS = EmbeddingFacts(
    model="m", weights="w", dataset="d", data_fingerprint="f", data_content="c", modalities=MODALITIES, precision="fp32"
)


@pytest.fixture(scope="module")
def spec(tiny_spec: ExperimentSpec, incomplete_dataset: PreparedDataset) -> ExperimentSpec:
    facts = incomplete_dataset.facts
    return replace(tiny_spec, dataset=facts.name, data_fingerprint=facts.fingerprint)


@pytest.fixture(scope="module")
def model(spec: ExperimentSpec, incomplete_dataset: PreparedDataset) -> LoadedModel:
    return open_untrained(spec, incomplete_dataset)


@pytest.fixture(scope="module")
def parts(model: LoadedModel, incomplete_dataset: PreparedDataset) -> dict[str, Embedded]:
    return embed_parts(model, incomplete_dataset, Placement())


@pytest.fixture(scope="module")
def evaluation(parts: dict[str, Embedded]) -> Evaluation:
    return evaluate_embedded(parts[KEYS], {part: parts[part] for part in ("val", "test")}, Questions())


def stored(dataset: PreparedDataset, part: str) -> dict[str, dict[str, object]]:
    """The specimens of a part as the shards have them."""
    return {row["specimen_id"]: row for row in dataset.load(parts_of(dataset)[part]).to_pylist()}


def test_who_lacks_what_is_who_has_nothing_stored(
    parts: dict[str, Embedded], incomplete_dataset: PreparedDataset
) -> None:
    for part, embedded in parts.items():
        rows = stored(incomplete_dataset, part)
        for name, column in COLUMNS.items():
            lacks = np.array([rows[identifier][column] is None for identifier in embedded.ids])
            assert embedded.lacking.get(name, np.zeros(len(embedded), dtype=bool)).tolist() == lacks.tolist()
            assert not embedded.rows[name][lacks].any()
            assert np.linalg.norm(embedded.rows[name][~lacks], axis=1) == pytest.approx(1, abs=1e-5)
    assert all({"image", "dna"} <= embedded.lacking.keys() for embedded in parts.values())


@pytest.mark.parametrize("pair", [("image", "dna"), ("dna", "image"), ("dna", "dna"), ("text", "image")])
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_query_is_searched_among_the_keys_that_have_what_is_asked(
    part: str, pair: tuple[str, str], parts: dict[str, Embedded], evaluation: Evaluation
) -> None:
    """One cosine at a time, over what each has."""
    keys, queries = parts[KEYS], parts[part]
    ask, answer = (
        [*set(range(len(own))) - set(np.flatnonzero(own.lacking.get(name, [])).tolist())]
        for own, name in zip((queries, keys), pair, strict=True)
    )
    right = []
    for row in ask:
        cosines = [float(queries.rows[pair[0]][row].astype(np.float64) @ keys.rows[pair[1]][k]) for k in answer]
        nearest = answer[int(np.argmax(cosines))]
        right.append(queries.labels["species"][row] == keys.labels["species"][nearest])
    found = evaluation.predictions.answers(Place(part, *pair))
    assert set(found.ids) == set(queries.ids[ask])
    assert set(found.key_ids.ravel()) <= {*keys.ids[answer], None}
    [measured] = [
        row
        for row in evaluation.measurements
        if (row.method, row.partition, row.query, row.key) == ("clibd", part, *pair)
        and (row.level, row.average, row.species, row.metric) == ("species", "micro", "all", "top1")
    ]
    assert measured.count == len(ask) < len(queries) + (pair[0] == "text")
    assert measured.value == pytest.approx(np.mean(right), abs=1e-9)


def test_every_retrieval_is_asked_with_its_baselines(evaluation: Evaluation) -> None:
    asked = {(row.query, row.key) for row in evaluation.measurements if row.method == "clibd"}
    assert asked == {(row.query, row.key) for row in evaluation.measurements if row.method == "random_key"}
    assert asked == set(ALL_PAIRS)


def test_keys_of_all_modalities_are_those_that_there_are(parts: dict[str, Embedded]) -> None:
    keys = parts[KEYS]
    everyone = np.zeros(len(keys), dtype=bool)
    there = {name: ~keys.lacking.get(name, everyone) for name in MODALITIES}
    expected = [row for name in MODALITIES for row in range(len(keys)) if there[name][row]]
    assert key_specimens(keys, "all").tolist() == expected
    both = [row for row in range(len(keys)) if there["image"][row] and there["dna"][row]]
    assert query_specimens(keys, "averaged").tolist() == both


@pytest.mark.parametrize("lost", ["keys", "val"])
def test_a_part_of_which_nobody_has_a_modality_is_not_asked_in_it(lost: str, parts: dict[str, Embedded]) -> None:
    own = parts[lost]
    nobody = replace(own, lacking={**own.lacking, "dna": np.ones(len(own), dtype=bool)})
    assert not has_feature(nobody, "dna")
    assert has_feature(nobody, "all")
    changed = {**parts, lost: nobody}
    found = evaluate_embedded(changed[KEYS], {"val": changed["val"]}, Questions()).predictions
    assert ("image", "image") in {(place.query, place.key) for place in found.places}
    where = "key" if lost == "keys" else "query"
    assert not {"dna", "averaged", "concatenated"} & {getattr(place, where) for place in found.places}


@pytest.mark.parametrize("choice", ["own", "unseen"])
def test_without_a_key_of_a_kind_that_has_a_modality_it_is_not_asked_there(
    choice: KeyChoice, parts: dict[str, Embedded]
) -> None:
    own = parts[KEYS]
    keys = replace(own, lacking={**own.lacking, "dna": own.lacking["dna"] | (own.subset == "unseen")})
    found = evaluate_embedded(keys, {"val": parts["val"]}, Questions(keys=("all", choice))).predictions
    pairs = {(place.keys, place.key) for place in found.places}
    assert ("all", "dna") in pairs
    assert (choice, "image") in pairs
    assert (choice, "dna") not in pairs


def test_the_floors_are_of_those_who_have_what_they_compare(incomplete_dataset: PreparedDataset) -> None:
    floors = stored_floors(incomplete_dataset)
    keys = {k: row for k, row in stored(incomplete_dataset, KEYS).items() if row["barcode"]}
    counts = kmer_counts([str(row["barcode"]) for row in keys.values()])
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    for part in ("val", "test"):
        queries = stored(incomplete_dataset, part)
        for method, column in (("kmer_nearest_neighbour", "barcode"), ("linear_cca", "image")):
            rows = [r for r in floors.to_pylist() if (r["partition"], r["method"]) == (part, method)]
            assert {row["specimen_id"] for row in rows} == {k for k, row in queries.items() if row[column]}
            assert {key for row in rows for key in row["key_ids"]} <= keys.keys()
        for row in floors.to_pylist():
            if (row["partition"], row["method"]) == (part, "kmer_nearest_neighbour"):
                own = kmer_counts([str(queries[row["specimen_id"]]["barcode"])])[0]
                assert row["cosines"][0] == pytest.approx((counts @ own).max() / np.linalg.norm(own), abs=1e-5)


def test_they_are_kept_with_null_for_what_is_missing(parts: dict[str, Embedded], tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_embedded(folder, FACTS, parts)
    table = (folder / "embeddings").read_table("val.parquet")
    assert table["dna"].null_count == int(parts["val"].lacking["dna"].sum()) > 0
    again = read_parts(folder)
    for part, embedded in parts.items():
        assert again[part].lacking.keys() == embedded.lacking.keys()
        assert all(np.array_equal(mask, embedded.lacking[name]) for name, mask in again[part].lacking.items())
        assert all(np.array_equal(rows, embedded.rows[name]) for name, rows in again[part].rows.items())
    facts = (folder / "embeddings").read_json("embeddings.json")
    (folder / "embeddings").write_json("embeddings.json", {**facts, "lacking": {}})
    with pytest.raises(EmbeddingsError, match="specimens have none"):
        read_parts(folder)


def test_figures_and_zero_shot_learning_take_what_is_there_or_say_what_to_do(
    parts: dict[str, Embedded], tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    write_embedded(folder, FACTS, parts)
    facts = {"num_lacking": lacking_of(parts)}
    _, vectors = EvaluatedFolder(folder, "run", facts).embeddings("val")
    assert np.isnan(vectors["image"]).all(axis=1).tolist() == parts["val"].lacking["image"].tolist()
    about = {
        "dataset": "d",
        "data_fingerprint": "f",
        "synthetic": True,
        "recipe": "corrected",
        "missing_rank": "left_out",
    }
    (tmp_path / EVALUATION).write_text(json.dumps(about))
    with pytest.raises(EmbeddingsError, match="prepare --complete"):
        read_source(str(tmp_path), seed=1)


def test_chunks_that_others_embed_come_together_to_the_same(
    parts: dict[str, Embedded], spec: ExperimentSpec, incomplete_dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = RunFolder(Folder(tmp_path))
    run.begin(spec, {}, {})
    job = EmbeddingJob(run=str(tmp_path), data=str(incomplete_dataset.folder), modalities=MODALITIES, untrained=True)
    embedder = Embedder(job)
    chunks = embedder.chunks()
    found = embedder.put_together(embedder.each(chunks), len(chunks), lambda done, total: None)
    for part, embedded in parts.items():
        assert found[part].lacking.keys() == embedded.lacking.keys()
        for name, rows in embedded.rows.items():
            np.testing.assert_allclose(found[part].rows[name], rows, rtol=0, atol=1e-6)


def test_an_epoch_is_selected_by_those_who_can_ask(parts: dict[str, Embedded]) -> None:
    keys, queries = parts[KEYS], parts["val"]
    asking, answering = queries.take(~queries.lacking["image"]), keys.take(~keys.lacking["dna"])
    expected = selection_score("image_to_dna", answering, asking)
    assert selection_score("image_to_dna", keys, queries) == expected
    assert 0 <= selection_score("mean_of_336", keys, queries) <= 1
    nobody = {**queries.lacking, "image": queries.lacking["image"] | (queries.subset == "unseen")}
    without = replace(queries, rows={name: queries.rows[name] for name in ("dna", "text")})
    halved = selection_score("mean_of_336", keys, replace(queries, lacking=nobody))  # no unseen species by image
    assert halved == selection_score("mean_of_336", keys, without)
    with pytest.raises(SpecError, match="no validation queries of unseen"):
        selection_score("image_to_dna", keys, replace(queries, lacking=nobody))


def test_a_classifier_predicts_for_those_who_have_its_modality(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset, tmp_path: Path
) -> None:
    alone = replace(spec, objective="classify", modalities=("image",), augmentation="none", trainable_temperature=False)
    experiment = open_untrained(alone, incomplete_dataset)
    rows = measure_classifier(experiment, incomplete_dataset, Placement(), Folder(tmp_path))
    table = Folder(tmp_path).read_table("classifier.parquet")
    queries = {**stored(incomplete_dataset, "val"), **stored(incomplete_dataset, "test")}
    assert set(table["specimen_id"].to_pylist()) == {name for name, row in queries.items() if row["image"]}
    seen = sum(row["image"] is not None and row["split"] == "val_seen" for row in queries.values())
    micro = [
        r for r in rows if (r.partition, r.average, r.level, r.metric) == ("val", "micro", "order", "classifier_top1")
    ]
    assert [row.count for row in micro] == [seen]


def test_open_set_recognition_asks_by_the_images_that_there_are(parts: dict[str, Embedded]) -> None:
    found = open_set({part: parts[part] for part in ("val", "test")}, parts[KEYS])
    predictions = Predictions(found.outcomes, found.specimens)
    for place in predictions.places:
        answers, queries = predictions.answers(place), parts[place.partition]
        assert set(answers.ids) == set(queries.ids[~queries.lacking["image"]])
    keys = parts[KEYS]
    [dna] = [p for p in predictions.places if (p.partition, p.key, p.keys) == ("val", "dna", "all")]
    assert {*predictions.answers(dna).key_ids.ravel()} <= {*keys.ids[~keys.lacking["dna"]], None}


def test_an_openclip_model_says_what_to_do(incomplete_dataset: PreparedDataset) -> None:
    with pytest.raises(SpecError, match="prepare --complete"):
        embed_openclip("nowhere", incomplete_dataset, torch.device("cpu"), "corrected")
