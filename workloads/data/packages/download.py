"""Fetch a public package: resumed where it broke off, checked against its published checksum, never unpacked.

While a package arrives it is `NAME.part`, beside a `NAME.part.json` that says which version of it this is. It gets its
name when its bytes have been checked, and only then. Nothing is asked for but https, also after a redirect, and http of
this machine itself.
"""

import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from workloads.data.packages.published import Package
from workloads.disk_errors import NO_ROOM, named
from workloads.errors import DownloadError, UsageError
from workloads.plain_values import parsed

OnBytes = Callable[[int, int | None], None]
"""Told how many bytes are there, and how many there will be, if that is known."""

_CHUNK = 1 << 20
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_WORTHWHILE = 1 << 20  # an attempt that brought as much does not count as a failed one
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A package that is there."""

    path: Path
    algorithm: str
    checksum: str
    """That of the file as it is on disk, hexadecimal."""
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
    with _Part(package, place, on_bytes, patience) as part:
        return part.arrival()


def _check(package: Package, path: Path, otherwise: str) -> Arrival:
    """Compare a file with what has been published of it; another size or checksum is a DownloadError."""
    algorithm, _, published = (package.checksum or "sha256:").lower().partition(":")
    size = path.stat().st_size
    if package.size is not None and size != package.size:
        raise DownloadError(package.name, f"{size:,} bytes instead of {package.size:,}; {otherwise}")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if published and digest != published:
        raise DownloadError(package.name, f"the {algorithm} is {digest} instead of {published}; {otherwise}")
    return Arrival(path, algorithm, digest, bool(published))


class _BrokenTransferError(Exception):
    """A transfer that may go better another time."""


@dataclass(frozen=True, slots=True)
class _Version:
    """Which version of a package it is that has partly arrived."""

    url: str
    validator: str | None
    """Strong ETag or date of last change; None where the server tells neither."""
    total: int | None


class _Part:
    """A package on its way; only one process at a time writes to it."""

    def __init__(self, package: Package, place: Path, on_bytes: OnBytes, patience: Patience) -> None:
        self._package, self._place, self._on_bytes, self._patience = package, place, on_bytes, patience
        self._path = place.with_name(f"{place.name}.part")
        self._facts = place.with_name(f"{place.name}.part.json")

    def __enter__(self) -> "_Part":
        self._stream = self._path.open("ab", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, the process that had the lock may have given the file its name.
            is_ours = self._path.exists() and os.path.samestat(self._path.stat(), os.fstat(self._stream.fileno()))
        except BlockingIOError:
            is_ours = False
        if not is_ours:
            self._stream.close()
            raise DownloadError(str(self._path), "another process is fetching it")
        return self

    def __exit__(self, *_: object) -> None:
        if self._size() == 0:
            self._path.unlink(missing_ok=True)
            self._facts.unlink(missing_ok=True)
        self._stream.close()

    def arrival(self) -> Arrival:
        """Fetch all bytes, and give the part its name if they are those that were published; otherwise remove it.

        Raises:
            DownloadError: they did not arrive, or are others.
        """
        self._fetch()
        try:
            arrival = _check(self._package, self._path, "what has arrived was removed")
        except DownloadError:
            self._truncate()  # and so it is removed at the end
            raise
        os.fsync(self._stream.fileno())
        os.replace(self._path, self._place)
        self._facts.unlink(missing_ok=True)
        return replace(arrival, path=self._place)

    def _fetch(self) -> None:
        """Fetch all bytes, from the first address that gives them; the one that a part is from comes first."""
        version = self._version()
        reasons = []
        for url in sorted(self._package.urls, key=lambda url: version is None or url != version.url):
            try:
                return self._fetch_from(url)
            except DownloadError as error:
                reasons.append(error)
        if len(reasons) == 1:
            raise reasons[0]
        raise DownloadError(self._package.name, "; ".join(f"{error.args[0]}: {error.args[1]}" for error in reasons))

    def _fetch_from(self, url: str) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                return self._attempt(url)
            except _BrokenTransferError as error:
                failures = 0 if self._size() - before >= _WORTHWHILE else failures + 1
                if failures >= self._patience.attempts:
                    raise DownloadError(url, f"{error}, {failures} times in a row") from error
                time.sleep(min(self._patience.pause * 2 ** max(failures - 1, 0), _LONGEST_PAUSE))

    def _attempt(self, url: str) -> None:
        """Fetch what is missing.

        Raises:
            _BrokenTransferError: the transfer failed, and may go better another time.
            DownloadError: it will not go better another time.
        """
        version = self._version()
        if version is None or version.url != url or (version.validator is None and self._package.checksum is None):
            version = None
        elif version.total is not None and self._size() == version.total:
            return self._on_bytes(version.total, version.total)
        offset, validator = (self._size(), version.validator) if version else (0, None)
        try:
            response = _ask(url, offset, validator, self._patience.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answers {error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file has fewer bytes than the part
                self._truncate()
            elif error.code not in _TRY_AGAIN:
                raise DownloadError(url, reason) from error
            raise _BrokenTransferError(reason) from error
        with response:
            self._take(url, response, version)

    def _take(self, url: str, response: http.client.HTTPResponse, version: _Version | None) -> None:
        """Write what arrives behind what is there, or in its place where the server sends all of it again."""
        start, arriving = _announced(url, response)
        self._check_size(arriving)
        if start == 0:
            self._truncate()
        elif arriving != version or start != self._size():
            self._truncate()
            raise _BrokenTransferError("it has changed while it was fetched")
        self._facts.write_text(json.dumps(asdict(arriving)))
        self._on_bytes(self._size(), arriving.total)
        while chunk := _next_bytes(response):
            self._append(chunk)
            self._on_bytes(self._size(), arriving.total)
        if arriving.total is not None and self._size() != arriving.total:
            raise _BrokenTransferError(f"it broke off after {self._size():,} of {arriving.total:,} bytes")

    def _check_size(self, arriving: _Version) -> None:
        """Refuse what will not be the package, or will not fit."""
        if arriving.total is None:
            return
        if (size := self._package.size) is not None and arriving.total != size:
            raise DownloadError(arriving.url, f"it has {arriving.total:,} bytes there instead of {size:,}")
        folder, wanted = self._place.parent, arriving.total - self._size()
        if (free := shutil.disk_usage(folder).free) < wanted:
            raise DownloadError(arriving.url, f"{wanted:,} bytes are to come, and {folder} has room for {free:,}")

    def _append(self, chunk: bytes) -> None:
        try:
            while chunk:
                chunk = chunk[self._stream.write(chunk) :]
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            told = named(error, str(self._path), self._package.size)
            raise DownloadError(str(self._path), f"there is no room for it ({told.strerror})") from error

    def _version(self) -> _Version | None:
        """Which version has partly arrived; None for nothing, or nothing that can be relied upon."""
        try:
            version = _Version(**parsed(self._facts.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return None if version.total is not None and self._size() > version.total else version

    def _size(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def _truncate(self) -> None:
        self._stream.truncate(0)
        self._facts.unlink(missing_ok=True)


def _ask(url: str, offset: int, validator: str | None, timeout: float) -> http.client.HTTPResponse:
    """Ask for a file from an offset on; all of it comes if it is no longer of the version that the validator names."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "clibd"}
    if offset:
        headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator is not None else {})
    check_address(url, url)
    # Every address that is asked, also after a redirect, has been checked; no proxy leads to this machine itself.
    proxies = [urllib.request.ProxyHandler({})] if _is_loopback(url) else []
    opener = urllib.request.build_opener(_SafeRedirects(), *proxies)
    with _broken_named("no connection"):
        response: http.client.HTTPResponse = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        response.close()
        raise DownloadError(url, "the server sends it compressed, although not asked to")
    return response


def _next_bytes(response: http.client.HTTPResponse) -> bytes:
    """The next bytes as soon as there are some, none at the end."""
    with _broken_named("the connection broke"):
        return response.read1(_CHUNK)


@contextmanager
def _broken_named(what: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenTransferError(f"{what} ({getattr(error, 'reason', error)})") from error


def _announced(url: str, response: http.client.HTTPResponse) -> tuple[int | None, _Version]:
    """Offset of the first byte that comes (0: the whole file; None: the server does not say), and of which version."""
    etag, start, length = response.headers.get("ETag"), "0", response.headers.get("Content-Length", "")
    if response.status == http.client.PARTIAL_CONTENT:
        span, _, length = response.headers.get("Content-Range", "").partition("/")
        start = span.removeprefix("bytes ").partition("-")[0]
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    total = int(length) if length.isdecimal() else None
    return int(start) if start.isdecimal() else None, _Version(url, validator, total)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to places that may be asked, and to no others."""

    def redirect_request(  # type: ignore[no-untyped-def]  # urllib leaves its arguments unannotated
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        """The request that follows a redirect."""
        check_address(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(asked: str, url: str) -> None:
    """Refuse all but https, and http to this machine itself.

    Raises:
        DownloadError: another kind of address.
    """
    if urlsplit(url).scheme != "https" and not (
        urlsplit(url).scheme == "http" and _is_loopback(url) and _is_loopback(asked)
    ):
        raise DownloadError(asked, f"it leads to {url[:200]}, which is not an https address")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
