"""What may lie beside a table of specimens: image files named after them, precomputed features, and their barcodes."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.sources.source import RawRecord, Records, Refused
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_PACKED = ("zip:", "hdf5:", "synthetic:")
_DEPTH = 3  # such as images/part7/a.jpg; a table in somebody's home folder must not make us read all of it


class ImageFiles:
    """The image files of a folder and up to three folders below, by name."""

    def __init__(self, root: Path) -> None:
        self._by_stem: dict[str, str] = {}
        self.num_files = self.num_repeated = 0
        for folder, subfolders, names in os.walk(root):
            inside = Path(folder).relative_to(root)
            deeper = len(inside.parts) < _DEPTH
            subfolders[:] = sorted(name for name in subfolders if deeper and not name.startswith("."))
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in _IMAGE_SUFFIXES:
                    self.num_files += 1
                    self.num_repeated += stem in self._by_stem
                    self._by_stem.setdefault(stem, (inside / name).as_posix())

    def find(self, name: str) -> str | None:
        """The file of this name, with or without its ending, relative to the folder; the first one of several."""
        if (found := self._by_stem.get(name)) is not None:
            return found
        found = self._by_stem.get(os.path.splitext(name)[0])
        return found if found is not None and found.rpartition("/")[2] == name else None


def with_images(records: Records, root: Path, notes: list[str]) -> Iterator[RawRecord | Refused]:
    """Records with an image, if they have none yet and a file is called like their id.

    An image that is given as a bare file name may lie in one of the folders below the table. One that is not there is
    kept, since specimens can be partitioned without it, and noted.
    """
    files, real_root = ImageFiles(root), os.path.realpath(root)
    num_records = num_found = num_absent = 0
    first_absent = ""
    for record in records:
        if isinstance(record, Refused):
            yield record
            continue
        num_records += 1
        image = record.get("image")
        if image:
            name = files.find(image) if "/" not in image and ":" not in image else None
            has_features = record.get("image_features") is not None
            if name is None and not has_features and not _is_there(real_root, image):
                num_absent += 1
                first_absent = first_absent or image
        else:
            name = files.find(str(record.get("specimen_id") or "").strip())
            num_found += name is not None
        yield record if name is None else {**record, "image": name}
    if num_found:
        notes.append(f"{num_found:,} of {num_records:,} specimens have one of {files.num_files:,} images, by its name")
    if num_absent:
        notes.append(
            f"{num_absent:,} of {num_records:,} specimens name an image that is not in {root} (such as "
            f"{first_absent[:200]!r}); they can be partitioned, but `clibd data prepare` will refuse them"
        )
    if files.num_repeated:
        remark = "images share their name with another one; the first in the alphabet is taken"
        notes.append(f"{files.num_repeated:,} {remark}")


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
    found = sorted(folder.glob(f"{field}*.npy"))
    if not found:
        return None
    if len(found) > 1:
        raise SourceError(str(folder), "", f"several feature files ({', '.join(p.name for p in found)}); keep one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remark on files of Python 2
            features = np.load(found[0], mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is read with Python's own parsers, which raise a dozen kinds of errors
        reason = f"not readable as an array of numbers ({' '.join(str(error).split())})"
        raise SourceError(str(found[0]), "", reason) from error
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        reason = f"not a matrix of numbers, but {features.dtype} of shape {features.shape}"
        raise SourceError(str(found[0]), "", reason)
    return found[0], features


def with_features(
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
            raise SourceError(str(file), "", f"{misfit} more than {num_records} rows of {table}")
        row = features[num_records]
        num_records += 1
        if isinstance(record, Refused):
            yield record
            continue
        if record.get(field) is not None:
            raise SourceError(str(file), "", f"{table} holds {FEATURES[field]} as well; keep one of them")
        with np.errstate(over="ignore"):  # infinite ones are refused when the record is cleaned
            yield {**record, field: np.asarray(row, dtype=np.float32)}
    if num_records != len(features):
        raise SourceError(str(file), "", f"{misfit} {num_records} rows of {table}")


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
