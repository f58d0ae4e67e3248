"""What an evaluation leaves for looking at: which specimens, what of them, and where its embeddings lie."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from tests.damage import damage
from tests.results.figures.made_up import made_up_rows, write_evaluated
from workloads.data.files.images import open_image
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import AlteredError, ClibdError, DamagedError
from workloads.evaluation.looking import choose_shown, look_at, map_of, method_for
from workloads.evaluation.measure import measure
from workloads.evaluation.stored import read_parts
from workloads.measuring.evaluation_folder import measure_again, measure_run
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.plane import by_pca
from workloads.predictions import MISSING, PAPERS_PAIRS, Place, Predictions, prediction_table, specimen_table
from workloads.record import RunFolder, read_evaluation
from workloads.seals import unseal_run
from workloads.shown import MAP, MAP_SCHEMA, MOST_SHOWN, SHOWN, SHOWN_SCHEMA, read_map, read_shown
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder
from workloads.verify import things_in


def _finished(spec: ExperimentSpec, dataset: PreparedDataset, folder: Path) -> RunFolder:
    """A run with first weights that was measured, as if training had ended at once."""
    run = RunFolder(Folder(folder / spec.id))
    experiment = open_untrained(spec, dataset)
    run.begin(spec, {"sweep": "train"}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    measure(experiment, dataset, Placement(), run)
    run.finish("finished")
    return run


@pytest.fixture(scope="module")
def measured(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    return _finished(tiny_spec, tiny_dataset, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(measured: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that may be damaged."""
    return RunFolder(Folder(shutil.copytree(measured.folder.path, tmp_path / "runs" / measured.id)))


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
    run = _finished(spec, dataset, tmp_path)
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
    shown = read_shown(_finished(spec, dataset, tmp_path).folder)
    assert shown is not None
    assert {shown.thumbnail(name) for name in shown.ids} == {None}
    assert all(shown.barcode(name) for name in shown.ids)


# --- The map ------------------------------------------------------------------------------------------------------


def test_every_embedding_is_one_point(run: RunFolder) -> None:
    points, parts = read_map(run.folder), read_parts(run.folder)
    assert points is not None
    expected = {
        (name, None if part == "keys" else part, "key" if part == "keys" else "query", modality)
        for part, embedded in parts.items()
        for modality in embedded.rows
        for name in embedded.ids
    }
    columns = ["specimen_id", "partition", "kind", "modality"]
    assert Counter(tuple(row.values()) for row in points.select(columns).to_pylist()) == Counter(expected)
    said = read_evaluation(run.folder)["map"]
    assert said == {"method": "pca", "points": len(expected), "of": len(expected)}
    assert json.loads(points.schema.metadata[b"map"]) == said


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    chance = np.random.default_rng(5)
    for count, size in ((40_000, 7), (50, 12), (3, 12)):  # several pieces, and fewer points than numbers
        points = (chance.normal(size=(count, size)) * (1 + np.arange(size)) + 9).astype(np.float32)
        centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
        places = by_pca(points)
        for axis, own in zip(axes, places.T, strict=True):
            sign = np.sign(axis[np.abs(axis).argmax()])
            np.testing.assert_allclose(own, sign * (centred @ axis), atol=2e-6 * np.abs(own).max())  # fp32
        assert places[:, 0].var() >= places[:, 1].var()


def test_points_that_are_alike_lie_together() -> None:
    assert not by_pca(np.ones((9, 5), dtype=np.float32)).any()
    line = by_pca(np.arange(6, dtype=np.float32)[:, None])
    assert line.tolist() == [[x - 2.5, 0] for x in range(6)]


@pytest.mark.parametrize(
    ("num_points", "method"), [(1, "pca"), (4_999, "pca"), (5_000, "umap"), (20_000, "umap"), (20_001, "pca")]
)
def test_umap_is_for_neither_few_points_nor_many(num_points: int, method: str) -> None:
    assert method_for(num_points) == method


def test_of_too_many_points_some_are_drawn(run: RunFolder) -> None:
    parts = read_parts(run.folder)
    whole, _ = map_of(parts)
    some, said = map_of(parts, 50)
    assert said == {"method": "pca", "points": 50, "of": len(whole)}
    assert len(some) == 50
    keys = ["specimen_id", "partition", "kind", "modality"]
    rows = {tuple(row.values()) for row in whole.select(keys).to_pylist()}
    assert len({tuple(row.values()) for row in some.select(keys).to_pylist()} & rows) == 50
    assert some.equals(map_of(parts, 50)[0])


# --- Files ----------------------------------------------------------------------------------------------------------


def test_measuring_twice_leaves_the_same_bytes(run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    evaluation, again = Folder(tmp_path / "evaluation"), Folder(tmp_path / "again")
    measure_run(run, tiny_dataset.folder, evaluation)
    measure_again(run, again)
    for name in (SHOWN, MAP):
        assert evaluation.read(name) == run.folder.read(name) == again.read(name), name
    assert {folder.read_json("evaluation.json")["shown"]["specimens"] for folder in (evaluation, again)} != {0}


def test_they_are_sealed_and_verified(run: RunFolder, tiny_dataset: PreparedDataset) -> None:
    measure_run(run, tiny_dataset.folder)
    sealed = run.manifest()
    for place in ("", "evaluation-tiny/"):
        for name in (SHOWN, MAP):
            assert sealed[f"{place}{name}"] == run.folder.digest(f"{place}{name}")
            damage(Path(run.folder.path, place, name), 1)
    [(_, check)] = things_in(run.folder)
    problems = {problem.file: problem.remedy for problem in check(lambda done, total: None).problems}
    assert problems.keys() == {f"{place}{name}" for place in ("", "evaluation-tiny/") for name in (SHOWN, MAP)}
    assert f"clibd evaluate {run.folder}`" in problems[MAP]
    assert "--data DIR --again" in problems[f"evaluation-tiny/{SHOWN}"]
    with pytest.raises(AlteredError):
        read_shown(run.folder)
    with pytest.raises(AlteredError):
        read_map(run.folder / "evaluation-tiny")


def test_damaged_pictures_cost_no_number_and_measuring_again_goes_without(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before, numbers = run.measurements(), read_evaluation(run.folder)
    for seed, name in enumerate((SHOWN, MAP)):
        damage(Path(run.folder.path, name), seed)
    assert run.measurements() == before
    measure_again(run)
    assert "no pictures are kept" in capsys.readouterr().err
    assert run.measurements() == before
    assert read_shown(run.folder) is None
    assert read_map(run.folder) is not None
    shown = numbers["shown"] | {"specimens": 0}
    assert read_evaluation(run.folder) == {**numbers, "shown": shown}
    assert [check(lambda done, total: None).state for _, check in things_in(run.folder)] == ["whole"]


def _shown_of(rows: list[dict[str, object]]) -> tuple[str, pa.Table]:
    return SHOWN, pa.Table.from_pylist(rows, SHOWN_SCHEMA)


def _points_of(**changed: object) -> tuple[str, pa.Table]:
    point = {"specimen_id": "a", "partition": "val", "kind": "query", "modality": "dna", "x": 0.0, "y": 1.0}
    return MAP, pa.Table.from_pylist([{**point, "specimen_id": "b"}, {**point, **changed}], MAP_SCHEMA)


WRONG: dict[str, tuple[tuple[str, pa.Table], str]] = {
    "too many": (_shown_of([{"specimen_id": str(number)} for number in range(MOST_SHOWN + 1)]), "2,001 specimens"),
    "twice": (_shown_of([{"specimen_id": "a"}] * 2), "there twice"),
    "no id": (_shown_of([{"barcode": "ACGT"}]), "no value"),
    "a page": (_shown_of([{"specimen_id": "a", "thumbnail": b"<html><script>"}]), "thumbnail is none"),
    "a giant": (_shown_of([{"specimen_id": "a", "thumbnail": b"RIFF1234WEBP" + bytes(2**15)}]), "thumbnail is none"),
    "no thumbnails": ((SHOWN, pa.table({"specimen_id": ["a"], "barcode": ["ACGT"]})), "no column thumbnail"),
    "no points": ((MAP, MAP_SCHEMA.empty_table()), "no row"),
    "nowhere": (_points_of(x=float("nan")), "lies nowhere"),
    "no kind": (_points_of(kind="neither"), "no such kind"),
    "no modality": (_points_of(modality="smell"), "no such modality"),
    "a key of a partition": (_points_of(kind="key"), "of no partition"),
    "a point twice": (_points_of(specimen_id="b"), "there twice"),
}


@pytest.mark.parametrize("which", WRONG)
def test_files_that_nobody_can_have_written_are_refused(which: str, run: RunFolder) -> None:
    (name, table), reason = WRONG[which]
    unseal_run(run.folder, name)
    run.folder.write_table(name, table)
    with pytest.raises(DamagedError, match=reason):
        (read_shown if name == SHOWN else read_map)(run.folder)


@pytest.mark.parametrize(("name", "read"), [(SHOWN, read_shown), (MAP, read_map)])
def test_damage_without_seals_is_met_with_a_typed_error_or_is_none(
    name: str, read: Callable[[Folder], object], run: RunFolder
) -> None:
    unseal_run(run.folder, name)
    whole = run.folder.read(name)
    for seed in range(25):
        damage(Path(run.folder.path, name), seed)
        with suppress(ClibdError):
            read(run.folder)
        run.folder.write(name, whole)


def test_folders_of_earlier_versions_have_neither(tmp_path: Path) -> None:
    folder = write_evaluated(tmp_path / "old", made_up_rows()).folder
    assert read_shown(folder) is None
    assert read_map(folder) is None


def test_without_images_to_be_had_the_map_is_left_alone(run: RunFolder) -> None:
    looking = look_at(read_parts(run.folder), Predictions.read(run.folder), None)
    assert looking.shown is None
    assert looking.about["shown"]["specimens"] == 0
    looking.write(run.folder)
    assert not run.folder.has(SHOWN)
    assert run.folder.has(MAP)
