"""Where features come from: INSECT's MATLAB files, the embeddings of a run, or a table with arrays beside.

FOLDER/res101.mat, att_splits.mat             INSECT: image features, splits, DNA of each species
DATA/published/res101.mat ...                 the same, kept by INSECT prepared
RUN/embeddings/*.parquet                      specimen_id, split, order ... species, image, dna
FOLDER/NAME.parquet with image_features*.npy  rows of the table and of the arrays belong together;
       and dna_features*.npy                  a column `split` is kept, else the partition is drawn
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from workloads.arrays import Floats, Names
from workloads.bzsl.pool import Pool, Side, side_of
from workloads.data.files.matlab import zero_based
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.official import official_split
from workloads.data.sources.beside import features_beside
from workloads.data.sources.insect import class_embeddings, lineages_for
from workloads.data.sources.insect_files import (
    FEATURES_FILE,
    PUBLISHED,
    SPLITS_FILE,
    matlab_specimens,
    synthetic_seed,
    variables,
)
from workloads.data.sources.source import Refused
from workloads.data.specimens.partition import drawn_splits
from workloads.data.specimens.schema import clean_name
from workloads.errors import EmbeddingsError, MissingPathError, RecordError, SourceError
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.stored import read_embedded, stored_facts, stored_parts
from workloads.record import read_evaluation
from workloads.spec import RANKS, Recipe
from workloads.storage import Folder

Kind = Literal["insect", "run", "arrays"]


@dataclass(frozen=True, slots=True)
class Source:
    """What was read."""

    kind: Kind
    address: str
    pool: Pool
    side: Side | None = None
    """DNA of species that the source gives as such."""
    order: tuple[str, ...] | None = None
    """Of the classes, if the source has one."""
    dataset: str = ""
    """That a run was made from, as its spec names it."""
    synthetic: bool = False
    about: Mapping[str, str | None] = field(default_factory=dict)
    """What evaluation.json says of features that are kept by a prepared data set."""

    def side_information(self, recipe: Recipe) -> Side:
        """DNA of the species: as given, or from that of the specimens.

        Raises:
            ZeroShotError: the source has none.
        """
        return self.side or side_of(self.pool, recipe)


def read_source(address: str, seed: int) -> Source:
    """Read features of any of the three kinds.

    Args:
        address: folder, or a run's address.
        seed: of the partition of arrays without splits.

    Raises:
        MissingPathError: it is none of the three, or a run that was not measured to the end.
        SourceError: a file is not what its name says.
        EmbeddingsError: embeddings that are not whole, or not finite.
        DamagedError: a file of embeddings that is not as we write it.
    """
    folder = Path(address)
    if (folder / FEATURES_FILE).is_file() and (folder / SPLITS_FILE).is_file():
        return _insect(folder)
    if (Folder(address) / PUBLISHED).has(FEATURES_FILE):
        return _prepared(Folder(address))
    if stored_parts(Folder(address)):
        return _run(Folder(address))
    tables = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if len(tables) == 1 and list(folder.glob("*_features*.npy")):
        return _arrays(folder, tables[0], seed)
    wanted = f"features ({FEATURES_FILE} with {SPLITS_FILE}, a run with embeddings, or one table with *_features*.npy)"
    if Folder(address).has("dataset.json"):
        remedy = f"Prepare INSECT anew from the folder of its {FEATURES_FILE} and {SPLITS_FILE}, which keeps them."
        raise MissingPathError(address, wanted, remedy)
    raise MissingPathError(address, wanted, "For a run, measure it first with `clibd evaluate`.")


def _insect(folder: Path) -> Source:
    classes, rows = class_embeddings(folder)
    specimens = [found for found in matlab_specimens(folder, with_features=True) if not isinstance(found, Refused)]
    if any(specimen.features is None for specimen in specimens):
        raise SourceError(str(folder / FEATURES_FILE), "features", "not there, so there is nothing to tell species by")
    lineages = lineages_for(folder, None)
    species = _cleaned(folder, [specimen.species for specimen in specimens])
    found = [lineages.of(name) if name else {} for name in species]
    labels: dict[str, Names] = {rank: _names([lineage.get(rank) for lineage in found]) for rank in RANKS}
    pool = Pool(
        ids=_names([specimen.identifier for specimen in specimens]),
        split=_names([_split(specimen.lists) for specimen in specimens]),
        labels=labels | {"species": _names(species)},
        images=np.array([specimen.features for specimen in specimens], dtype=np.float32),
        dna=None,
    )
    # In the order of the published list, because the published draw shuffles that.
    train = zero_based(folder, "train_loc", variables(folder, ("train_loc",))["train_loc"], len(pool))
    pool = pool.take(np.concatenate([train, np.setdiff1d(np.arange(len(pool)), train)]))
    order = tuple(str(name) for name in _cleaned(folder, classes))
    synthetic = synthetic_seed(folder) is not None
    return Source("insect", str(folder), _with_species(pool), Side(order, rows), order, synthetic=synthetic)


def _prepared(data: Folder) -> Source:
    facts, kept = PreparedDataset(data).facts, data / PUBLISHED
    with tempfile.TemporaryDirectory() as scratch:
        for name in kept.files():
            kept.copy_to(name, Path(scratch) / name)
        found = _insect(Path(scratch))
    about = {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "official_split": official_split(facts)}
    return replace(found, address=str(data), synthetic=found.synthetic or facts.synthetic, about=about)


def _split(lists: frozenset[str]) -> str:
    """Split of a specimen by the lists it is on; one that is on test_seen and on train is only tested."""
    splits = {"test_unseen": "test_unseen", "test_seen": "test_seen", "train": "train_seen", "val": "val_classes"}
    return next((split for name, split in splits.items() if name in lists), "no_split")


def _run(run: Folder) -> Source:
    about = read_evaluation(run)
    parts = [read_embedded(run, part) for part in stored_parts(run)]
    facts = stored_facts(run)
    pool = Pool(
        ids=np.concatenate([part.ids for part in parts]),
        split=np.concatenate([part.split for part in parts]),
        labels={rank: np.concatenate([part.labels[rank] for part in parts]) for rank in RANKS},
        images=_rows(parts, "image", run),
        dna=_rows(parts, "dna", run),
    )
    _, first = np.unique(pool.ids.astype(str), return_index=True)
    pool = pool.take(np.sort(first))  # a record may stand in several parts
    return Source(
        "run", str(run), _with_species(pool), dataset=facts.dataset if facts else "", synthetic=about["synthetic"]
    )


def _rows(parts: Sequence[Embedded], modality: str, run: Folder) -> Floats | None:
    """Embeddings of all parts; None where one of them lacks the modality."""
    found = [part.rows[modality] for part in parts if modality in part.rows]
    if len(found) < len(parts):
        return None
    if len(sizes := {rows.shape[1] for rows in found}) > 1:
        raise EmbeddingsError(f"'{modality}' has the sizes {sorted(sizes)} in its parts", f"{run}/embeddings")
    return np.concatenate(found)


def _arrays(folder: Path, path: Path, seed: int) -> Source:
    with pq.ParquetFile(path) as file:
        columns = [name for name in (*RANKS, "specimen_id", "processid", "split") if name in file.schema_arrow.names]
        table = file.read(columns=columns)
    if "species" not in columns:
        raise SourceError(str(path), "", "no column species")
    arrays: dict[str, Floats | None] = {name: _array(folder, name, len(table)) for name in ("image", "dna")}
    identifier = next((name for name in ("specimen_id", "processid") if name in columns), None)
    missing: list[str | None] = [None] * len(table)
    labels: dict[str, Names] = {
        rank: _names(_cleaned(path, table[rank].to_pylist()) if rank in columns else missing) for rank in RANKS
    }
    pool = Pool(
        ids=_names(table[identifier].to_pylist() if identifier else [f"row {n}" for n in range(len(table))]),
        split=_names(table["split"].to_pylist() if "split" in columns else missing),
        labels=labels,
        images=arrays["image"],
        dna=arrays["dna"],
    )
    pool = _with_species(pool)
    if "split" not in columns:
        pool = Pool(pool.ids, drawn_splits(pool.species, seed), pool.labels, pool.images, pool.dna)
    return Source("arrays", str(folder), pool)


def _array(folder: Path, what: str, count: int) -> Floats | None:
    found = features_beside(folder, f"{what}_features")
    if found is None:
        return None
    file, rows = found
    if len(rows) != count or rows.dtype.kind != "f":
        reason = f"{rows.dtype} of shape {rows.shape}, not a row for each of {count} records"
        raise SourceError(str(file), "", reason)
    return np.array(rows, dtype=np.float32)


def _names(values: list[str | None]) -> Names:
    return np.array(values, dtype=object)


def _cleaned(path: Path, names: Iterable[str | None]) -> list[str | None]:
    try:
        return [clean_name(name) for name in names]
    except RecordError as error:
        raise SourceError(str(path), "", str(error)) from error


def _with_species(pool: Pool) -> Pool:
    return pool.take(np.array([name is not None for name in pool.species], dtype=bool))
