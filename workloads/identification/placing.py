"""A folder that is made aside and takes its place whole: what is broken off leaves nothing, or what was there before.

NAME.MACHINE-PID-XXXXXXXX.tmp     while it is made
NAME.before                       what was in its place, for the moment between two renamings
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from workloads.disk_errors import named
from workloads.errors import UsageError
from workloads.identification.database import FACTS
from workloads.leftovers import aside_of, remove_leftovers
from workloads.storage import Folder

Say = Callable[[str], None]


@contextmanager
def placed(target: Path, *, replace: bool, on_remark: Say = lambda remark: None) -> Iterator[Folder]:
    """A folder to make a database in, which takes the place of `target` when the block ends well, and not otherwise.

    Args:
        target: of the database.
        replace: whether a database that is there may be replaced; anything else never is.
        on_remark: told of a making that was broken off before.

    Raises:
        UsageError: something is there that is not to be replaced; or somebody else has changed it meanwhile.
        OSError: it cannot be written; the error says where, and what helps.
    """
    mended(target)
    before = _there(target, replace)
    aside = target
    try:
        half = f"{escape(target.name)}.*.tmp"
        if any(target.parent.glob(half)):
            remove_leftovers(target.parent)
            if not any(target.parent.glob(half)):
                on_remark(f"An earlier making of {target} was broken off; this one begins anew")
        aside = aside_of(target)
        aside.mkdir()
        yield Folder(aside)
        for path in filter(Path.is_file, aside.rglob("*")):
            _to_disk(path)
        if _there(target, replace) != before:
            raise UsageError(f"{target} was changed by somebody else meanwhile; start the same command again")
        _swap(aside, target)
    except OSError as error:
        raise _about(error, aside, target) from error
    finally:
        if aside != target:
            shutil.rmtree(aside, ignore_errors=True)


def local(place: str | Path) -> Path:
    """The path of a folder on a disk of this machine.

    Raises:
        UsageError: it is in a bucket.
    """
    folder = Folder(place)
    if not folder.is_local:
        raise UsageError(f"{folder} is in a bucket; name a folder on a disk, and copy the database when it is made")
    return Path(os.path.realpath(folder.path))


def mended(target: Path) -> None:
    """Put back what was in a place where a process was killed between two renamings, or remove it after them."""
    before = _before(target)
    if not before.is_dir():
        return
    if target.exists():
        shutil.rmtree(before, ignore_errors=True)
    else:
        before.rename(target)


def _before(target: Path) -> Path:
    return target.with_name(f"{target.name}.before")


def _there(target: Path, replace: bool) -> str | None:
    """The digest of the database that is in the place; None for nothing."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    if not (target / FACTS).is_file():
        raise UsageError(f"{target} is there and is no database, so it is not overwritten; name a new folder")
    if not replace:
        raise UsageError(f"{target} is a database already; name another folder, or add --replace to make it anew")
    return Folder(target).digest(FACTS)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _swap(aside: Path, target: Path) -> None:
    if target.exists():
        target.rename(_before(target))
    aside.rename(target)
    shutil.rmtree(_before(target), ignore_errors=True)


def _about(error: OSError, aside: Path, target: Path) -> OSError:
    """The same error, which names what the user named."""
    if error.filename is None or str(error.filename).startswith(str(aside)):
        error = OSError(error.errno, error.strerror or str(error))
    return named(error, str(target))
