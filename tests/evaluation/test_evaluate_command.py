"""`clibd evaluate`: a finished run embeds real photographs it was not trained on."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from commands.evaluate import OtherKeys, evaluate
from workloads.data.prepared.dataset import SPECIMEN_TABLE, PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.tables import table_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import EmbeddingsError, MissingPathError, UsageError
from workloads.evaluation.evaluate import Questions
from workloads.evaluation.measure import measure, measure_embedded
from workloads.evaluation.stored import read_embedded, stored_facts, stored_parts
from workloads.evaluation.trained_on import Beside
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.seals import unseal_run
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "real" / "bioscan1m_species_images"


@pytest.fixture
def run(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path) -> RunFolder:
    """A run folder with first weights, as if training had ended at once."""
    folder = RunFolder(Folder(tmp_path / "runs" / "amp" / tiny_spec.id))
    experiment = open_untrained(tiny_spec, tiny_dataset)
    folder.begin(tiny_spec, {"sweep": "amp"}, {})
    write_inputs(folder, experiment)
    save_weights(folder.folder, experiment.model)
    folder.finish("finished")
    return folder


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"the photographs are not at {PHOTOGRAPHS}")
def test_real_photographs_are_embedded_and_retrieved(
    run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = SpecimenTable.at(tmp_path / "photographs.parquet")
    collect(table_source(PHOTOGRAPHS, {}), table)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    target = Folder(tmp_path / "photographs")
    facts = prepare(table, target, DatasetOptions(name="photographs", image_size=64), map)
    assert sum(facts.num_specimens.values()) == 136

    evaluate(model=str(run.folder), data=str(target), form="json")

    rows = json.loads(capsys.readouterr().out)
    own = [row for row in rows if row["method"] == "clibd"]
    assert {row["query"] for row in own} == {"image", "text"}
    assert {row["key"] for row in own} == {"image", "text", "species_text"}
    assert {row["partition"] for row in own} == {"val", "test"}
    written = RunFolder(run.folder / "evaluation-photographs")
    assert len(written.measurements()) == len(rows)
    keys = (written.folder / "embeddings").read_table("keys.parquet")
    assert len(keys) == sum(count for name, count in facts.num_specimens.items() if name.endswith("keys"))
    assert len(keys["image"][0]) == run.spec().embedding_size


def test_a_classifier_is_measured_over_its_species_and_not_by_retrieval(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("image",))
    folder = RunFolder(Folder(tmp_path / spec.id))
    experiment = open_untrained(spec, tiny_dataset)
    folder.begin(spec, {"sweep": "train"}, {})
    write_inputs(folder, experiment)
    save_weights(folder.folder, experiment.model)
    folder.finish("finished")

    evaluate(model=str(folder.folder), data=str(tiny_dataset.folder), form="md")

    printed = capsys.readouterr().out
    assert "image to classes" in printed
    assert "tiny (SYNTHETIC specimens), recipe corrected" in printed
    written = RunFolder(folder.folder / "evaluation-tiny")
    assert {row.metric for row in written.measurements()} == {"classifier_top1", "classifier_top5"}
    assert written.folder.has("classifier.parquet")
    for more in ({"untrained": True}, {"keys": [OtherKeys.own]}, {"training": True}):
        with pytest.raises(UsageError, match="a classifier"):
            evaluate(str(folder.folder), str(tiny_dataset.folder), **more)


def test_barcodes_are_left_out_where_the_data_set_has_none(
    run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = SpecimenTable(tiny_dataset.folder, SPECIMEN_TABLE)
    rows = next(table.batches())
    bare = SpecimenTable.at(tmp_path / "bare.parquet")
    with bare.writer(table.facts) as write:
        column, nothing = rows.schema.get_field_index("barcode"), pa.nulls(len(rows), pa.string())
        write(rows.set_column(column, "barcode", nothing))
    prepare(bare, Folder(tmp_path / "bare"), DatasetOptions(name="bare", image_size=64), map)

    evaluate(model=str(run.folder), data=str(tmp_path / "bare"), form="json")

    assert {row["query"] for row in json.loads(capsys.readouterr().out)} == {"image", "text"}


def test_embeddings_are_made_once_and_those_of_another_model_are_never_taken_for_them(
    run: RunFolder, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = str(run.folder), str(tiny_dataset.folder)
    evaluate(*asked)
    first = capsys.readouterr()
    evaluate(*asked, keys=[OtherKeys.own])
    second = capsys.readouterr()
    assert "used again" in second.err
    assert "used again" not in first.err
    assert "SYNTHETIC" in first.out
    assert "left out there" in first.out
    assert "Keys" in second.out

    other = open_untrained(replace(tiny_spec, seed=tiny_spec.seed + 1), tiny_dataset)
    unseal_run(run.folder, "model.safetensors")
    save_weights(run.folder, other.model)
    with pytest.raises(EmbeddingsError, match=r"weights \w+ .*--again"):
        evaluate(*asked)
    evaluate(*asked, again=True, form="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["table"], row["dataset"], row["synthetic"], row["recipe"]) for row in rows} == {
        ("evaluate", "tiny", "True", "corrected")
    }
    assert len(rows) == len(RunFolder(run.folder / "evaluation-tiny").measurements())


def test_the_untrained_form_of_a_run_has_a_folder_of_its_own(
    run: RunFolder, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(model=str(run.folder), data=str(tiny_dataset.folder), untrained=True, form="md")
    assert "before training" in capsys.readouterr().out
    assert (run.folder / "untrained-tiny").read_json("evaluation.json")["untrained"] is True


def test_a_run_s_own_embeddings_are_measured_again_without_its_data(
    run: RunFolder, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="name a data set"):
        evaluate(model=str(run.folder), data=None, form="md")
    measure(open_untrained(tiny_spec, tiny_dataset), tiny_dataset, Placement(), run)
    before = run.measurements()
    evaluate(model=str(run.folder), data=None, keys=[OtherKeys.seen], recipe="authors", form="json")
    again = json.loads(capsys.readouterr().out)
    assert {row["row"]["keys"] for row in again} == {"all", "seen"}
    same = {(r.partition, r.query, r.key, r.level, r.average, r.species, r.metric, r.method): r.value for r in before}
    species = [row for row in again if row["row"]["keys"] == "all" and row["rank"] == "species"]
    assert "clibd" in {row["method"] for row in species}
    for row in species:
        at = tuple(row[name] for name in ("partition", "query", "key", "rank", "average", "subset"))
        assert row["ours"] == pytest.approx(100 * same[(*at, f"top{row['k']}", row["method"])], abs=5.1e-5)
    about = run.folder.read_json("evaluation.json")
    assert about["missing_rank"] == "a_class"

    evaluate(model=str(run.folder), data=None, out=f"{run.folder}/beside", form="md")
    beside = (run.folder / "beside").read_json("evaluation.json")
    assert beside == {**about, "recipe": "corrected", "missing_rank": "left_out", "keys": ["all"]}
    assert run.folder.read_json("evaluation.json") == about
    sealed = run.manifest()
    assert {"evaluation.json", "beside/measurements.parquet"} <= sealed.keys()
    assert sealed == {name: run.folder.digest(name) for name in sealed}
    with pytest.raises(UsageError, match="name a data set"):
        evaluate(model=str(run.folder), data=None, training=True, form="md")


def test_rules_that_were_not_written_are_made_anew(
    run: RunFolder, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(open_untrained(tiny_spec, tiny_dataset), tiny_dataset, Placement(), run)
    before = run.folder.read_json("evaluation.json")
    run.folder.remove("evaluation.json")  # as if measuring had been interrupted
    evaluate(model=str(run.folder), data=None, form="md")
    assert run.folder.read_json("evaluation.json") == before


def test_a_question_that_cannot_be_asked_costs_no_answers(
    run: RunFolder, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    measure(open_untrained(tiny_spec, tiny_dataset), tiny_dataset, Placement(), run)
    files = {name: run.folder.read(name) for name in ("evaluation.json", "predictions.parquet")}
    facts = stored_facts(run.folder)
    assert facts is not None
    parts = {part: read_embedded(run.folder, part) for part in stored_parts(run.folder)}
    parts["keys"] = parts["keys"].take(parts["keys"].subset == "seen")
    with pytest.raises(UsageError, match="no keys of unseen"):
        measure_embedded(run.folder, parts, Questions(keys=("unseen",)), {}, Beside())
    assert {name: run.folder.read(name) for name in files} == files


def test_the_measurements_of_a_run_are_not_overwritten_by_those_of_another(
    run: RunFolder, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    other = RunFolder(Folder(tmp_path / "other"))
    other.begin(replace(tiny_spec, seed=tiny_spec.seed + 1), {}, {})
    for data in (str(tiny_dataset.folder), None):
        measure(open_untrained(tiny_spec, tiny_dataset), tiny_dataset, Placement(), run)
        with pytest.raises(UsageError, match="folder of a run"):
            evaluate(model=str(run.folder), data=data, out=str(other.folder), form="md")
    assert not other.folder.has("measurements.parquet")


@pytest.mark.parametrize("name", ["epoch_3.pt", "nothing"])
def test_what_is_no_run_is_refused_before_anything_is_written_there(
    name: str, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / "epoch_3.pt").write_bytes(b"what training of OpenCLIP's own left")
    with pytest.raises(MissingPathError, match=r"open_clip_config\.json and open_clip_model\.safetensors"):
        evaluate(model=str(tmp_path / name), data=str(tiny_dataset.folder))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_3.pt"]
