"""A run with first weights and a database of barcodes, both of a few synthetic insects."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from workloads.data.prepared.dataset import PreparedDataset
from workloads.identification.building import Known, write_specimens
from workloads.identification.database import DatabaseFacts, write_facts
from workloads.identification.embedding import KmerEmbedder
from workloads.identification.query import Query
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.record import RunFolder
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder


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
    path = tmp_path_factory.mktemp("runs") / "amp" / tiny_spec.id
    folder, experiment = RunFolder(Folder(path)), open_untrained(tiny_spec, tiny_dataset)
    folder.begin(tiny_spec, {"sweep": "amp"}, {})
    write_inputs(folder, experiment)
    save_weights(folder.folder, experiment.model)
    folder.finish("finished")
    return path


@pytest.fixture(scope="session")
def database_folder(whole: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the barcodes of every other specimen, without a model."""
    path = tmp_path_factory.mktemp("databases") / "DB"
    path.mkdir()
    rows = whole.select(["specimen_id", *RANKS, "bin", "barcode"]).to_pylist()[::2]
    known = [
        Known(Query(row["specimen_id"], barcode=row["barcode"]), {rank: row[rank] for rank in RANKS}, row["bin"])
        for row in rows
    ]
    written = write_specimens(Folder(path), [known], KmerEmbedder())
    facts = DatabaseFacts(
        name="insects",
        model=None,
        weights=None,
        modalities=("dna",),
        num_specimens=written.num_specimens,
        num_keys=written.num_keys,
        num_taxa={rank: len(names) for rank, names in written.taxa.items()},
        synthetic=True,
    )
    write_facts(Folder(path), facts)
    return path


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
