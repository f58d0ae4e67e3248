"""Fetch a public package: resumed where it broke off, checked against its published checksum, never unpacked.

While a package arrives it is `NAME.part`, beside a `NAME.part.json` that says which version of it this is. It gets its
name when its bytes have been checked, and only then.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workloads.data.packages.https_request import Answer, BrokenTransferError, PastEndError, open_from
from workloads.data.packages.published import Package
from workloads.errors import DownloadError, UsageError

OnBytes = Callable[[int, int | None], None]
"""Told how many bytes are there, and how many there will be, if that is known."""

_WORTHWHILE = 1 << 20  # an attempt that brought as much does not count as a failed one
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A package that is there."""

    path: Path
    algorithm: str
    checksum: str
    """Of the file as it is on disk, hexadecimal."""
    is_verified: bool
    """Whether a published checksum is the same."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer is tried."""

    timeout: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""
    attempts: int = 6
    """Failures in a row, without anything worthwhile between them."""
    pause: float = 1.0
    """Seconds before the second attempt; each further pause is twice as long."""


def download(
    package: Package,
    target: Path,
    on_bytes: OnBytes = lambda done, total: None,
    *,
    allow_unverified: bool = False,
    patience: Patience = Patience(),
) -> Arrival:
    """Fetch a package into a folder, or what is missing of it; one that is there already is only checked.

    Args:
        package: what to fetch.
        target: folder to put it in; made if need be.
        on_bytes: told of the progress.
        allow_unverified: fetch a package although nobody has published a checksum of it.
        patience: when to give up.

    Raises:
        UsageError: no checksum is known, and `allow_unverified` is not given.
        DownloadError: it did not arrive, or is not what was published.
    """
    if package.checksum is None and not allow_unverified:
        raise UsageError(
            f"{package.name}: nobody has published a checksum of this package, so it cannot be verified. "
            "Give --unverified to fetch it all the same; the SHA-256 of what arrives is then printed."
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target}: a package is put into a folder, and this is none")
    place = target / package.file_name
    if place.exists():
        return _check(package, place, f"{place} is there, and another file; move it away")
    target.mkdir(parents=True, exist_ok=True)
    with _Part(place) as part:
        part.fetch(package, on_bytes, patience)
        try:
            arrival = _check(package, part.path, "what has arrived was removed")
        except DownloadError:
            part.remove()
            raise
        part.finish(place)
    return replace(arrival, path=place)


def _check(package: Package, path: Path, otherwise: str) -> Arrival:
    """Compare a file with what has been published of it.

    Raises:
        DownloadError: another size or checksum.
    """
    algorithm, published = package.checksum or ("sha256", None)
    size = path.stat().st_size
    if package.size is not None and size != package.size:
        raise DownloadError(package.name, f"{size:,} bytes instead of {package.size:,}; {otherwise}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if published is not None and found != published.lower():
        raise DownloadError(package.name, f"the {algorithm} is {found} instead of {published}; {otherwise}")
    return Arrival(path, algorithm, found, published is not None)


@dataclass(frozen=True, slots=True)
class _Version:
    """Which version of a package it is that has partly arrived."""

    url: str
    validator: str | None
    """Strong ETag or date of last change; None where the server tells neither."""
    total: int | None


class _Part:
    """A package on its way; only one process at a time writes to it."""

    def __init__(self, place: Path) -> None:
        self.path = place.with_name(f"{place.name}.part")
        self._facts = place.with_name(f"{place.name}.part.json")

    def __enter__(self) -> "_Part":
        self._stream = self.path.open("ab", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, the process that had the lock may have given the file its name.
            is_ours = self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(self._stream.fileno()))
        except BlockingIOError:
            is_ours = False
        if not is_ours:
            self._stream.close()
            raise DownloadError(str(self.path), "another process is fetching it")
        return self

    def __exit__(self, *_: object) -> None:
        if self._size() == 0:
            self.remove()
        self._stream.close()

    def fetch(self, package: Package, on_bytes: OnBytes, patience: Patience) -> None:
        """Fetch all bytes, from the first address that gives them; the one that a part is from comes first.

        Raises:
            DownloadError: no address gives them.
        """
        version = self._version()
        reasons = []
        for url in sorted(package.urls, key=lambda url: version is None or url != version.url):
            try:
                return self._fetch_from(url, package, on_bytes, patience)
            except DownloadError as error:
                reasons.append(error)
        if len(reasons) == 1:
            raise reasons[0]
        raise DownloadError(package.name, "; ".join(f"{error.args[0]}: {error.args[1]}" for error in reasons))

    def finish(self, place: Path) -> None:
        """Give the part its name."""
        os.fsync(self._stream.fileno())
        os.replace(self.path, place)
        self._facts.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)

    def _fetch_from(self, url: str, package: Package, on_bytes: OnBytes, patience: Patience) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                return self._attempt(url, package, on_bytes, patience.timeout)
            except BrokenTransferError as error:
                failures = 0 if self._size() - before >= _WORTHWHILE else failures + 1
                if failures >= patience.attempts:
                    raise DownloadError(url, f"{error}, {failures} times in a row") from error
                time.sleep(min(patience.pause * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))

    def _attempt(self, url: str, package: Package, on_bytes: OnBytes, timeout: float) -> None:
        """Fetch what is missing.

        Raises:
            BrokenTransferError: the transfer failed, and may go better another time.
            DownloadError: it will not go better another time.
        """
        version = self._version()
        if version is None or version.url != url or (version.validator is None and package.checksum is None):
            version = None
        elif version.total is not None and self._size() == version.total:
            return on_bytes(version.total, version.total)
        offset, validator = (self._size(), version.validator) if version else (0, None)
        try:
            with open_from(url, offset, validator, timeout) as answer:
                self._take(answer, version, package, on_bytes)
        except PastEndError:
            self._truncate()
            raise

    def _take(self, answer: Answer, version: _Version | None, package: Package, on_bytes: OnBytes) -> None:
        """Write what arrives behind what is there, or in its place where the server sends all of it again."""
        arriving = _Version(answer.url, answer.validator, answer.total)
        _check_announced(package, arriving, self._size(), self.path.parent)
        if answer.start == 0:
            self._truncate()
        elif arriving != version or answer.start != self._size():
            self._truncate()
            raise BrokenTransferError("it has changed while it was fetched")
        self._facts.write_text(json.dumps(asdict(arriving)))
        on_bytes(self._size(), arriving.total)
        while chunk := answer.read():
            self._append(chunk)
            on_bytes(self._size(), arriving.total)
        if arriving.total is not None and self._size() != arriving.total:
            raise BrokenTransferError(f"it broke off after {self._size():,} of {arriving.total:,} bytes")

    def _append(self, chunk: bytes) -> None:
        try:
            while chunk:
                chunk = chunk[self._stream.write(chunk) :]
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise DownloadError(str(self.path), f"there is no room for it ({error.strerror})") from error

    def _version(self) -> _Version | None:
        """Which version has partly arrived; None for nothing, or nothing that can be relied upon."""
        try:
            version = _Version(**json.loads(self._facts.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return None if version.total is not None and self._size() > version.total else version

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _truncate(self) -> None:
        self._stream.truncate(0)
        self._facts.unlink(missing_ok=True)


def _check_announced(package: Package, version: _Version, occupied: int, folder: Path) -> None:
    """Refuse what will not be the package, or will not fit.

    Raises:
        DownloadError: another size than was published, or more than the disk has room for.
    """
    if version.total is None:
        return
    if package.size is not None and version.total != package.size:
        raise DownloadError(version.url, f"it has {version.total:,} bytes there instead of {package.size:,}")
    free, wanted = shutil.disk_usage(folder).free, version.total - occupied
    if free < wanted:
        raise DownloadError(version.url, f"{wanted:,} bytes are to come, and {folder} has room for {free:,}")
