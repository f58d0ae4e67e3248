"""`clibd evaluate`: a finished run embeds real photographs it was not trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.evaluate_command import evaluate_command
from workloads.data.partition import partition
from workloads.data.prepared import PreparedDataset, count_specimens, write_facts
from workloads.data.readers import import_specimens
from workloads.data.schema import modalities_of
from workloads.data.shards import make_shard, plan_shards, rows_of_shards
from workloads.experiment import open_model
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.checkpoint import MODEL, save_weights

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "real" / "bioscan1m_species_images"


@pytest.fixture
def run(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path) -> RunFolder:
    """A run folder with first weights, as if training had ended at once."""
    folder = RunFolder(Folder(tmp_path / "runs" / "amp" / tiny_spec.id))
    model, _ = open_model(tiny_spec, None, tiny_dataset.tokenizer_json())
    folder.begin(tiny_spec, {"sweep": "amp"}, {})
    folder.folder.write_json("inputs.json", {"feature_size": None})
    folder.folder.write("tokenizer.json", tiny_dataset.tokenizer_json().encode())
    save_weights(tmp_path, model)
    folder.folder.write(MODEL, (tmp_path / MODEL).read_bytes())
    folder.finish("finished")
    return folder


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"the photographs are not at {PHOTOGRAPHS}")
def test_real_photographs_are_embedded_and_retrieved(
    run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = import_specimens(PHOTOGRAPHS)
    split = pa.array(partition(imported.table["species"].to_pylist()), pa.string())
    table = imported.table.set_column(imported.table.schema.get_field_index("split"), "split", split)
    target = Folder(tmp_path / "photographs")
    shards = rows_of_shards(table, plan_shards(table))
    reports = [make_shard(rows, s, imported.root, 64, modalities_of(table), "", target) for s, rows in shards]
    facts = replace(
        tiny_dataset.facts,
        name="photographs",
        synthetic=False,
        modalities=modalities_of(table),
        num_specimens=count_specimens(reports),
    )
    write_facts(target, facts, [])
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
