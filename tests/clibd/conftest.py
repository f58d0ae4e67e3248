"""A run with first weights and a database of barcodes, both of a few synthetic insects."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.identification.databases import finished_run
from tests.identification.small_database import known, made
from workloads.data.prepared.dataset import PreparedDataset
from workloads.spec import RANKS, ExperimentSpec


@pytest.fixture(scope="session")
def whole(tiny_dataset: PreparedDataset) -> pa.Table:
    """All specimens of the tiny data set, with their pictures, barcodes and names."""
    splits = [split for split, count in tiny_dataset.facts.num_specimens.items() if count]
    table = tiny_dataset.open(splits)
    about = tiny_dataset.load(splits, ["specimen_id", *RANKS, "bin"])
    columns = {name: table[name] for name in ("image", "barcode", "text") if name in table.column_names}
    return pa.table({**{name: about[name] for name in about.column_names}, **columns})


@pytest.fixture(scope="session")
def run_folder(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with first weights, as if training had ended at once."""
    return Path(str(finished_run(tmp_path_factory.mktemp("runs"), tiny_spec, tiny_dataset).folder))


@pytest.fixture(scope="session")
def database_folder(whole: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the barcodes of every other specimen, without a model and without a calibration."""
    rows = [row for row in whole.to_pylist()[::2] if row["barcode"]]
    specimens = [known(row["specimen_id"], row["barcode"], [row[rank] for rank in RANKS], row["bin"]) for row in rows]
    return Path(str(made(tmp_path_factory.mktemp("databases") / "DB", specimens, name="insects").folder))


@pytest.fixture
def desk(
    run_folder: Path,
    database_folder: Path,
    tiny_dataset: PreparedDataset,
    whole: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with what the documents name: RUN, DATA, DB, two pictures, barcodes and a table."""
    for name, place in (("RUN", run_folder), ("DATA", Path(str(tiny_dataset.folder))), ("DB", database_folder)):
        shutil.copytree(place, tmp_path / name)
    some = whole.slice(0, 60).to_pylist()
    for name, row in zip(("wing.jpg", "leg.jpg"), some, strict=False):
        (tmp_path / name).write_bytes(row["image"])
    fasta = "".join(f">{row['specimen_id']}\n{row['barcode']}\n" for row in some[:3])
    (tmp_path / "barcodes.fasta").write_text(fasta)
    header, *names = ["id", *RANKS, "barcode"], *RANKS
    lines = [[row["specimen_id"], *(row[name] or "" for name in names), row["barcode"]] for row in some]
    (tmp_path / "insects.csv").write_text("\n".join(map(",".join, [header, *lines])) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
