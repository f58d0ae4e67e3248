"""`clibd evaluate`: a finished run embeds real photographs it was not trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.evaluate_command import evaluate_command
from workloads.data.collect import collect
from workloads.data.partition import partition
from workloads.data.preparation import Wanted, prepare
from workloads.data.prepared import PreparedDataset
from workloads.data.sources.tables import table_source
from workloads.data.specimen_table import SpecimenTable
from workloads.experiment import open_experiment, write_inputs
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.checkpoint import save_weights

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "real" / "bioscan1m_species_images"


@pytest.fixture
def run(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path) -> RunFolder:
    """A run folder with first weights, as if training had ended at once."""
    folder = RunFolder(Folder(tmp_path / "runs" / "amp" / tiny_spec.id))
    experiment = open_experiment(tiny_spec, tiny_dataset)
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
    facts = prepare(table, target, Wanted(name="photographs", image_size=64), map)
    assert sum(facts.num_specimens.values()) == 136

    evaluate_command(str(run.folder), str(target), None, "json")

    rows = json.loads(capsys.readouterr().out)
    own = [row for row in rows if row["method"] == "clibd"]
    assert {(row["query"], row["key"]) for row in own} == {("image", "image"), ("image", "text")}
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
    experiment = open_experiment(spec, tiny_dataset)
    folder.begin(spec, {"sweep": "train"}, {})
    write_inputs(folder, experiment)
    save_weights(folder.folder, experiment.model)
    folder.finish("finished")

    evaluate_command(str(folder.folder), str(tiny_dataset.folder), None, "md")

    assert "image to classes" in capsys.readouterr().out
    written = RunFolder(folder.folder / "evaluation-tiny")
    assert {row.metric for row in written.measurements()} == {"classifier_top1", "classifier_top5"}
    assert written.folder.has("classifier.parquet")


def test_barcodes_are_left_out_where_the_data_set_has_none(
    run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tiny_dataset.specimens()
    rows = table.rows(0, len(table))
    bare = SpecimenTable.at(tmp_path / "bare.parquet")
    with bare.writer(table.facts) as write:
        without = rows.set_column(rows.schema.get_field_index("barcode"), "barcode", pa.nulls(len(rows), pa.string()))
        for batch in without.combine_chunks().to_batches():
            write(batch)
    prepare(bare, Folder(tmp_path / "bare"), Wanted(name="bare", image_size=64), map)

    evaluate_command(str(run.folder), str(tmp_path / "bare"), None, "json")

    assert {row["query"] for row in json.loads(capsys.readouterr().out)} == {"image"}
