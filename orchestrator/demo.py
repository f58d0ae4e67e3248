"""The built-in data set of `--demo`: synthetic insects, partitioned and prepared once."""

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from orchestrator.prepare import prepare
from orchestrator.progress import counting
from workloads.data.partition import partition
from workloads.data.prepared import SCHEMA_VERSION, DatasetFacts, PreparedDataset
from workloads.data.readers import import_synthetic
from workloads.data.schema import modalities_of, table_fingerprint
from workloads.data.synthetic_images import SIDE
from workloads.storage import Folder

NAME = "synthetic-insects"
NUM_SPECIMENS = 3000
SEED = 8


def _specimens() -> pa.Table:
    table = import_synthetic(NUM_SPECIMENS, SEED).table
    split = pa.array(partition(table["species"].to_pylist()), pa.string())
    return table.set_column(table.schema.get_field_index("split"), "split", split)


def prepare_demo(target: Folder, console: Console) -> DatasetFacts:
    """Prepare the synthetic insects unless they are there."""
    if target.has("dataset.json"):
        return PreparedDataset(target).facts
    table = _specimens()
    with counting(console, f"Drawing and preparing {len(table):,} synthetic insects", "shards") as told:
        return prepare(
            table,
            target,
            name=NAME,
            root="",
            image_size=SIDE,
            synthetic_seed=SEED,
            source=f"synthetic insects, {NUM_SPECIMENS} specimens, seed {SEED}",
            on_shard=told,
        )


def demo_facts() -> DatasetFacts:
    """What the prepared demo will hold, without preparing it."""
    table = _specimens()
    counts = {item["values"]: item["counts"] for item in pc.value_counts(table["split"]).to_pylist()}
    return DatasetFacts(
        schema_version=SCHEMA_VERSION,
        name=NAME,
        fingerprint=f"{table_fingerprint(table)}-{SIDE}",
        synthetic=True,
        source="synthetic insects",
        seed=SEED,
        modalities=modalities_of(table),
        image_size=SIDE,
        frame="",
        feature_size=None,
        num_specimens=counts,
        num_rejects=0,
    )
