"""HDF5 files of unknown origin, opened so that they can neither lead to other files nor run code.

An HDF5 file may point to others (external links, virtual datasets, external storage) and may name filters that are
loaded as plugins. Each dataset is checked for these before anything of it is read. Damage is a typed error; where it
may be that the HDF5 library does not come back, a process of its own goes first (`hdf5_texts`).
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workloads.errors import MissingPathError, SourceError

if TYPE_CHECKING:
    import h5py

MAX_ROWS = 2**25
"""Rows that a dataset may claim: seven times those of BIOSCAN-5M."""
ABOUT_THE_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
"""System errors that say something about the file that is named, whatever its kind.

All others are about the machine, such as a disk that fails or too many open files. They pass as they are: to take them
for bad data would silently lose what is sound."""
_SAID_ERROR = re.compile(r"errno = (\d+), error message")
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
_MAX_CHUNK = 256 * 2**20  # bytes; reading one row unpacks the whole chunk that holds it
_MAX_TEXT = 2**20
_SLICE_ROWS, _SLICE_BYTES = 4096, 64 * 2**20


def open_hdf5(path: Path) -> "h5py.File":
    """An HDF5 file, for reading.

    Raises:
        MissingPathError: there is no such file.
        SourceError: it is not HDF5.
        OSError: it could not be read, which says nothing about the file.
    """
    import h5py

    if not path.is_file():
        raise MissingPathError(path, "HDF5 file", "Name a file.")
    with damage_named(str(path), ""):
        return h5py.File(path, "r", locking=False)  # locks fail on many network disks, and nobody writes here


@contextmanager
def damage_named(path: str, where: str) -> Iterator[None]:
    """Turn what h5py raises for damaged files, which may be any of five errors, into a SourceError.

    Raises:
        SourceError: the file is damaged.
        OSError: the system failed, not the file.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        number = _system_error(error)
        if number is not None and number not in ABOUT_THE_FILE:
            raise OSError(number, os.strerror(number), path) from error
        raise SourceError(path, where, f"not readable as HDF5 ({' '.join(str(error).split())})") from error


def _system_error(error: Exception) -> int | None:
    """Number of the system error behind one of h5py, or None. Where it is no OSError, only its text has the number."""
    if isinstance(error, OSError):
        return error.errno
    said = _SAID_ERROR.search(str(error))
    return int(said[1]) if said else None


def groups_of(file: "h5py.File") -> list[str]:
    """Names of the groups at the top of a file, sorted.

    Raises:
        SourceError: one of them is a soft or an external link.
    """
    import h5py

    with damage_named(file.filename, ""):
        return sorted(name for name in _names(file) if isinstance(_step(file, file, name), h5py.Group))


def datasets_of(file: "h5py.File", group: str, own: bool = False) -> list[str]:
    """Names in a group, sorted; what they lead to has not been looked at.

    Args:
        file: of `open_hdf5`.
        group: its name.
        own: without soft and external links.

    Raises:
        SourceError: there is no such group, a link leads to it, or it is damaged.
    """
    import h5py

    with damage_named(file.filename, group):
        members = _walk(file, group)
        if not isinstance(members, h5py.Group):
            raise SourceError(file.filename, group, "not a group")
        return sorted(name for name in _names(members) if not own or _is_own(members, name))


def dataset(file: "h5py.File", name: str, floats: bool = False) -> "h5py.Dataset":
    """A dataset of text or integers that lies in this file, whole, behind filters that need no plugin.

    Args:
        file: of `open_hdf5`.
        name: its path in the file, such as `val_seen/image`.
        floats: whether it may hold floating-point numbers as well.

    Raises:
        SourceError: there is none, or a soft or external link on the way to it, a virtual dataset, external storage, a
            filter other than gzip, lzf, shuffle and fletcher32, a chunk of more than 256 MiB, or values that are
            neither text nor integers.
    """
    import h5py

    with damage_named(file.filename, name):
        source = _walk(file, name)
        if not isinstance(source, h5py.Dataset):
            raise SourceError(file.filename, name, "not a dataset")
        # Read before the shape, which makes HDF5 open the files of a virtual dataset.
        layout = source.id.get_create_plist()
        if layout.get_layout() == h5py.h5d.VIRTUAL:
            raise SourceError(file.filename, name, "a virtual dataset, whose values lie in other files")
        if layout.get_external_count():
            raise SourceError(file.filename, name, "its values lie in other files")
        codes = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
        if unknown := [code for code in codes if code not in _FILTERS]:
            allowed = ", ".join(_FILTERS.values())
            raise SourceError(file.filename, name, f"the filter {unknown[0]} is not read; {allowed} are")
        kind = source.id.get_type()
        if kind.get_class() not in (h5py.h5t.STRING, h5py.h5t.INTEGER, *((h5py.h5t.FLOAT,) if floats else ())):
            raise SourceError(file.filename, name, "its values are neither text nor integers")
        if kind.get_size() > _MAX_TEXT:
            raise SourceError(file.filename, name, f"texts of {kind.get_size():,} bytes; {_MAX_TEXT:,} are allowed")
        if layout.get_layout() == h5py.h5d.CHUNKED:
            size = int(np.prod(layout.get_chunk(), dtype=np.float64)) * kind.get_size()
            if size > _MAX_CHUNK:
                raise SourceError(file.filename, name, f"a chunk of {size:,} bytes; {_MAX_CHUNK:,} are allowed")
        _ = source.shape, source.dtype  # damaged ones are an error here already
        return source


def slices(
    columns: "Mapping[str, h5py.Dataset]", count: int
) -> Iterator[tuple[int, dict[str, npt.NDArray[np.generic]]]]:
    """Rows of checked datasets, a few thousand at a time, and at most 64 MiB of each.

    Args:
        columns: the datasets, by any names.
        count: how many rows to read.

    Yields:
        Number of the first row, and the rows of each dataset.

    Raises:
        SourceError: they cannot be unpacked.
    """
    widest = max(int(source.dtype.itemsize) * int(np.prod(source.shape[1:])) for source in columns.values())
    step = max(1, min(_SLICE_ROWS, _SLICE_BYTES // max(widest, 1)))
    for start in range(0, count, step):
        stop, rows = min(start + step, count), {}
        for name, source in columns.items():
            with damage_named(source.file.filename, f"{source.name} rows {start} to {stop - 1}"):
                rows[name] = np.asarray(source[start:stop])
        yield start, rows


def _walk(file: "h5py.File", name: str) -> "h5py.Group | h5py.Dataset":
    import h5py

    here: h5py.Group | h5py.Dataset = file
    for part in name.strip("/").split("/"):
        if not isinstance(here, h5py.Group):
            raise SourceError(file.filename, name, "it is not there")
        here = _step(file, here, part)
    return here


def _names(group: "h5py.Group") -> Iterator[str]:
    """What is in a group; h5py gives bytes of what is no UTF-8, which is the name of nothing of ours."""
    return (name for name in group if isinstance(name, str))


def _is_own(group: "h5py.Group", name: str) -> bool:
    """Whether a name that is in a group stands for something in this file, not for a link."""
    import h5py

    return bool(group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD)


def _step(file: "h5py.File", group: "h5py.Group", name: str) -> "h5py.Group | h5py.Dataset":
    """What a name in a group stands for, without following links."""
    where = f"{group.name.rstrip('/')}/{name}".lstrip("/")
    # `name in group` would call a name absent where the disk fails.
    if name in ("", ".", "..") or not group.id.links.exists(name.encode()):
        raise SourceError(file.filename, where, "it is not there")
    if not _is_own(group, name):
        raise SourceError(file.filename, where, "a link, which could lead to other files")
    member: h5py.Group | h5py.Dataset = group[name]
    return member
