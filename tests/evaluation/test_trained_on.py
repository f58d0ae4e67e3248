"""What an evaluation says beside its numbers: floors, what was trained on, what was left out, and which frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.measured import evaluation_sheet
from tests.conftest import plain_run
from workloads.data.inputs.barcode_inputs import dna_input
from workloads.data.inputs.batches import View
from workloads.data.prepared.dataset import BIOSCAN_1M_SPLITS, SPECIMEN_TABLE, DatasetFacts, PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.tables import table_source
from workloads.data.specimens.barcode import token_ids
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.evaluation.embed import usable_modalities
from workloads.evaluation.evaluate import measure_predictions
from workloads.evaluation.stored import read_embedded
from workloads.evaluation.trained_on import TRAINED_ON, Beside, TrainedOn, digests, read_trained_on
from workloads.execution import Execution
from workloads.experiments import experiment_spec
from workloads.measuring.evaluation_folder import measure_again, measure_run
from workloads.models.loaded import open_run, open_untrained
from workloads.placement import Placement
from workloads.predictions import Predictions
from workloads.record import Measurement, RunFolder, measurements_to_table
from workloads.seals import unseal_run
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.report import result_words
from workloads.training.run import train_run

PAIRS = Path(__file__).parents[3] / "shared" / "real" / "insect_bold_pairs"


def train(spec: ExperimentSpec, dataset: PreparedDataset, folder: Path) -> RunFolder:
    run = RunFolder(Folder(folder))
    run.begin(spec, {}, {})
    run.finish("finished", **train_run(spec, run, dataset, Placement(), Execution()))
    return run


@pytest.fixture(scope="module")
def run(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """Image and DNA aligned on the tiny data set."""
    spec = replace(tiny_spec, modalities=("image", "dna"), epochs=1)
    return train(spec, tiny_dataset, tmp_path_factory.mktemp("runs") / "train" / spec.id)


@pytest.fixture(scope="module")
def other(tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """The same insects, shared out to the splits anew, and every barcode without its first 7 bases."""
    folder = tmp_path_factory.mktemp("other")
    rows = next(SpecimenTable(tiny_dataset.folder, SPECIMEN_TABLE).batches())
    names, barcodes = rows.schema.names, pa.array([text[7:] for text in rows["barcode"].to_pylist()])
    rows = rows.set_column(names.index("barcode"), "barcode", barcodes)
    rows = rows.set_column(names.index("split"), "split", pa.nulls(len(rows), pa.string()))
    table = SpecimenTable.at(folder / "specimens.parquet")
    with table.writer(replace(SpecimenTable(tiny_dataset.folder, SPECIMEN_TABLE).facts, partition="")) as write:
        write(rows)
    table.with_splits(partition(table.column("species"), seed=7), "paper, seed 7", table)
    prepare(table, Folder(folder / "other"), DatasetOptions(name="other", image_size=64), plain_run)
    return PreparedDataset(Folder(folder / "other"))


Key = tuple[str, ...]


def at(rows: list[Measurement], **wanted: str) -> dict[Key, float]:
    rows = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return {
        (row.method, row.partition, row.query, row.key, row.level, row.average, row.species, row.metric): row.value
        for row in rows
    }


def test_floors_stand_beside_the_retrievals_that_were_asked(run: RunFolder) -> None:
    rows = [row for row in run.measurements() if row.level == "species" and row.keys == "all"]
    places = {
        (row.method, row.query, row.key) for row in rows if row.query != "averaged" and row.key in ("dna", "image")
    }
    assert ("kmer_nearest_neighbour", "dna", "dna") in places
    assert ("linear_cca", "image", "dna") in places
    assert not {place for place in places if place[0] == "linear_cca"} - {("linear_cca", "image", "dna")}
    own = {(row.partition, row.average, row.species, row.metric) for row in rows if row.method == "clibd"}
    floors = [row for row in rows if row.method == "linear_cca"]
    assert {(row.partition, row.average, row.species, row.metric) for row in floors} == own
    assert all(row.low is not None and row.high is not None for row in floors if row.species == "all")


def test_what_was_trained_on_is_kept_whole(run: RunFolder, tiny_dataset: PreparedDataset) -> None:
    kept = read_trained_on(run)
    rows = tiny_dataset.load(tiny_dataset.facts.splits.training)
    assert np.array_equal(kept.specimens, digests(rows["specimen_id"]))
    assert np.array_equal(kept.barcodes, digests(rows["barcode"]))
    assert len(kept.specimens) == len(rows)
    assert kept.species == set(rows["species"].drop_null().to_pylist())
    assert kept.data_sets == {tiny_dataset.facts.fingerprint}
    assert not kept.unknown


def test_a_run_without_dna_saw_no_barcodes_and_a_classifier_only_what_has_a_name(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("image",), augmentation="none", batch_size=8, epochs=1)
    kept = read_trained_on(train(spec, tiny_dataset, tmp_path))
    named = tiny_dataset.load(tiny_dataset.facts.splits.training)["species"]
    assert len(kept.specimens) == len(named) - named.null_count < len(named)
    assert not len(kept.barcodes)


def test_on_its_own_data_a_run_has_seen_nothing_but_barcodes(run: RunFolder, tiny_dataset: PreparedDataset) -> None:
    said = run.folder.read_json("evaluation.json")
    trained = set(tiny_dataset.load(tiny_dataset.facts.splits.training)["barcode"].to_pylist())
    for part, splits in tiny_dataset.facts.splits.queries.items():
        queries = tiny_dataset.load(list(splits.values()))
        counts = said["contamination"][part]
        assert (counts["unseen_species"], counts["specimens"]) == (0, 0)
        assert counts["barcodes"] == sum(barcode in trained for barcode in queries["barcode"].to_pylist())
        assert counts["num_queries"] == len(queries)
    assert {row.queries for row in run.measurements()} == {"all"}
    assert (said["schema"], said["official_split"], said["left_out"], said["frame"]) == (2, None, {}, "run")


def test_on_another_data_set_what_was_trained_on_is_counted_and_left_out_once(
    run: RunFolder, tiny_dataset: PreparedDataset, other: PreparedDataset, tmp_path: Path
) -> None:
    """121 of 140 unseen species had been in a training, and the run scored 99.5 % without a word."""
    found = measure_run(run, other.folder, Folder(tmp_path / "evaluation"))
    trained = tiny_dataset.load(tiny_dataset.facts.splits.training).to_pylist()
    ids, names = {row["specimen_id"] for row in trained}, {row["species"] for row in trained}
    fresh = set()
    for part, splits in other.facts.splits.queries.items():
        queries = other.load(list(splits.values())).to_pylist()
        unseen = {row["species"] for row in queries if "unseen" in row["split"]}
        counts = found.about["contamination"][part]
        assert (counts["unseen_species"], counts["num_unseen_species"]) == (len(unseen & names), len(unseen))
        assert counts["specimens"] == sum(row["specimen_id"] in ids for row in queries)
        assert counts["barcodes"] == 0  # they are 7 bases shorter
        gone = [row["specimen_id"] in ids or row["species"] in unseen & names for row in queries]
        assert 0 < sum(gone) < len(queries)
        fresh |= {row["specimen_id"] for row, away in zip(queries, gone, strict=True) if not away}
    sheet = evaluation_sheet(found.about, found.measurements, full=False)
    assert {cell.row["queries"] for cell in sheet.cells} == {"all", "untrained"}
    counts = found.about["contamination"]["test"]
    words = f"trained on {counts['unseen_species']} of {counts['num_unseen_species']} unseen species"
    assert any(words in line for line in sheet.about)
    assert all(words in (cell.contamination or "") for cell in sheet.cells if cell.partition == "test")
    folder = Folder(tmp_path / "evaluation")
    parts = {part: read_embedded(folder, part) for part in ("keys", "val", "test")}
    left = {part: own.take(np.isin(own.ids, list(fresh))) for part, own in parts.items() if part != "keys"}
    predictions = folder.read_table("predictions.parquet")
    predictions = predictions.filter(pa.array([name in fresh for name in predictions["specimen_id"].to_pylist()]))
    kept = Predictions(predictions, folder.read_table("specimens.parquet"))
    expected = measure_predictions(kept, parts["keys"], left, "left_out", Beside())
    rows = [row for row in found.measurements if row.method not in ("kmer_nearest_neighbour", "linear_cca")]
    assert at(rows, queries="untrained") == pytest.approx(at(expected, queries="all"))
    floors = at(list(found.measurements), queries="untrained", method="linear_cca")
    assert floors.keys() == at(list(found.measurements), queries="all", method="linear_cca").keys()


def test_measuring_again_knows_what_was_known(run: RunFolder, other: PreparedDataset, tmp_path: Path) -> None:
    measure_run(run, other.folder, Folder(tmp_path / "evaluation"))
    before = run.measurements()
    again = measure_again(run, Folder(tmp_path / "again"))
    assert at(list(again.measurements)) == at(before)
    assert again.about["contamination"] == run.folder.read_json("evaluation.json")["contamination"]


def test_what_the_start_has_seen_its_heir_has_too(
    run: RunFolder, other: PreparedDataset, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    start = run.folder.address
    spec = replace(
        run.spec(),
        data_fingerprint=other.facts.fingerprint,
        dataset="other",
        image=replace(tiny_spec.image, weights=start),
        dna=replace(tiny_spec.dna, weights=start),
    )
    heir = train(spec, other, tmp_path)
    kept = read_trained_on(heir)
    assert kept.data_sets == {tiny_dataset.facts.fingerprint, other.facts.fingerprint}
    ids = [set(each.load(each.facts.splits.training)["specimen_id"].to_pylist()) for each in (tiny_dataset, other)]
    assert np.array_equal(kept.specimens, digests(pa.chunked_array([sorted(ids[0] | ids[1])])))
    said = heir.folder.read_json("evaluation.json")
    assert said["contamination"]["test"]["specimens"] > 0
    assert "untrained" in {row.queries for row in heir.measurements()}
    # The DNA tower reads on in the frame that it learned to read in.
    assert open_run(heir).frame == tiny_dataset.facts.frame != other.facts.frame


def test_a_run_that_did_not_keep_it_says_so_on_other_data(
    run: RunFolder, other: PreparedDataset, tmp_path: Path
) -> None:
    kept, inputs = run.folder.read(TRAINED_ON), run.folder.read_json("inputs.json")
    unseal_run(run.folder, TRAINED_ON, "inputs.json")
    run.folder.remove(TRAINED_ON)
    run.folder.write_json("inputs.json", {name: inputs[name] for name in ("towers", "classes")})
    try:
        found = measure_run(run, other.folder, Folder(tmp_path / "evaluation"))
    finally:
        run.folder.write(TRAINED_ON, kept)
        run.folder.write_json("inputs.json", inputs)
    assert found.about["declared"] == [f"What {run.id} was trained on was not kept, so more may have been seen"]
    assert found.about["frame"] == "data_set"
    assert {row.queries for row in found.measurements} == {"all"}


def test_published_weights_have_declared_what_they_saw(tiny_spec: ExperimentSpec, tmp_path: Path) -> None:
    converted = RunFolder(Folder(tmp_path / "clibd-image-dna"))
    converted.begin(replace(tiny_spec, dataset="bioscan_1m"), {"converted": True}, {})
    [sentence] = read_trained_on(converted).declared
    assert "training split of BIOSCAN-1M" in sentence
    converted.begin(replace(tiny_spec, dataset="bioscan_5m"), {"converted": True}, {})
    [sentence] = read_trained_on(converted).declared
    assert "BIOSCAN-5M" in sentence


def test_barcodes_are_read_in_the_frame_of_the_run(
    run: RunFolder, tiny_dataset: PreparedDataset, other: PreparedDataset
) -> None:
    opened, splits = open_run(run), other.facts.splits.keys
    assert opened.frame == tiny_dataset.facts.frame
    stored = np.array(other.load(splits, ["dna_ids"])["dna_ids"].to_pylist())
    taken = opened.specimens(other, splits).inputs("dna", np.arange(len(stored)), View()).numpy()
    whole = tiny_dataset.load(tiny_dataset.facts.splits.splits, ["specimen_id", "barcode"]).to_pylist()
    of = {row["specimen_id"]: row["barcode"] for row in whole}
    missing = ["N" * 7 + of[name][7:] for name in other.load(splits, ["specimen_id"])["specimen_id"].to_pylist()]
    assert taken.tolist() == token_ids(missing).tolist()
    assert not np.array_equal(taken, stored)
    own = tiny_dataset.open(splits)
    laid = dna_input(own, opened.spec, None, tiny_dataset.facts.frame).take(np.arange(len(own)), View())
    assert np.array_equal(laid, np.array(own["dna_ids"].to_pylist()))


def test_what_a_run_cannot_take_is_named(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    experiment, facts = open_untrained(tiny_spec, tiny_dataset), tiny_dataset.facts
    assert usable_modalities(experiment, facts) == (["image", "dna", "text"], {})
    features = replace(facts, image_feature_size=768, barcodes=False, dna_feature_size=512)
    usable, left_out = usable_modalities(experiment, features)
    assert usable == ["text"]
    assert left_out["image"] == "the run's tower takes pixels, and the data set has features of 768 numbers"
    assert left_out["dna"] == "the run's tower takes barcodes, and tiny has features instead"
    longer = replace(experiment, inputs=replace(experiment.inputs, image_feature_size=512))
    assert (
        "features of 512 numbers, and the data set has features of 768"
        in usable_modalities(longer, features)[1]["image"]
    )
    assert usable_modalities(experiment, replace(facts, modalities=("image",)))[1]["text"] == "tiny has none"


def real_pairs(folder: Path, seed: int) -> PreparedDataset:
    """The first 800 pairs of real features and barcodes, shared out to the splits by a seed."""
    source, table = folder / f"source-{seed}", SpecimenTable.at(folder / f"{seed}.parquet")
    source.mkdir()
    pq.write_table(pq.read_table(PAIRS / "pairs.parquet").slice(0, 800), source / "pairs.parquet")
    name = "image_features_vit768_f16.npy"
    np.save(source / name, np.load(PAIRS / name, mmap_mode="r")[:800])
    collect(table_source(source, {}), table)
    table.with_splits(partition(table.column("species"), seed=seed), f"paper, seed {seed}", table)
    prepare(table, Folder(folder / f"pairs-{seed}"), DatasetOptions(name=f"pairs{seed}"), plain_run)
    return PreparedDataset(Folder(folder / f"pairs-{seed}"))


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"the pairs are not at {PAIRS}")
def test_unseen_species_of_real_pairs_that_were_trained_on_are_counted(tmp_path: Path) -> None:
    one, two = real_pairs(tmp_path, 1), real_pairs(tmp_path, 2)
    spec = experiment_spec("image-dna", "small", one.facts.data)
    spec = replace(spec, epochs=2, batch_size=100, image=replace(spec.image, width=128))
    found = measure_run(train(spec, one, tmp_path / "run"), two.folder)
    trained = set(one.load(one.facts.splits.training)["species"].drop_null().to_pylist())
    for part, splits in two.facts.splits.queries.items():
        unseen = set(two.load([splits["unseen"]])["species"].to_pylist())
        counts = found.about["contamination"][part]
        assert 0 < len(unseen & trained) < len(unseen)
        assert (counts["unseen_species"], counts["num_unseen_species"]) == (len(unseen & trained), len(unseen))
        assert 0 < counts["specimens"] < counts["num_queries"]
        assert counts["barcodes"] > counts["specimens"]  # other specimens have the same ones
    wanted = {
        "average": "macro",
        "level": "species",
        "species": "unseen",
        "query": "image",
        "key": "dna",
        "metric": "top1",
    }
    of = {row.queries: row for row in found.measurements if all(getattr(row, n) == v for n, v in wanted.items())}
    assert of["untrained"].count < of["all"].count


def official(facts: DatasetFacts, protocol: str, counts: dict[str, int], rejects: int = 0) -> str | None:
    made = replace(facts, protocol=protocol, synthetic=False, num_specimens=counts, num_rejects=rejects)
    return made.official_split


def test_an_official_split_is_known_by_its_counts(tiny_dataset: PreparedDataset) -> None:
    facts = tiny_dataset.facts
    whole = {split: records for split, (records, _) in BIOSCAN_1M_SPLITS.items()}
    assert official(facts, "clibd", whole) == "bioscan_1m"
    assert official(facts, "bioscan_5m", whole) is None
    fewer = {**whole, "test_seen": whole["test_seen"] - 2}
    assert official(facts, "clibd", fewer) is None
    assert official(facts, "clibd", fewer, rejects=2) == "bioscan_1m"
    assert official(facts, "clibd", {**whole, "test_seen": 4_879}) is None
    insect = {"train_seen": 14_000, "val_classes": 1_262, "test_seen": 3_525, "test_unseen": 2_425}
    assert official(facts, "insect", insect) == "insect"
    assert official(facts, "insect", {**insect, "val_classes": 1_000}) is None
    assert facts.official_split is None


def test_measurements_of_earlier_versions_are_of_all_queries(run: RunFolder) -> None:
    rows = run.measurements()
    assert [Measurement(**row) for row in measurements_to_table(rows).drop_columns("queries").to_pylist()] == rows


def test_the_end_of_training_says_what_stands_beside(run: RunFolder) -> None:
    lines = result_words(run).splitlines()
    found = {
        row.method: row.value
        for row in run.measurements()
        if (row.partition, row.query, row.key, row.keys) == ("val", "image", "dna", "all")
        and (row.level, row.average, row.species, row.metric) == ("species", "macro", "seen", "top1")
    }
    assert lines[0].startswith(f"image to dna, species, macro, validation: seen {100 * found['clibd']:.1f} % (")
    assert f"chance {100 * found['random_key']:.1f}," in lines[1]
    assert f"linear CCA {100 * found['linear_cca']:.1f}," in lines[1]
    assert f"clibd evaluate {run.folder} --data DIR" in lines[-1]
    assert "--data there/data, or" in result_words(run, "there/data")


def test_two_digests_are_united_and_nothing_stays_nothing() -> None:
    one, two = (TrainedOn(digests(pa.chunked_array([names]))) for names in (["a", "b"], ["b", "c"]))
    assert len((one | two).specimens) == 3
    assert not len(digests(pa.chunked_array([[None]], pa.string())))
