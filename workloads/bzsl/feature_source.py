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
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from workloads.arrays import Floats, Indices, Labels, Mask, Names
from workloads.data.files.matlab import zero_based
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.sources.beside import features_beside
from workloads.data.sources.insect import class_embeddings, insect_source
from workloads.data.sources.insect_files import FEATURES_FILE, PUBLISHED, SPLITS_FILE, variables
from workloads.data.sources.source import RawRecord, Refused
from workloads.data.specimens.partition import drawn_splits
from workloads.data.specimens.schema import clean_name
from workloads.errors import EmbeddingsError, MissingPathError, RecordError, SourceError, ZeroShotError
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.stored import read_parts, stored_parts
from workloads.record import read_evaluation
from workloads.spec import RANKS
from workloads.storage import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSource:
    """Specimens whose species is known, with image features, DNA features or both, and what is said of them."""

    kind: Literal["insect", "run", "arrays"]
    address: str
    ids: Names
    split: Names
    """Name of each specimen's split."""
    labels: Labels
    """Names by rank, None where missing; all ranks are there."""
    images: Floats | None
    """(specimens, size)."""
    dna: Floats | None
    """(specimens, other size)."""
    class_dna: Mapping[str, Floats] | None = None
    """DNA features of each species, where the source gives them as such, in the order of its classes."""
    synthetic: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    """What evaluation.json says: a run's own, and of features that are kept by a prepared data set."""

    @property
    def species(self) -> Names:
        """Species of each specimen."""
        return self.labels["species"]

    def take(self, chosen: Mask | Indices) -> "FeatureSource":
        """Some of the specimens."""
        return replace(
            self,
            ids=self.ids[chosen],
            split=self.split[chosen],
            labels={rank: names[chosen] for rank, names in self.labels.items()},
            images=None if self.images is None else self.images[chosen],
            dna=None if self.dna is None else self.dna[chosen],
        )

    def within(self, *splits: str) -> Mask:
        """Which specimens are in one of the splits."""
        return np.isin(self.split.astype(str), splits)


def read_source(address: str, seed: int) -> FeatureSource:
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


def _insect(folder: Path) -> FeatureSource:
    classes, rows = class_embeddings(folder)
    species = [str(name) for name in _cleaned(folder, classes)]
    if len(set(species)) < len(species):
        raise ZeroShotError("a species stands among the classes twice", "Merge its rows.")
    source = insect_source(folder, None, features_only=True)
    records: list[RawRecord] = []
    for record in source.records:
        if isinstance(record, Refused):
            raise SourceError(str(folder), "", record.reason)
        records.append(record)
    if any(record["image_features"] is None for record in records):
        raise SourceError(str(folder / FEATURES_FILE), "features", "not there, so there is nothing to tell species by")
    read = FeatureSource(
        kind="insect",
        address=str(folder),
        ids=_names([record["specimen_id"] for record in records]),
        split=_names([record["split"] for record in records]),
        labels={rank: _names([record.get(rank) for record in records]) for rank in RANKS},
        images=np.array([record["image_features"] for record in records], dtype=np.float32),
        dna=None,
        class_dna=dict(zip(species, rows, strict=True)),
        synthetic=source.synthetic_seed is not None,
    )
    # In the order of the published list, because the published draw shuffles that.
    train = zero_based(folder, "train_loc", variables(folder, ("train_loc",))["train_loc"], len(records))
    return _with_species(read.take(np.concatenate([train, np.setdiff1d(np.arange(len(records)), train)])))


def _prepared(data: Folder) -> FeatureSource:
    facts, kept = PreparedDataset(data).facts, data / PUBLISHED
    with tempfile.TemporaryDirectory() as scratch:
        for name in kept.files():
            kept.copy_to(name, Path(scratch) / name)
        read = _insect(Path(scratch))
    about = {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "official_split": facts.official_split}
    return replace(read, address=str(data), synthetic=read.synthetic or facts.synthetic, about=about)


def _run(run: Folder) -> FeatureSource:
    about = read_evaluation(run)
    parts = list(read_parts(run).values())
    read = FeatureSource(
        kind="run",
        address=str(run),
        ids=np.concatenate([part.ids for part in parts]),
        split=np.concatenate([part.split for part in parts]),
        labels={rank: np.concatenate([part.labels[rank] for part in parts]) for rank in RANKS},
        images=_rows(parts, "image", run),
        dna=_rows(parts, "dna", run),
        synthetic=about["synthetic"],
        about=about,
    )
    _, first = np.unique(read.ids.astype(str), return_index=True)
    return _with_species(read.take(np.sort(first)))  # a record may stand in several parts


def _rows(parts: Sequence[Embedded], modality: str, run: Folder) -> Floats | None:
    """Embeddings of all parts; None where one of them lacks the modality."""
    if not all(modality in part.rows for part in parts):
        return None
    if any(modality in part.lacking for part in parts):
        raise EmbeddingsError(
            f"some specimens have no {modality}, which Bayesian zero-shot learning needs of all; "
            "`clibd data prepare --complete` leaves them out",
            f"{run}/embeddings",
        )
    rows = [part.rows[modality] for part in parts]
    if len(sizes := {own.shape[1] for own in rows}) > 1:
        raise EmbeddingsError(f"'{modality}' has the sizes {sorted(sizes)} in its parts", f"{run}/embeddings")
    return np.concatenate(rows)


def _arrays(folder: Path, path: Path, seed: int) -> FeatureSource:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
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
    read = _with_species(
        FeatureSource(
            kind="arrays",
            address=str(folder),
            ids=_names(table[identifier].to_pylist() if identifier else [f"row {n}" for n in range(len(table))]),
            split=_names(table["split"].to_pylist() if "split" in columns else missing),
            labels=labels,
            images=arrays["image"],
            dna=arrays["dna"],
        )
    )
    return read if "split" in columns else replace(read, split=drawn_splits(read.species, seed))


def _array(folder: Path, what: str, count: int) -> Floats | None:
    beside = features_beside(folder, f"{what}_features")
    if beside is None:
        return None
    file, rows = beside
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


def _with_species(source: FeatureSource) -> FeatureSource:
    return source.take(np.array([name is not None for name in source.species], dtype=bool))
