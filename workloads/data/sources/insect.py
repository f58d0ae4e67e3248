"""INSECT (Badirli et al. 2021), a zero-shot data set: the authors' MATLAB files, or the CSV and HDF5 made from them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.files.matlab import texts, zero_based
from workloads.data.sources.insect_files import (
    FEATURES_FILE,
    LINEAGE_FILES,
    LISTS,
    SPLITS_FILE,
    TABLE_FILE,
    ImageFinder,
    Specimen,
    image_finder,
    matlab_specimens,
    synthetic_seed,
    table_specimens,
    variables,
)
from workloads.data.sources.insect_lineage import Lineages, read_lineages
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.schema import clean_name
from workloads.errors import MissingPathError, RecordError, SourceError

_SPLIT_OF: dict[frozenset[str], str] = {
    frozenset({"trainval", "train"}): "train_seen",
    frozenset({"trainval", "val"}): "val_classes",
    frozenset({"test_seen"}): "test_seen",
    frozenset({"test_seen", "train"}): "test_seen",
    frozenset({"test_seen", "val"}): "test_seen",
    frozenset({"test_unseen"}): "test_unseen",
    frozenset(): "no_split",
}
"""Our split of a specimen by the published lists that it is on.

Train and val share out trainval by class. Other zero-shot data sets (Xian et al. 2017) share out the test_seen
specimens of these classes too; such a specimen stays a test query.
"""


def insect_source(path: Path, taxonomy: Path | None) -> Source:
    """INSECT's specimens with their published splits.

    Args:
        path: folder with `res101.mat` and `att_splits.mat`, or with `INSECT_metadata.csv`; or one of these files.
        taxonomy: table of lineages (see `insect_lineage`). Default: the one that lies in the folder, if any.

    Raises:
        MissingPathError: none of these files is there.
        SourceError: a file that is not what its name says, or lists that contradict one another.
    """
    folder = path if path.is_dir() else path.parent
    names = {name for name in (FEATURES_FILE, SPLITS_FILE, TABLE_FILE) if (folder / name).is_file()}
    if not (path.is_dir() or path.name in names) or not (TABLE_FILE in names or {FEATURES_FILE, SPLITS_FILE} <= names):
        wanted = f"{FEATURES_FILE} with {SPLITS_FILE}, and no {TABLE_FILE},"
        raise MissingPathError(str(path), wanted, "Name the folder that holds INSECT.")
    lineages = lineages_for(folder, taxonomy)
    find_image = image_finder(folder)
    notes: list[str] = []
    specimens: Iterable[Specimen | Refused]
    if TABLE_FILE in names and (path.name == TABLE_FILE or not {FEATURES_FILE, SPLITS_FILE} <= names):
        specimens = table_specimens(folder / TABLE_FILE)
    else:
        specimens = matlab_specimens(folder, with_features=find_image is None)
    records = _records(specimens, find_image, lineages, _Census(str(folder)), notes)
    return Source(
        name=str(path),
        records=records,
        root=str(folder),
        total=len(specimens) if isinstance(specimens, list) else None,
        protocol="insect",
        has_splits=True,
        synthetic_seed=synthetic_seed(folder),
        notes=notes,
    )


def class_embeddings(path: Path) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """The classes of INSECT in the order of their labels, and what their barcodes say of them.

    Args:
        path: folder with `res101.mat` and `att_splits.mat`.

    Returns:
        Species of each class, and its embedding by a network trained on barcodes (`att`), (num_classes, 500).

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: a file that is not what its name says, or a class without specimens.
    """
    found = variables(path, ("labels", "species", "att"))
    embeddings = found["att"]
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not np.isfinite(embeddings).all():
        raise SourceError(str(path), "att", f"{embeddings.dtype} of shape {embeddings.shape}, not finite columns")
    num_classes = embeddings.shape[1]
    labels = zero_based(path, "labels", found["labels"], num_classes)
    species = texts(path, "species", found["species"])
    names = dict(zip(labels.tolist(), species, strict=True)) if len(labels) == len(species) else {}
    ordered = [names.get(label) for label in range(num_classes)]
    if None in ordered:
        raise SourceError(str(path), "labels", f"class {ordered.index(None) + 1} has no specimen with a species")
    return tuple(str(name) for name in ordered), np.ascontiguousarray(embeddings.T, dtype=np.float32)


def lineages_for(folder: Path, taxonomy: Path | None) -> Lineages:
    """Lineages from the table named, else from the one that lies in INSECT's folder, else none."""
    is_real = synthetic_seed(folder) is None
    table = taxonomy or next((folder / name for name in LINEAGE_FILES if (folder / name).is_file()), None)
    return read_lineages(table, is_real) if table else Lineages({}, "no table")


def _records(
    specimens: Iterable[Specimen | Refused],
    find_image: ImageFinder | None,
    lineages: Lineages,
    census: "_Census",
    notes: list[str],
) -> Iterator[RawRecord | Refused]:
    for specimen in specimens:
        if isinstance(specimen, Refused):
            yield specimen
            continue
        try:
            species = clean_name(specimen.species)
        except RecordError as error:
            yield Refused(specimen.identifier or specimen.where, f"{specimen.where}: {error}")
            continue
        image = find_image(specimen.species or "", specimen.identifier) if find_image else None
        yield {
            "where": specimen.where,
            "specimen_id": specimen.identifier,
            "species": species,
            **(lineages.of(species) if species else {}),
            "barcode": specimen.barcode,
            "image": image,
            "image_features": specimen.features,
            "split": census.split(specimen, species, find_image is not None and image is None),
        }
    notes += [*lineages.notes(), *census.notes()]


@dataclass
class _Census:
    """What the lists and labels of all specimens together say."""

    source: str
    species_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Species of each split."""
    label_of: dict[str, str] = field(default_factory=dict)
    """First label of each species."""
    relabelled: set[str] = field(default_factory=set)
    num_shared: int = 0
    num_without_image: int = 0

    def split(self, specimen: Specimen, species: str | None, lacks_image: bool) -> str:
        """The split of a specimen, which is counted.

        Raises:
            SourceError: it is on lists that exclude one another, or trainval is not what train and val share out.
        """
        split = _SPLIT_OF.get(specimen.lists)
        if split is None:
            on = ", ".join(name for name in LISTS if name in specimen.lists)
            reason = f"it is on the lists {on}, but trainval is train and val together, and apart from the tests"
            raise SourceError(self.source, specimen.where, reason)
        self.num_shared += "test_seen" in specimen.lists and len(specimen.lists) > 1
        self.num_without_image += lacks_image
        if species is not None:
            self.species_of[split].add(species)
            if specimen.label is not None and self.label_of.setdefault(species, specimen.label) != specimen.label:
                self.relabelled.add(species)
        return split

    def notes(self) -> list[str]:
        """Remarks on the splits.

        Raises:
            SourceError: a species of test_unseen is seen in training.
        """
        train, val = self.species_of["train_seen"], self.species_of["val_classes"]
        if known := sorted(self.species_of["test_unseen"] & (train | val | self.species_of["test_seen"])):
            reason = f"{known[0]} and {len(known) - 1} more of test_unseen are on other lists too"
            raise SourceError(self.source, "", reason)
        remarks = [
            (self.num_without_image, "specimens have no image file"),
            (self.num_shared, "test_seen specimens are on train_loc or val_loc too; they are only tested"),
            (len(train & val), "species are in train and in val; val is not unseen"),
            (len(self.species_of["test_seen"] - train), "species of test_seen have no specimen in train, only in val"),
            (len(self.relabelled), f"species have several labels, such as {min(self.relabelled, default='')}"),
        ]
        return [f"{count:,} {remark}" for count, remark in remarks if count]
