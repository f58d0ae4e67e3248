"""Small databases for tests: of a few barcodes, and of a run with first weights over synthetic insects."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.sources.tables import table_source
from workloads.evaluation.trained_on import of_training
from workloads.identification.building import About, Doing, base_of, build
from workloads.identification.database import Database
from workloads.identification.material import Material, of_source
from workloads.identification.writing import Written
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

BARCODES = ("ACGTACGGTCATTGACCA" * 12, "TTGACCATGGACATTCAG" * 12, "GGATCCATTTACGACGAT" * 12)
ROWS = (
    ("a", "Apis mellifera", "Apis", BARCODES[0]),
    ("b", "Apis cerana", "Apis", BARCODES[1]),
    ("c", "Bombus hortorum", "Bombus", BARCODES[2]),
    ("d", "Apis mellifera", "Apis", BARCODES[0]),
)
"""Id, species, genus and barcode."""


def table(path: Path, rows: Iterable[Sequence[str]] = ROWS) -> Path:
    """A table of specimens as people have it."""
    lines = ["processid\tspecies\tgenus\tnuc", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def material(path: Path, rows: Iterable[Sequence[str]] = ROWS) -> Material:
    """Specimens of a table."""
    return of_source(table_source(table(path, rows), {}))


def kmer_database(
    folder: Path, rows: Iterable[Sequence[str]] = ROWS, doing: Doing | None = None, about: About | None = None
) -> Database:
    """A database without a model."""
    build(folder, material(folder.with_suffix(".tsv"), rows), base_of(None), doing=doing, about=about)
    return Database(folder)


def finished_run(folder: Path, spec: ExperimentSpec, dataset: PreparedDataset) -> RunFolder:
    """A run with first weights, as if training had ended at once."""
    run = RunFolder(Folder(folder / spec.id))
    loaded = open_untrained(spec, dataset)
    run.begin(spec, {"sweep": "amp"}, {})
    write_inputs(run, loaded)
    save_weights(run.folder, loaded.model)
    of_training(spec, dataset).write(run)
    run.finish("finished")
    return run


def ids(database: Database) -> list[str]:
    """Of its specimens, in their order."""
    found: list[str] = database.specimens["specimen_id"].to_pylist()
    return found


def left_out(written: Written) -> dict[str, str]:
    """Reasons by id."""
    return dict(written.left_out)
