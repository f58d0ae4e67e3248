"""Errors of disks and stores, which say where they happened, how much is needed and free, and what helps."""

import errno
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that are about what is written, whichever library says so."""
_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there or ask for a larger quota",
    errno.EFBIG: "raise the largest size of a file (`ulimit -f`) or take another disk",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "let this user write and read there (`ls -ld` shows who may) or name another folder",
    errno.EPERM: "let this user write and read there (`ls -ld` shows who may) or name another folder",
    errno.EIO: "see what the disk or the network has (`dmesg`)",
    errno.ENAMETOOLONG: "take a shorter name or folder",
}


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file and this host into an error of the disk or the store (`named`)."""
    try:
        yield
    except OSError as error:
        raise named(error, path) from error


def named(error: OSError, path: str, wanted: int | None = None) -> OSError:
    """The same error with the file, this host and a remedy in it, also in another process.

    Args:
        error: of a disk or a store; those of a store have no number.
        path: of the file, unless the error says it; "" where nobody knows better.
        wanted: bytes that the file will have, where that is known.
    """
    host = f" (on {platform.node()})"
    if host in str(error):
        return error if error.filename or not path else OSError(error.errno or errno.EIO, error.strerror, path)
    number = error.errno or errno.EIO
    told_of = error.filename2 or error.filename  # of a copy, which is what is written
    known = told_of or path  # else the library's own words may say it
    reason = os.strerror(number) if known and number in _REMEDIES and error.errno else error.strerror or str(error)
    told = [(reason or type(error).__name__) + host]
    if number in NO_ROOM:
        told += [f"{wanted:,} bytes are needed"] if wanted is not None else []
        told += [f"{free:,} are free"] if (free := free_at(Path(known))) is not None else []
    told += [_REMEDIES[number]] if error.errno in _REMEDIES else []
    aside = str(told_of).endswith(".tmp")  # of which users know nothing, so that any other name is better
    shown = told_of if told_of and not (aside and path) else path
    return OSError(number, "; ".join(told), shown or None)


def free_at(path: Path) -> int | None:
    """Bytes that are free where a file is, or its nearest folder that there is."""
    with suppress(OSError):
        return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free
    return None
