"""Folders of runs whose answers, pictures and barcodes pages show."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from results.dashboard.catalog import Catalog
from tests.results.figures.made_up import Row, write_evaluated
from workloads.data.files.images import thumbnail
from workloads.data.prepared.dataset import PreparedDataset
from workloads.experiments import Data, base_spec
from workloads.shown import LONGEST_SIDE, SHOWN_SCHEMA
from workloads.spec import RANKS
from workloads.storage import Folder

PAIRS = [("image", "dna"), ("dna", "dna"), ("image", "image")]


def answered_run(
    runs: Path,
    rows: Sequence[Row],
    name: str = "insects",
    fingerprint: str = "0-64",
    shown: pa.Table | None = None,
    synthetic: bool = True,
) -> str:
    """Leaves an evaluated run under a folder of runs; gives its id."""
    data = Data(name=name, fingerprint=fingerprint, synthetic=synthetic, modalities=("image", "dna", "text"))
    run = base_spec("small", data, seed=42).id
    about = {"dataset": name, "fingerprint": fingerprint, "synthetic": synthetic}
    write_evaluated(runs / "train" / run, rows, pairs=PAIRS, shown=shown, **about)  # type: ignore[arg-type] # by name
    return run


def rows_of(dataset: PreparedDataset) -> list[Row]:
    """Queries and keys of a data set."""
    protocol = dataset.facts.splits
    splits = [split for split in protocol.splits if split not in (*protocol.training, *protocol.unused)]
    rows: list[Row] = dataset.load(splits, ["specimen_id", *RANKS]).to_pylist()
    return rows


def shown_of(dataset: PreparedDataset, rows: Sequence[Row]) -> pa.Table:
    """Thumbnails and barcodes of some of its specimens, as an evaluation keeps them."""
    splits = sorted({str(row["split"]) for row in rows})
    found = dataset.find(splits, ["image", "barcode"], [str(row["specimen_id"]) for row in rows]).to_pylist()
    kept = [(one["specimen_id"], thumbnail(one["image"], LONGEST_SIDE), one["barcode"]) for one in found]
    return pa.table([list(column) for column in zip(*kept, strict=True)], schema=SHOWN_SCHEMA)


def catalog_of(runs: Path, data: PreparedDataset | None = None) -> Catalog:
    """A catalogue of them."""
    return Catalog(Folder(runs), None if data is None else data.folder)
