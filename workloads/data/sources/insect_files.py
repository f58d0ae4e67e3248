"""The files of INSECT: the authors' MATLAB files and image folders, or the CSV and HDF5 made from them.

    res101.mat                      ids, species, nucleotides, labels, features (2048 x N): N = 21,212
    att_splits.mat                  trainval_loc, train_loc, val_loc, test_seen_loc, test_unseen_loc, att
    images/<species>/<id>.jpg       or .JPG

    INSECT_metadata.csv             ids, species, nucleotides, labels, and a column of 0 and 1 for each of the splits
    INSECT_images.hdf5              images/<id>, the bytes of one image file each

MATLAB counts from 1, so do its labels; the labels of the CSV count from 0.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from workloads.arrays import Floats
from workloads.data.files.hdf5_files import datasets_of, open_hdf5
from workloads.data.files.image_index import ImageIndex, image_files
from workloads.data.files.image_source import hdf5_reference
from workloads.data.files.matlab import Array, read_variables, texts, zero_based
from workloads.data.files.zip_members import Member
from workloads.data.sources.delimited import TableRow, read_delimited
from workloads.data.sources.source import RawRecord, Records, Refused, each
from workloads.errors import MissingPathError, SourceError
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


def variables(folder: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Array]:
    """Variables of the two MATLAB files together: INSECT's description and the files disagree on which holds which.

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: not a MATLAB file, or one of the needed variables is in neither.
    """
    wanted = {*needed, *optional}
    values = read_variables([folder / SPLITS_FILE, folder / FEATURES_FILE], wanted)
    if missing := sorted(set(needed) - set(values)):
        raise SourceError(folder, "", f"no {', '.join(missing)} in {FEATURES_FILE} or {SPLITS_FILE}")
    return values


def keep_published(folder: Path, target: Folder) -> None:
    """Keep the published image features and side information with a prepared data set, where they are."""
    for name in (FEATURES_FILE, SPLITS_FILE, *LINEAGE_FILES):
        if (folder / name).is_file():
            (target / PUBLISHED).write(name, (folder / name).read_bytes())


def open_specimens(path: Path, features_only: bool = False) -> tuple[Records, ImageFinder | None, int | None]:
    """The specimens of a folder with INSECT in either form, or of one of its files; what finds their images; the seed.

    Beside what other records have, `lists` are the published lists that a specimen is on, and `label` is its class.
    Where the published features are wanted alone, nothing finds an image. Only synthetic specimens have a seed.

    Raises:
        MissingPathError: none of the files is there.
        SourceError: a file is not what its name says.
    """
    folder = path if path.is_dir() else path.parent
    names = {name for name in (FEATURES_FILE, SPLITS_FILE, TABLE_FILE) if (folder / name).is_file()}
    has_matlab = {FEATURES_FILE, SPLITS_FILE} <= names
    if not (path.is_dir() or path.name in names) or not (TABLE_FILE in names or has_matlab):
        wanted = f"{FEATURES_FILE} with {SPLITS_FILE}, and no {TABLE_FILE},"
        raise MissingPathError(path, wanted, "Name the folder that holds INSECT.")
    find_image = None if features_only else _image_finder(folder)
    if TABLE_FILE in names and (path.name == TABLE_FILE or not has_matlab):
        return _table_specimens(folder / TABLE_FILE), find_image, None
    specimens, seed = _matlab_specimens(folder, with_features=find_image is None)
    return specimens, find_image, seed


def _matlab_specimens(folder: Path, with_features: bool) -> tuple[list[RawRecord], int | None]:
    """The specimens of the MATLAB files in their order, with their image features if wanted and there; their seed."""
    needed = ("ids", "species", *(f"{name}_loc" for name in LISTS))
    optional = (
        "nucleotides",
        "nucleotides_aligned",
        "labels",
        SEED_VARIABLE,
        *(("features",) if with_features else ()),
    )
    values = variables(folder, needed, optional)
    barcodes = values.get("nucleotides", values.get("nucleotides_aligned"))
    if barcodes is None:
        raise SourceError(folder, "", f"no nucleotides in {FEATURES_FILE} or {SPLITS_FILE}")
    ids = [name or "" for name in texts(folder, "ids", values["ids"])]
    columns: dict[str, Sequence[object]] = {
        "species": texts(folder, "species", values["species"]),
        "nucleotides": texts(folder, "nucleotides", barcodes),
        "labels": [None] * len(ids),
    }
    if "labels" in values:
        columns["labels"] = [str(label) for label in zero_based(folder, "labels", values["labels"], len(ids))]
    for name, column in columns.items():
        if len(column) != len(ids):
            raise SourceError(folder, name, f"{len(column)} of them, but {len(ids)} ids")
    features = _features(folder, values.get("features"), len(ids))
    lists = _lists(folder, values, len(ids))
    places = [f"record {number}" for number in range(1, len(ids) + 1)]
    names = ("where", "specimen_id", "species", "barcode", "label", "image_features", "lists")
    rows = zip(places, ids, *columns.values(), features, lists, strict=True)
    seed = int(values[SEED_VARIABLE].item()) if SEED_VARIABLE in values else None
    return [dict(zip(names, row, strict=True)) for row in rows], seed


def _lists(folder: Path, values: dict[str, Array], count: int) -> list[set[str]]:
    """The published lists that each specimen is on."""
    on: list[set[str]] = [set() for _ in range(count)]
    for name in LISTS:
        for index in zero_based(folder, f"{name}_loc", values[f"{name}_loc"], count).tolist():
            if name in on[index]:
                raise SourceError(folder, f"{name}_loc", f"index {index + 1} stands in it twice")
            on[index].add(name)
    return on


def _features(folder: Path, features: Array | None, count: int) -> Floats | list[None]:
    """Features as rows, (N, 2048), or N times None; the file has them as columns."""
    if features is None:
        return [None] * count
    if features.ndim != 2 or features.shape[1] != count or features.dtype.kind not in "fiu":
        reason = f"{features.dtype} of shape {features.shape}, not a column for each of {count} records"
        raise SourceError(folder, "features", reason)
    return np.ascontiguousarray(features.T, dtype=np.float32)


def _table_specimens(path: Path) -> Iterator[RawRecord | Refused]:
    header, rows, _ = read_delimited(path, ",")
    if missing := {"ids", "species", "nucleotides", *LISTS} - set(header):
        raise SourceError(path, "first line", f"no column {', '.join(sorted(missing))}")
    yield from each(rows, _table_specimen)


def _table_specimen(row: TableRow) -> RawRecord | Refused:
    where, values = row
    if odd := [name for name in LISTS if values[name] not in ("0", "1")]:
        return Refused(values["ids"] or where, f"{where}: {odd[0]} is {values[odd[0]]!r}, neither 0 nor 1")
    return {
        "where": where,
        "specimen_id": values["ids"].strip(),
        "species": values["species"].strip() or None,
        "barcode": values["nucleotides"].strip() or None,
        "label": values.get("labels"),
        "image_features": None,
        "lists": {name for name in LISTS if values[name] == "1"},
    }


def _image_finder(folder: Path) -> ImageFinder | None:
    """Finds images among the files of the folder, or in the HDF5 file; None where there is neither.

    Raises:
        SourceError: the HDF5 file is none, or has no images.
    """
    for images in _IMAGE_FOLDERS:
        if (folder / images).is_dir():
            names = [name for name in image_files(folder / images, depth=1) if not name.lower().endswith(".png")]
            # Of two of one name, .jpg goes before .JPG, as with the authors.
            places = ((None, Member(f"{images}/{name}", 0, 0)) for name in reversed(names))
            index = ImageIndex(places, lambda path: "/".join(Path(path).with_suffix("").parts[-2:]))
            return lambda species, identifier: index.reference(f"{species}/{identifier}")
    if (folder / IMAGES_FILE).is_file():
        with open_hdf5(folder / IMAGES_FILE) as file:  # links to other files are not followed
            datasets = {name for name in datasets_of(file, "images", own=True) if "#" not in name}
        return lambda _, name: hdf5_reference(IMAGES_FILE, f"images/{name}") if name in datasets else None
    return None
