"""Encoded images by their references: files, members of zip archives, and rows of HDF5 and Parquet files.

    some/file.jpg                     a file
    zip:ARCHIVE#OFFSET+SIZE:MEMBER    a member of a zip archive, by the byte of its local header and its size there
    hdf5:FILE#DATASET#ROW             a row of zero-padded bytes, with a dataset DATASET_mask of lengths beside it
    hdf5:FILE#DATASET                 a dataset that holds the bytes of one image
    parquet:FILE#COLUMN#ROW           the bytes in a column of `{bytes, path}`, as Hugging Face `datasets` writes images

All names are relative to one folder. What the bytes hold is `workloads.data.files.images`' business; drawn images
(`synthetic:`) are that of `workloads.data.synthetic.drawings`.
"""

import os
import posixpath
import re
import stat
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from workloads.arrays import Indices
from workloads.data.files.hdf5_files import ABOUT_THE_FILE, MAX_ROWS, damage_named, dataset, open_hdf5
from workloads.data.files.parquet_images import ParquetImages
from workloads.data.files.zip_members import MAX_IMAGE_SIZE, Member, read_member
from workloads.errors import MissingPathError, RecordError, SourceError
from workloads.naming import is_inside
from workloads.storage import Folder

if TYPE_CHECKING:
    import h5py

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
_MAX_OPEN = 8

_ZIP = re.compile(r"zip:([^#]+)#(\d{1,18})\+(\d{1,18}):(.+)", re.DOTALL)
_HDF5 = re.compile(r"hdf5:([^#]+)#([^#]+)(?:#(\d{1,18}))?", re.DOTALL)
_PARQUET = re.compile(r"parquet:([^#]+)#([^#]+)#(\d{1,18})", re.DOTALL)
PACKED = ("zip:", "hdf5:", "parquet:", "synthetic:")
"""What the references begin with that are no file names."""


def zip_reference(archive: str, member: Member) -> str:
    """The reference of a member of an archive, whose name is relative to the source's folder.

    Raises:
        SourceError: the archive's name holds a `#`.
    """
    _check_nameable(archive, archive)
    return f"zip:{archive}#{member.offset}+{member.size}:{member.name}"


def hdf5_reference(file: str, name: str, row: int | None = None) -> str:
    """The reference of a dataset, or of one of its rows, in a file whose name is relative to the source's folder.

    Raises:
        SourceError: a name holds a `#`.
    """
    _check_nameable(file, file)
    _check_nameable(file, name)
    return f"hdf5:{file}#{name}" + ("" if row is None else f"#{row}")


def _check_nameable(path: str, name: str) -> None:
    if "#" in name:
        raise SourceError(path, f"{name!r}", "a name with '#' cannot be referred to; rename it")


def _check_size(name: str, size: int) -> None:
    if size > MAX_IMAGE_SIZE:
        raise RecordError(f"the image {name!r} has {size:,} bytes; {MAX_IMAGE_SIZE:,} are allowed")


def _let_pass(error: Exception) -> None:
    """Raise a system error again unless it is about the file: what the disk did is no fault of the record."""
    if isinstance(error, FileNotFoundError):  # that of an object store has no number
        return
    if isinstance(error, OSError) and error.errno not in ABOUT_THE_FILE:
        raise error


class _Hdf5:
    """An open HDF5 file, with the datasets of rows that have been asked for."""

    def __init__(self, path: Path) -> None:
        self._file = open_hdf5(path)
        self.close = self._file.close
        self._rows: dict[str, tuple[h5py.Dataset, Indices]] = {}

    def read(self, name: str, row: int | None) -> bytes:
        with damage_named(self._file.filename, name):
            return self._whole(name) if row is None else self._row(name, row)

    def _whole(self, name: str) -> bytes:
        image = dataset(self._file, name)
        if image.dtype != np.uint8 or image.ndim != 1:
            raise RecordError(f"the dataset {name!r} is not one row of bytes")
        _check_size(name, len(image))
        return bytes(image[:].tobytes())

    def _row(self, name: str, row: int) -> bytes:
        images, lengths = self._rows.get(name) or self._open_rows(name)
        if row >= len(images):
            raise RecordError(f"the dataset {name!r} has {len(images):,} rows, none of number {row}")
        length = int(lengths[row])
        if not 0 < length <= min(images.shape[1], MAX_IMAGE_SIZE):
            raise RecordError(f"row {row} of {name!r} cannot hold an image of {length:,} bytes")
        return bytes(images[row, :length].tobytes())

    def _open_rows(self, name: str) -> "tuple[h5py.Dataset, Indices]":
        images, mask = dataset(self._file, name), dataset(self._file, f"{name}_mask")
        has_rows = images.dtype == np.uint8 and images.ndim == 2
        if not has_rows or mask.shape != images.shape[:1] or mask.dtype.kind not in "iu":
            raise RecordError(f"the datasets {name!r} and '{name}_mask' are not rows of bytes and their lengths")
        if len(images) > MAX_ROWS:
            raise RecordError(f"the dataset {name!r} claims {len(images):,} rows; {MAX_ROWS:,} are allowed")
        self._rows[name] = images, mask[:].astype(np.int64)  # 9 MB for BIOSCAN-1M's largest group
        return self._rows[name]


_Reader = TypeVar("_Reader", FileIO, _Hdf5, ParquetImages)


class ImageSource:
    """Reads encoded images of one source. Keeps up to 8 archives open; pickles as the name of its folder.

    An instance belongs to one thread.
    """

    def __init__(self, root: str, follow_links: bool = False) -> None:
        """Open nothing yet.

        Args:
            root: folder that references are relative to; an address such as `s3://bucket/insects` holds plain files.
            follow_links: read files behind symbolic links that lead out of the folder, because its owner said so.
        """
        self.root, self.follow_links = root, follow_links
        self._folder = Folder(root) if "://" in root else None
        self._real_root = "" if self._folder else os.path.realpath(root)
        self._open: OrderedDict[tuple[object, str], Any] = OrderedDict()
        self._inside: dict[str, bool] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.root, self.follow_links)

    def __enter__(self) -> "ImageSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        while self._open:
            self._open.popitem()[1].close()

    def read(self, reference: str) -> bytes:
        """Bytes of an encoded image.

        Raises:
            RecordError: the reference means nothing or leads out of the folder, there is nothing there, or what is
                there is damaged, encrypted, packed in an unknown way, or longer than 64 MiB. HDF5: a row beyond the
                end, a length beyond the row, links, virtual datasets and filters that need a plugin.
            OSError: the disk or the machine failed, which says nothing about the record; trying again may help.
        """
        try:
            if match := _ZIP.fullmatch(reference):
                archive, offset, size, member = match.groups()
                return read_member(self._opened(FileIO, archive).fileno(), Member(member, int(offset), int(size)))
            if match := _HDF5.fullmatch(reference):
                file, name, row = match.groups()
                return self._opened(_Hdf5, file).read(name, None if row is None else int(row))
            if match := _PARQUET.fullmatch(reference):
                file, name, row = match.groups()
                content = self._opened(ParquetImages, file).read(name, int(row))
                _check_size(reference, len(content))
                return content
        except (SourceError, MissingPathError, OSError) as error:
            _let_pass(error)
            raise RecordError(" ".join(str(error).split())) from error
        if reference.startswith(PACKED):
            raise RecordError(f"the image reference {reference[:80]!r} is not one that is read here")
        return self._read_file(reference) if self._folder is None else self._read_remote(self._folder, reference)

    def has(self, reference: str) -> bool:
        """Whether a reference leads to a file that `read` would open; what archives hold is seen when it is read.

        Asked of every specimen at import, so that links are resolved once for each folder.
        """
        if reference.startswith(PACKED):
            return True
        try:
            return self._leads_to_a_file(reference)
        except ValueError:  # NUL bytes, or letters that are in no file name
            return False

    def _leads_to_a_file(self, reference: str) -> bool:
        path = os.path.normpath(os.path.join(self._real_root, reference))
        folder = os.path.dirname(path)
        if folder not in self._inside:
            real = folder if self.follow_links else os.path.realpath(folder)
            self._inside[folder] = real == self._real_root or real.startswith(f"{self._real_root.rstrip('/')}/")
        if not self._inside[folder]:
            return False
        if os.path.islink(path) and not self.follow_links:
            return os.path.realpath(path).startswith(f"{self._real_root.rstrip('/')}/") and os.path.isfile(path)
        return os.path.isfile(path)

    def _read_file(self, reference: str) -> bytes:
        path, size = self._place(reference)
        _check_size(reference, size)
        try:
            return path.read_bytes()
        except OSError as error:
            _let_pass(error)
            raise RecordError(f"the image {reference!r} cannot be read: {error.strerror}") from error

    def _read_remote(self, folder: Folder, reference: str) -> bytes:
        name = posixpath.normpath(reference)
        if not reference.isprintable() or ".." in reference.split("/") or not is_inside(name):
            raise RecordError(f"the image name {reference!r} leads out of its folder, or is no file name")
        try:
            content = folder.read(name)
        except OSError as error:
            _let_pass(error)
            raise RecordError(f"there is no image {reference!r}") from error
        _check_size(reference, len(content))
        return content

    def _opened(self, kind: Callable[[Path], _Reader], name: str) -> _Reader:
        """An archive of a kind, kept open until 8 others have been asked for since."""
        key = kind, name
        if key not in self._open:
            self._open[key] = kind(self._place(name)[0])
        self._open.move_to_end(key)
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        kept: _Reader = self._open[key]
        return kept

    def opened(self, reference: str) -> BinaryIO:
        """An image as a file, of which only as much is read as is asked for, where it is one of its own.

        Raises:
            RecordError: as `read`.
        """
        if self._folder is not None or reference.startswith(PACKED):
            return BytesIO(self.read(reference))
        path, size = self._place(reference)
        _check_size(reference, size)
        return path.open("rb")

    def _place(self, name: str) -> tuple[Path, int]:
        """Path and size of an ordinary file inside the folder.

        Raises:
            RecordError: the name leaves the folder, also by a symbolic link unless links are followed, or there is no
                ordinary file.
        """
        if self._folder is not None or not self.root:
            raise RecordError(f"the image {name!r} can only be read from a local folder")
        if "\0" in name:
            raise RecordError(f"the image name {name!r} is no file name")
        try:
            joined = os.path.join(self._real_root, name)
            path = Path(os.path.normpath(joined) if self.follow_links else os.path.realpath(joined))
            if not path.is_relative_to(self._real_root):
                raise RecordError(f"the image name {name!r} leads out of its folder")
            facts = path.stat()
        except (OSError, UnicodeError) as error:
            _let_pass(error)
            reason = error.strerror if isinstance(error, OSError) else "no file name"
            raise RecordError(f"the image {name!r} cannot be read: {reason}") from error
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
            raise RecordError(f"the image {name!r} is not a file")
        return path, facts.st_size
