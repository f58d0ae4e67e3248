"""Names of files that are being written, which say by whom, so that what a killed process left is known and removed.

    NAME.MACHINE-PID-XXXXXXXX.tmp

Whoever first writes into a folder removes what was left in it. Nobody's any more is what a process of this machine
wrote that is gone; and what nobody has touched for a day, as of another host's processes nothing is known here.
"""

import hashlib
import os
import re
import shutil
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

_NAME = re.compile(r".+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
_FORGOTTEN = 24 * 3600.0
"""Seconds without a change after which another host's file is nobody's; what is written is changed all the time."""


def machine() -> str | None:
    """The boot of this machine and the process namespace, within which a process number means one process."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def aside_of(path: Path) -> Path:
    """Where this process may write what will be a file, or keep what it needs for it; what was left there is removed.

    Its folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidied(path.parent, os.getpid())
    return path.with_name(f"{path.name}.{_this_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@cache
def _tidied(folder: Path, _process: int) -> None:
    """Once for each folder that a process writes into, as a list of a large one takes its time."""
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what lies directly in a folder, half-written, and is nobody's any more."""
    with suppress(OSError), os.scandir(folder) as entries:  # it may only be written to, not listed
        for entry in entries:
            if entry.name.endswith(".tmp") and (match := _NAME.fullmatch(entry.name)):
                with suppress(OSError):  # another process was first, or it is another user's
                    if _is_left(match[1], int(match[2]), entry.stat(follow_symlinks=False).st_mtime):
                        _remove(Path(entry.path))


def _is_left(by: str, pid: int, changed: float) -> bool:
    if by == _this_machine():
        return not psutil.pid_exists(pid)
    return time.time() - changed > _FORGOTTEN


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


@cache
def _this_machine() -> str:
    return hashlib.sha256((machine() or uuid.uuid4().hex).encode()).hexdigest()[:8]
