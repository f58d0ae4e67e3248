"""What many tests share: a tiny prepared data set of synthetic insects, and an experiment that fits it."""

from dataclasses import replace

import pyarrow as pa
import pytest

from workloads.data.frame import consensus
from workloads.data.partition import partition
from workloads.data.prepared import (
    SCHEMA_VERSION,
    DatasetFacts,
    PreparedDataset,
    count_specimens,
    write_facts,
)
from workloads.data.readers import import_synthetic
from workloads.data.schema import TRAINING_SPLITS, lineage_text, modalities_of, table_fingerprint
from workloads.data.shards import make_shard, plan_shards, rows_of_shards
from workloads.data.taxon_text import learn_word_pieces
from workloads.spec import DnaTower, ExperimentSpec, ImageTower, TextTower
from workloads.storage import Folder

IMAGE_SIZE = 64
NUM_SPECIMENS = 150
SEED = 3


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny arrays are slower on several threads than on one, much so beside other work."""
    import faiss
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """150 synthetic insects, prepared without Ray."""
    table = import_synthetic(NUM_SPECIMENS, SEED).table
    split = pa.array(partition(table["species"].to_pylist()), pa.string())
    table = table.set_column(table.schema.get_field_index("split"), "split", split)
    target = Folder(tmp_path_factory.mktemp("prepared") / "tiny")
    modalities = modalities_of(table)
    shards = plan_shards(table, rows_per_shard=40)
    frame = consensus(table["barcode"].to_pylist())
    reports = [
        make_shard(rows, shard, "", IMAGE_SIZE, modalities, frame, target)
        for shard, rows in rows_of_shards(table, shards)
    ]
    labels = [lineage_text(row) for row in table.to_pylist() if row["split"] in TRAINING_SPLITS]
    target.write("tokenizer.json", learn_word_pieces(labels).encode())
    facts = DatasetFacts(
        schema_version=SCHEMA_VERSION,
        name="tiny",
        fingerprint=f"{table_fingerprint(table)}-{IMAGE_SIZE}",
        synthetic=True,
        source="synthetic insects",
        seed=SEED,
        modalities=modalities,
        image_size=IMAGE_SIZE,
        frame=frame,
        feature_size=None,
        num_specimens=count_specimens(reports),
        num_rejects=sum(len(report.rejects) for report in reports),
    )
    write_facts(target, facts, [])
    return PreparedDataset(target)


@pytest.fixture(scope="session")
def tiny_spec(tiny_dataset: PreparedDataset) -> ExperimentSpec:
    """Towers of a few thousand parameters over the tiny data set; dropout is on, so that its seeds matter."""
    return ExperimentSpec(
        dataset=tiny_dataset.facts.name,
        data_fingerprint=tiny_dataset.facts.fingerprint,
        synthetic=True,
        image=ImageTower(
            architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=1, num_heads=3
        ),
        dna=DnaTower(width=16, depth=1, num_heads=2, hidden_width=32, dropout=0.1, token_dropout=0.1),
        text=TextTower(width=16, depth=1, num_heads=2, hidden_width=32, dropout=0.1),
        embedding_size=16,
        batch_size=16,
        epochs=3,
        max_learning_rate=3e-3,
        initial_learning_rate=1e-3,
        precision="fp32",
        seed=5,
    )


@pytest.fixture(scope="session")
def tiny_lora_spec(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """The same with frozen transformers and adapters."""
    return replace(tiny_spec, fine_tuning="lora")
