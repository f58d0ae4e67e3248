"""The built-in data set of `--demo`: synthetic insects, partitioned and prepared once."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from orchestrator.prepare import run_on_ray
from orchestrator.progress import counting
from workloads.data.collect import collect
from workloads.data.partition import partition
from workloads.data.preparation import Wanted, first_facts, prepare
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.data.sources.synthetic_source import synthetic_source
from workloads.data.specimen_table import SpecimenTable
from workloads.data.synthetic_images import SIDE
from workloads.storage import Folder

NAME = "synthetic-insects"
NUM_SPECIMENS = 3000
SEED = 8
WANTED = Wanted(name=NAME, image_size=SIDE)


@contextmanager
def _specimens() -> Iterator[SpecimenTable]:
    """The partitioned specimen table, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as scratch:
        table = SpecimenTable.at(Path(scratch) / "specimens.parquet")
        collect(synthetic_source(NUM_SPECIMENS, SEED), table)
        table.with_splits(partition(table.column("species"), "paper"), "paper, seed 42", table)
        yield table


def prepare_demo(target: Folder, console: Console) -> DatasetFacts:
    """Prepare the synthetic insects unless they are there."""
    if target.has("dataset.json"):
        return PreparedDataset(target).facts
    what = f"Drawing and preparing {NUM_SPECIMENS:,} synthetic insects"
    with _specimens() as table, counting(console, what, "shards") as told:
        return prepare(table, target, WANTED, run_on_ray, told)


def demo_facts() -> DatasetFacts:
    """What the prepared demo will hold, without preparing it."""
    with _specimens() as table:
        return first_facts(table, WANTED)
