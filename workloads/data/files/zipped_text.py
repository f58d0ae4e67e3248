"""A text file inside a zip archive, read as a stream where it lies, such as the metadata table of BIOSCAN-5M."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workloads.data.files.zip_members import ENCRYPTED, most_inflated, zip_members
from workloads.errors import MissingPathError, SourceError

READING_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, struct.error)
"""What reading a text file that is cut off or damaged can raise, packed or not."""

_MOST_MEMBERS = 1000  # of archives that hold tables; those of images hold a million
_READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class ZippedText:
    """One member of a zip archive that is read like a file; `str` of it is what messages call it."""

    archive: Path
    member: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.member}"

    @property
    def name(self) -> str:
        """The last part of its name, as `Path.name`."""
        return self.member.rpartition("/")[2]

    def open(self) -> IO[bytes]:
        """Its content as a stream, inflated block by block, however large it is; the checksum is tested at its end.

        Raises:
            SourceError: it is encrypted, compressed in an unknown way, or a bomb (200 times its size in the archive).
        """
        try:
            with zipfile.ZipFile(self.archive) as archive:  # the stream keeps the file open after this
                found = archive.getinfo(self.member)
                self._check(found)
                return archive.open(found)
        except (*READING_ERRORS, KeyError, NotImplementedError, RuntimeError) as error:
            raise SourceError(str(self), "", f"not readable ({' '.join(str(error).split())})") from error

    def _check(self, found: zipfile.ZipInfo) -> None:
        if found.flag_bits & ENCRYPTED:
            raise SourceError(str(self), "", "it is encrypted")
        if found.compress_type not in _READ_METHODS:
            reason = f"it is compressed in a way that is not read (method {found.compress_type})"
            raise SourceError(str(self), "", reason)
        if found.file_size > most_inflated(found.compress_size):
            reason = f"{found.compress_size:,} bytes that inflate to {found.file_size:,} are no table"
            raise SourceError(str(self), "", reason)


def find_zipped(archive: Path, wanted: str) -> ZippedText:
    """The member of an archive that is called `wanted`, in whatever folder, or else the only one with its ending.

    Args:
        archive: a zip archive.
        wanted: such as `BIOSCAN_5M_Insect_Dataset_metadata.csv`.

    Raises:
        MissingPathError: no member could be meant.
        SourceError: not an honest zip archive (see `zip_members`), one of more than 1,000 members, or several members
            that could be meant.
    """
    suffix = Path(wanted).suffix
    names: list[str] = []
    for number, member in enumerate(zip_members(archive), start=1):
        if number > _MOST_MEMBERS:
            reason = f"it has more than {_MOST_MEMBERS:,} members; a package with {wanted} has a few"
            raise SourceError(str(archive), "", reason)
        names.append(member.name)
    tables = [name for name in names if name.endswith(suffix) and not _last(name).startswith(".")]
    meant = [name for name in tables if _last(name) == wanted] or tables
    if not meant:
        raise MissingPathError(str(archive), wanted, f"It holds {_listed(names)}.")
    if len(meant) > 1:
        raise SourceError(str(archive), "", f"several tables ({_listed(meant)}), and no telling which is meant")
    return ZippedText(archive, meant[0])


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "nothing"
