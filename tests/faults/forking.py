"""A command in a fork of this process, which has imported all that it needs, with a fault at a moment that is chosen.

The k-th time that the command changes something below its folder, the disk fails, or the process is killed as by
SIGKILL, with half of what it was writing. Nothing of the command is replaced: only Python's own doors to the disk are
watched.
"""

import builtins
import ctypes
import errno
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tests.faults.commands import COMMANDS
from tests.faults.stage import KILL

_DOORS = ((os, "replace"), (os, "fsync"), (os, "unlink"), (os, "mkdir"), (os, "rmdir"), (Path, "write_bytes"))
_OPENERS = ((builtins, "open"), (io, "open"))


class Doors:
    """Counts the changes below a folder, and lets one of them fail."""

    def __init__(self, below: str, at: int, fault: str) -> None:
        self.calls, self._below, self._at, self._fault = 0, os.path.realpath(below), at, fault

    def watch(self) -> None:
        """From now on, in this process."""
        for owner, name in _DOORS:
            setattr(owner, name, self._watched(name, getattr(owner, name)))
        for owner, name in _OPENERS:
            setattr(owner, name, self._opening(getattr(owner, name)))

    def _is_ours(self, target: Any) -> bool:
        with suppress(OSError, TypeError, ValueError):
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
            return os.path.realpath(path).startswith(self._below)
        return False

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def door(*given: Any, **options: Any) -> Any:
            if "dir_fd" not in options and self._is_ours(given[0]) and self._is_now():
                if name == "write_bytes":
                    real(given[0], bytes(given[1])[: len(given[1]) // 2])
                self._fail(given[0])
            return real(*given, **options)

        return door

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def door(file: Any, mode: str = "r", *given: Any, **options: Any) -> Any:
            if set(mode) & set("wax+") and self._is_ours(file) and self._is_now():
                self._fail(file)
            return real(file, mode, *given, **options)

        return door

    def _is_now(self) -> bool:
        self.calls += 1
        return self.calls == self._at

    def _fail(self, target: Any) -> None:
        if self._fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self._fault)
        name = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
        raise OSError(number, os.strerror(number), name)


def run_forked(
    words: list[str], folder: str, fault: str = KILL, at: int = 0, largest: int = 0, kill_after: float = 0.0
) -> dict[str, Any]:
    """Run a command in a fork, in a process group of its own.

    Args:
        words: the command; its first word is one of `commands.COMMANDS`.
        folder: in which it works, and below which changes are counted.
        fault: `SIGKILL`, or the name of an error such as `ENOSPC`.
        at: which change meets it; 0 for none.
        largest: bytes that a file may have, as on a disk that is full; 0 for any.
        kill_after: seconds after which it is killed; 0 for never.

    Returns:
        `code` as of `subprocess`, `calls`, `said` on stdout and stderr, `seconds`, and what it `left`: processes of its
        group and files in its temporary folder.
    """
    scratch = Path(folder).parent / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "tmp").mkdir(parents=True)
    began, shared = time.monotonic(), set(os.listdir("/dev/shm"))
    child = os.fork()
    if child == 0:
        _perform(words, folder, scratch, Doors(folder, at, fault), largest)
    code = _waited(child, began + (kill_after or 120.0))
    left = _left(child, scratch, shared, killed=code == -signal.SIGKILL)
    calls = (scratch / "calls").read_text() if (scratch / "calls").exists() else "0"
    said = (scratch / "said").read_text(errors="replace") if (scratch / "said").exists() else ""  # so early it died
    return {"code": code, "calls": int(calls), "said": said, "seconds": time.monotonic() - began, "left": left}


def _waited(child: int, until: float) -> int:
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _left(group: int, scratch: Path, shared: set[str], killed: bool) -> list[str]:
    """Processes of the group that are there ten seconds later; where it was not killed, temporary files as well."""
    end = time.monotonic() + 10
    while (found := [*_group(group), *_orphans(shared)]) and time.monotonic() < end:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    files = [] if killed else os.listdir(scratch / "tmp")
    return [*found, *(name for name in files if not name.startswith("torchinductor_"))]  # torch's cache, of all runs


def _orphans(before: set[str]) -> list[str]:
    """New shared memory that no process holds; others of this machine may have made some of it."""
    if not (new := set(os.listdir("/dev/shm")) - before):
        return []
    held = set[str]()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            text = maps.read_text(errors="replace")
            held |= {name for name in new if f"/dev/shm/{name}" in text}
    return sorted(new - held)


def _group(number: int) -> list[str]:
    found = []
    for process in psutil.process_iter(["pid", "name", "status"]):
        with suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == number and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(f"process {process.info['name']}")
    return found


def _perform(words: list[str], folder: str, scratch: Path, doors: Doors, largest: int) -> NoReturn:
    """The fork: what it prints goes into a file, and it ends as the command does."""
    code = 1
    try:
        os.setpgid(0, 0)
        log = os.open(scratch / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(folder)
        os.environ["TMPDIR"], tempfile.tempdir = str(scratch / "tmp"), None
        os.environ["CLIBD_CACHE"] = str(scratch.parent / "cache")
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        _obey_modes()
        if largest:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        sys.argv = list(words)
        doors.watch()
        COMMANDS[words[0]]()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path.write_text(scratch / "calls", str(doors.calls))
        os._exit(code)


def _obey_modes() -> None:
    """From now on a file's mode stops this process, also as root: without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)  # effective, permitted and inheritable, twice
    for number in range(3):
        sets[number] &= ~0b110
    libc.capset(header, sets)
