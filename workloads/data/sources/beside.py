"""What may lie beside a table of specimens: image files named after them, precomputed features, and their barcodes."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.files.image_source import ImageIndex, image_files
from workloads.data.files.zip_members import Member
from workloads.data.sources.source import RawRecord, Records, Refused, Source
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError

_PACKED = ("zip:", "hdf5:", "synthetic:")
_DEPTH = 3  # such as images/part7/a.jpg; a table in somebody's home folder must not make us read all of it


def with_companions(source: Source) -> Source:
    """The records of a table with the features and images that lie beside it.

    Raises:
        SourceError: at once or while reading, features that do not fit.
    """
    root, table, records, total = Path(source.root), Path(source.name).name, source.records, source.total
    for field, what in FEATURES.items():
        if (beside := features_beside(root, field)) is None:
            continue
        file, features = beside
        if total is not None and total != len(features):
            raise SourceError(file, "", f"shape {features.shape} does not fit the {total} rows of {table}")
        records, total = _with_features(records, field, file, features, table), len(features)
        source.notes.append(f"{what}: {file.name}, {len(features):,} x {features.shape[1]}")
    return replace(source, records=_with_images(records, root, source.notes), total=total)


def _with_images(records: Records, root: Path, notes: list[str]) -> Iterator[RawRecord | Refused]:
    """Records with an image, if they have none yet and a file is called like their id.

    An image that is given as a bare file name may lie in one of the folders below the table. One that is not there is
    kept, since specimens can be partitioned without it, and noted.
    """
    files = ImageIndex(((None, Member(name, 0, 0)) for name in image_files(root, _DEPTH)), _stem)
    real_root = os.path.realpath(root)
    num_records = num_found = num_absent = 0
    first_absent = ""
    for record in records:
        if isinstance(record, Refused):
            yield record
            continue
        num_records += 1
        image = record.get("image")
        if image:
            name = _named(files, image) if "/" not in image and ":" not in image else None
            has_features = record.get("image_features") is not None
            if name is None and not has_features and not _is_there(real_root, image):
                num_absent += 1
                first_absent = first_absent or image
        else:
            name = _named(files, str(record.get("specimen_id") or "").strip())
            num_found += name is not None
        yield record if name is None else {**record, "image": name}
    if num_found:
        num_files = len(files) + files.num_repeated
        notes.append(f"{num_found:,} of {num_records:,} specimens have one of {num_files:,} images, by its name")
    if num_absent:
        notes.append(
            f"{num_absent:,} of {num_records:,} specimens name an image that is not in {root} (such as "
            f"{first_absent[:200]!r}); they can be partitioned, but `clibd data prepare` will refuse them"
        )
    if files.num_repeated:
        remark = "images share their name with another one; the first in the alphabet is taken"
        notes.append(f"{files.num_repeated:,} {remark}")


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def _named(files: ImageIndex, name: str) -> str | None:
    """The file of this name, with or without its ending, relative to the folder; the first one of several."""
    if (file := files.reference(name)) is not None:
        return file
    file = files.reference(os.path.splitext(name)[0])
    return file if file is not None and file.rpartition("/")[2] == name else None


def _is_there(root: str, image: str) -> bool:
    """Whether an image reference leads to something; what archives hold is seen when it is read."""
    if image.startswith(_PACKED):
        return True
    path = os.path.normpath(os.path.join(root, image))
    return path.startswith(f"{root.rstrip('/')}/") and os.path.isfile(path)


def features_beside(folder: Path, field: str) -> tuple[Path, npt.NDArray[np.generic]] | None:
    """Precomputed features, (specimens, dim), as they lie on the disk, or None where there are none.

    Args:
        folder: where the table lies.
        field: what they are of, `image_features` or `dna_features`; the file's name begins with it.

    Raises:
        SourceError: several such files, or one that is no matrix of numbers.
    """
    files = sorted(folder.glob(f"{field}*.npy"))
    if not files:
        return None
    if len(files) > 1:
        raise SourceError(folder, "", f"several feature files ({', '.join(p.name for p in files)}); keep one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remark on files of Python 2
            features = np.load(files[0], mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is read with Python's own parsers, which raise a dozen kinds of errors
        reason = f"not readable as an array of numbers ({' '.join(str(error).split())})"
        raise SourceError(files[0], "", reason) from error
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise SourceError(files[0], "", f"not a matrix of numbers, but {features.dtype} of shape {features.shape}")
    return files[0], features


def _with_features(
    records: Records, field: str, file: Path, features: npt.NDArray[np.generic], table: str
) -> Iterator[RawRecord | Refused]:
    """Records with the features of their row; refused ones have a row too.

    Raises:
        SourceError: there are more or fewer rows of features than records.
    """
    num_records = 0
    misfit = f"shape {features.shape} does not fit the"
    for record in records:
        if num_records == len(features):
            raise SourceError(file, "", f"{misfit} more than {num_records} rows of {table}")
        row = features[num_records]
        num_records += 1
        if isinstance(record, Refused):
            yield record
            continue
        if record.get(field) is not None:
            raise SourceError(file, "", f"{table} holds {FEATURES[field]} as well; keep one of them")
        with np.errstate(over="ignore"):  # infinite ones are refused when the record is cleaned
            yield {**record, field: np.asarray(row, dtype=np.float32)}
    if num_records != len(features):
        raise SourceError(file, "", f"{misfit} {num_records} rows of {table}")


def with_barcodes(records: Records, barcodes: Records, fasta: str, notes: list[str]) -> Iterator[RawRecord | Refused]:
    """Records with the barcode of their id, and what is refused among the barcodes.

    The barcodes are held in memory, some 0.8 GB a million.
    """
    by_id: dict[str, str] = {}
    for barcode in barcodes:
        if isinstance(barcode, Refused):
            yield Refused(barcode.identifier, f"{fasta}: {barcode.reason}")
        elif barcode["specimen_id"] in by_id:
            yield Refused(barcode["specimen_id"], f"{fasta}, {barcode['where']}: a second barcode with this id")
        else:
            by_id[barcode["specimen_id"]] = barcode["barcode"]
    used: set[str] = set()
    num_without = 0
    for record in records:
        if isinstance(record, Refused):
            yield record
            continue
        identifier = str(record.get("specimen_id") or "").strip()
        if identifier in by_id:
            used.add(identifier)
        else:
            num_without += 1
        yield {**record, "barcode": by_id.get(identifier)}
    if num_without:
        notes.append(f"{num_without:,} specimens have no barcode in {fasta}")
    if len(used) < len(by_id):
        notes.append(f"{len(by_id) - len(used):,} barcodes of {fasta} belong to no specimen of the table")
