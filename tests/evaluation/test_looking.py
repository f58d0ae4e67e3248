"""What an evaluation leaves for looking at: which specimens, and what of them."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from tests.evaluation.looking_cases import finished
from tests.evaluation.looking_cases import measured as measured
from tests.evaluation.looking_cases import run as run
from workloads.data.files.images import open_image
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.evaluation.looking import choose_shown
from workloads.predictions import MISSING, PAPERS_PAIRS, Place, Predictions, prediction_table, specimen_table
from workloads.record import RunFolder, read_evaluation
from workloads.shown import MOST_SHOWN, read_map, read_shown
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder


@pytest.fixture(scope="module")
def many() -> Predictions:
    """Answers of 3,000 queries by image and by DNA, of which few are right."""
    chance = np.random.default_rng(3)
    count, keys = 3_000, 1_500
    ids = np.array([f"s{number:04}" for number in range(count + keys)], dtype=object)
    names = {
        rank: np.array([f"{rank} {number}" for number in chance.integers(size, size=count + keys)], dtype=object)
        for rank, size in zip(RANKS, (3, 9, 27, 81), strict=True)
    }
    tables = []
    for partition, asking in (("val", np.arange(1_000)), ("test", np.arange(1_000, count))):
        for query, key in (("image", "dna"), ("dna", "dna"), ("averaged", "dna")):
            found = ids[count + chance.integers(keys, size=(len(asking), 1))]
            subset, cosines = np.full(len(asking), "seen", dtype=object), np.full((len(asking), 1), 0.5, np.float32)
            tables.append(prediction_table(Place(partition, query, key), ids[asking], subset, found, cosines))
    return Predictions(pa.concat_tables(tables), specimen_table(ids, np.full(count + keys, "s", dtype=object), names))


def _nearest(predictions: Predictions) -> dict[str, set[str]]:
    """By query its nearest keys by the paper's pairs."""
    found: dict[str, set[str]] = {}
    for place in predictions.places:
        if (place.query, place.key) in PAPERS_PAIRS:
            answers = predictions.answers(place)
            for query, key in zip(answers.ids, answers.key_ids[:, 0], strict=True):
                found.setdefault(query, set()).add(key)
    return found


# --- Which specimens ----------------------------------------------------------------------------------------------


def test_no_more_are_shown_than_may_be_and_each_query_with_its_nearest_keys(many: Predictions) -> None:
    ids = choose_shown(many)
    nearest = _nearest(many)
    assert MOST_SHOWN - 3 < len(ids) == len(set(ids)) <= MOST_SHOWN
    queries = [name for name in ids if name in nearest]
    assert len(queries) > 500
    assert all(nearest[name] <= set(ids) for name in queries)
    assert choose_shown(many) == ids
    few = choose_shown(many, 10)
    assert 8 <= len(few) <= 10
    assert all(nearest.get(name, set()) <= set(few) for name in few)


def test_partitions_and_outcomes_take_turns(many: Predictions) -> None:
    ids = set(choose_shown(many, 400))
    counts, there = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for partition in ("val", "test"):
        answers = many.answers(Place(partition, "image", "dna"))
        for name, depth in zip(answers.ids, answers.depth_shared().tolist(), strict=True):
            there[partition, depth] += 1
            counts[partition, depth] += name in ids
    assert len(there) == 10
    turns = max(counts.values())
    assert turns > 10
    assert all(count in (turns, turns - 1) or count == there[outcome] for outcome, count in counts.items())


def test_the_depth_is_that_of_the_lowest_rank_that_is_shared() -> None:
    names = {
        "order": ["a", "a", "a", None],
        "family": ["b", "b", "x", None],
        "genus": ["c", "y", "c", None],
        "species": ["d", None, "d", None],
    }
    labels = {rank: np.array([*own, own[0]], dtype=object) for rank, own in names.items()}
    ids = np.array(["q1", "q2", "q3", "q4", "key"], dtype=object)
    place, subset = Place("val", "image", "dna"), np.full(4, "seen", dtype=object)
    table = prediction_table(place, ids[:4], subset, np.full((4, 1), "key", dtype=object), np.ones((4, 1), np.float32))
    answers = Predictions(table, specimen_table(ids, ids, labels)).answers(place)
    assert answers.truth["species"][1] == MISSING
    assert answers.depth_shared().tolist() == [4, 2, 4, 0]


def test_a_small_evaluation_shows_everybody_queries_first(run: RunFolder) -> None:
    shown, said = read_shown(run.folder), read_evaluation(run.folder)
    assert shown is not None
    predictions = Predictions.read(run.folder)
    assert set(shown.ids) == set(predictions.specimens["specimen_id"].to_pylist())
    assert said["shown"] == {"specimens": len(shown.ids), "of": len(shown.ids)}
    nearest = _nearest(predictions)
    first = shown.ids[0]
    assert set(shown.ids[1 : 1 + len(nearest[first])]) == nearest[first]


# --- What of them -------------------------------------------------------------------------------------------------


def test_thumbnails_and_barcodes_are_those_of_the_data_set(run: RunFolder, tiny_dataset: PreparedDataset) -> None:
    shown = read_shown(run.folder)
    assert shown is not None
    splits = [split for split, count in tiny_dataset.facts.num_specimens.items() if count]
    rows = {
        row["specimen_id"]: row for row in tiny_dataset.load(splits, ["specimen_id", "image", "barcode"]).to_pylist()
    }
    for name in shown.ids:
        content, whole = shown.thumbnail(name), open_image(rows[name]["image"])
        assert content is not None
        small = Image.open(io.BytesIO(content))
        assert small.format == "WEBP"
        assert max(small.size) == min(96, max(whole.size))
        difference = np.asarray(small.convert("RGB"), float) - np.asarray(whole.resize(small.size), float)
        assert np.abs(difference).mean() < 12  # of 255: what WebP and the resizing cost
        assert shown.barcode(name) == rows[name]["barcode"]
    assert shown.thumbnail("nobody") is shown.barcode("nobody") is None


def test_who_lacks_an_image_or_a_barcode_is_shown_without(
    incomplete_table: SpecimenTable, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    dataset = PreparedDataset(Folder(tmp_path / "incomplete"))
    prepare(incomplete_table, dataset.folder, DatasetOptions(name="incomplete", image_size=32), map)
    spec = replace(tiny_spec, dataset="incomplete", data_fingerprint=dataset.facts.fingerprint)
    run = finished(spec, dataset, tmp_path)
    shown, points = read_shown(run.folder), read_map(run.folder)
    assert shown is not None
    assert points is not None
    splits = [split for split, count in dataset.facts.num_specimens.items() if count]
    rows = {row["specimen_id"]: row for row in dataset.load(splits, ["specimen_id", "image", "barcode"]).to_pylist()}
    for column, read in (("image", shown.thumbnail), ("barcode", shown.barcode)):
        there = {name for name in shown.ids if rows[name][column] is not None}
        assert 0 < len(there) < len(shown.ids)
        assert {name for name in shown.ids if read(name) is not None} == there
        modality = {"image": "image", "barcode": "dna"}[column]
        assert set(points.filter(pc.equal(points["modality"], modality))["specimen_id"].to_pylist()) == there


def test_a_model_of_texts_alone_shows_what_its_data_set_has(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    table = SpecimenTable(tiny_dataset.folder, "specimens.parquet")
    rows, bare = next(table.batches()), SpecimenTable.at(tmp_path / "bare.parquet")
    with bare.writer(table.facts) as write:
        place, nothing = rows.schema.get_field_index("image"), pa.nulls(len(rows), rows.schema.field("image").type)
        write(rows.set_column(place, "image", nothing))
    dataset = PreparedDataset(Folder(tmp_path / "bare"))
    prepare(bare, dataset.folder, DatasetOptions(name="bare", image_size=32), map)
    spec = replace(tiny_spec, dataset="bare", data_fingerprint=dataset.facts.fingerprint, modalities=("dna", "text"))
    shown = read_shown(finished(spec, dataset, tmp_path).folder)
    assert shown is not None
    assert {shown.thumbnail(name) for name in shown.ids} == {None}
    assert all(shown.barcode(name) for name in shown.ids)
