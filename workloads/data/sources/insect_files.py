"""The files of INSECT: the authors' MATLAB files and image folders, or the CSV and HDF5 made from them.

    res101.mat                      ids, species, nucleotides, labels, features (2048 x N): N = 21,212
    att_splits.mat                  trainval_loc, train_loc, val_loc, test_seen_loc, test_unseen_loc, att
    images/<species>/<id>.jpg       or .JPG

    INSECT_metadata.csv             ids, species, nucleotides, labels, and a column of 0 and 1 for each of the splits
    INSECT_images.hdf5              images/<id>, the bytes of one image file each

MATLAB counts from 1, so do its labels; the labels of the CSV count from 0.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.files.hdf5_files import datasets_of, open_hdf5
from workloads.data.files.image_source import hdf5_reference
from workloads.data.files.matlab import Array, read_variables, texts, zero_based
from workloads.data.sources.delimited import named, read_delimited
from workloads.data.sources.source import Refused, each
from workloads.errors import SourceError
from workloads.storage import Folder

FEATURES_FILE, SPLITS_FILE = "res101.mat", "att_splits.mat"
TABLE_FILE, IMAGES_FILE = "INSECT_metadata.csv", "INSECT_images.hdf5"
LINEAGE_FILES = ("specie_to_other_labels.json", "insect_species_lineage.tsv")
PUBLISHED = "published"
"""Folder of a prepared data set with the MATLAB files that it was made from, for zero-shot learning."""
SEED_VARIABLE = "synthetic_seed"
"""In the MATLAB files of synthetic specimens (`synthetic_insect` beside); the published files have none."""
LISTS = ("trainval", "train", "val", "test_seen", "test_unseen")
_IMAGE_FOLDERS = ("images", "INSECT_images/images")

ImageFinder = Callable[[str, str], str | None]
"""Image reference of a species and an image id."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A specimen as the files have it."""

    where: str
    identifier: str
    species: str | None
    barcode: str | None
    lists: frozenset[str]
    """The published lists that it is on."""
    label: str | None = None
    features: npt.NDArray[np.float32] | None = None


def variables(folder: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Array]:
    """Variables of the two MATLAB files together: INSECT's description and the files disagree on which holds which.

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: not a MATLAB file, or one of the needed variables is in neither.
    """
    wanted = {*needed, *optional}
    found = read_variables([folder / SPLITS_FILE, folder / FEATURES_FILE], wanted)
    if missing := sorted(set(needed) - set(found)):
        raise SourceError(str(folder), "", f"no {', '.join(missing)} in {FEATURES_FILE} or {SPLITS_FILE}")
    return found


def keep_published(folder: Path, target: Folder) -> None:
    """Keep the published image features and side information with a prepared data set, where they are."""
    for name in (FEATURES_FILE, SPLITS_FILE, *LINEAGE_FILES):
        if (folder / name).is_file():
            (target / PUBLISHED).write(name, (folder / name).read_bytes())


def synthetic_seed(folder: Path) -> int | None:
    """Of synthetic specimens in the form of INSECT; None for INSECT itself."""
    if not (folder / FEATURES_FILE).is_file() or not (folder / SPLITS_FILE).is_file():
        return None
    found = variables(folder, (), (SEED_VARIABLE,))
    return int(found[SEED_VARIABLE].item()) if SEED_VARIABLE in found else None


def matlab_specimens(folder: Path, with_features: bool) -> list[Specimen | Refused]:
    """The specimens of the MATLAB files in their order, with their image features if wanted and there.

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: not such a file, a variable that is missing or of another length, or an index that is none.
    """
    needed = ("ids", "species", *(f"{name}_loc" for name in LISTS))
    optional = ("nucleotides", "nucleotides_aligned", "labels", *(("features",) if with_features else ()))
    found = variables(folder, needed, optional)
    barcodes = found.get("nucleotides", found.get("nucleotides_aligned"))
    if barcodes is None:
        raise SourceError(str(folder), "", f"no nucleotides in {FEATURES_FILE} or {SPLITS_FILE}")
    ids = texts(folder, "ids", found["ids"])
    columns = {
        "species": texts(folder, "species", found["species"]),
        "nucleotides": texts(folder, "nucleotides", barcodes),
    }
    if "labels" in found:
        labels = zero_based(folder, "labels", found["labels"], len(ids))
        columns["labels"] = [str(label) for label in labels]
    for name, column in columns.items():
        if len(column) != len(ids):
            raise SourceError(str(folder), name, f"{len(column)} of them, but {len(ids)} ids")
    features = _features(folder, found.get("features"), len(ids))
    on = _lists(folder, found, len(ids))
    return [
        Specimen(
            where=f"record {index + 1}",
            identifier=identifier or "",
            species=columns["species"][index],
            barcode=columns["nucleotides"][index],
            lists=frozenset(on[index]),
            label=columns["labels"][index] if "labels" in columns else None,
            features=None if features is None else features[index],
        )
        for index, identifier in enumerate(ids)
    ]


def _lists(folder: Path, found: dict[str, Array], count: int) -> dict[int, set[str]]:
    """The published lists that each specimen is on, by its index."""
    on: dict[int, set[str]] = defaultdict(set)
    for name in LISTS:
        for index in zero_based(folder, f"{name}_loc", found[f"{name}_loc"], count).tolist():
            if name in on[index]:
                raise SourceError(str(folder), f"{name}_loc", f"index {index + 1} stands in it twice")
            on[index].add(name)
    return on


def _features(folder: Path, features: Array | None, count: int) -> npt.NDArray[np.float32] | None:
    """Features as rows, (N, 2048); the file has them as columns."""
    if features is None:
        return None
    if features.ndim != 2 or features.shape[1] != count or features.dtype.kind not in "fiu":
        reason = f"{features.dtype} of shape {features.shape}, not a column for each of {count} records"
        raise SourceError(str(folder), "features", reason)
    return np.ascontiguousarray(features.T, dtype=np.float32)


def table_specimens(path: Path) -> Iterator[Specimen | Refused]:
    """The specimens of the CSV in their order.

    Raises:
        SourceError: a column is missing, or the file is no such table.
    """
    header, lines = read_delimited(path, ",")
    if missing := {"ids", "species", "nucleotides", *LISTS} - set(header):
        raise SourceError(str(path), "first line", f"no column {', '.join(sorted(missing))}")
    yield from each(named(header, lines), _table_specimen)


def _table_specimen(values: dict[str, str]) -> Specimen | Refused:
    where = values["where"]
    if odd := [name for name in LISTS if values[name] not in ("0", "1")]:
        return Refused(values["ids"] or where, f"{where}: {odd[0]} is {values[odd[0]]!r}, neither 0 nor 1")
    return Specimen(
        where=where,
        identifier=values["ids"].strip(),
        species=values["species"].strip() or None,
        barcode=values["nucleotides"].strip() or None,
        lists=frozenset(name for name in LISTS if values[name] == "1"),
        label=values.get("labels"),
    )


def image_finder(folder: Path) -> ImageFinder | None:
    """Finds images among the files of the folder, or in the HDF5 file; None where there is neither.

    Raises:
        SourceError: the HDF5 file is none, or has no images.
    """
    for images in _IMAGE_FOLDERS:
        if (folder / images).is_dir():
            files = _image_files(folder, images)
            return lambda species, identifier: files.get((species, identifier))
    if (folder / IMAGES_FILE).is_file():
        with open_hdf5(folder / IMAGES_FILE) as file:  # links to other files are not followed
            datasets = {name for name in datasets_of(file, "images", own=True) if "#" not in name}
        return lambda _, name: hdf5_reference(IMAGES_FILE, f"images/{name}") if name in datasets else None
    return None


def _image_files(folder: Path, images: str) -> dict[tuple[str, str], str]:
    """Image files by species and id; .jpg goes before .JPG, as with the authors."""
    files: dict[tuple[str, str], str] = {}
    for file in sorted((folder / images).glob("*/*"), reverse=True):
        if file.suffix.lower() in (".jpg", ".jpeg"):
            key = (file.parent.name, file.stem)
            if key not in files or file.suffix == ".jpg":
                files[key] = f"{images}/{file.parent.name}/{file.name}"
    return files
