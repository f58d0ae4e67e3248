"""One request for a file by https, from any of its bytes on.

Nothing else is asked for: no other scheme, also after a redirect, but http to this machine itself.
"""

import http.client
import ipaddress
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from workloads.errors import DownloadError

_CHUNK = 1 << 20
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class BrokenTransferError(Exception):
    """A transfer that may go better another time."""


class PastEndError(BrokenTransferError):
    """The file has fewer bytes than the request started from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends."""

    url: str
    start: int | None
    """Offset of the first byte that comes; 0 from a server that sends the whole file, None if it does not say."""
    total: int | None
    """Size of the whole file, if the server tells."""
    validator: str | None
    """What names this version of the file: a strong ETag, or else the date of its last change."""
    response: http.client.HTTPResponse

    def read(self) -> bytes:
        """The next bytes as soon as there are some, none at the end.

        Raises:
            BrokenTransferError: the connection broke.
        """
        try:
            return self.response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenTransferError(f"the connection broke ({error})") from error


@contextmanager
def open_from(url: str, offset: int, validator: str | None, timeout: float) -> Iterator[Answer]:
    """Ask for a file from an offset on.

    Args:
        url: an https address, or an http one of this machine.
        offset: first byte that is wanted.
        validator: of the version that the bytes before it are from; of another version, everything is sent.
        timeout: seconds without a byte after which the connection counts as broken.

    Raises:
        BrokenTransferError: no connection, or an answer that may be another one later.
        DownloadError: an answer that will stay the same.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "clibd"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator is not None:
            headers["If-Range"] = validator
    check_address(url, url)
    with _ask(urllib.request.Request(url, headers=headers), timeout) as response:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(url, "the server sends it compressed, although not asked to")
        yield _answer(url, response)


def _ask(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    # Every address that is asked, also after a redirect, has been checked; no proxy leads to this machine itself.
    proxies = [urllib.request.ProxyHandler({})] if _is_loopback(request.full_url) else []
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(_SafeRedirects(), *proxies).open(
            request, timeout=timeout
        )
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise PastEndError(reason) from error
        if error.code in _TRY_AGAIN:
            raise BrokenTransferError(reason) from error
        raise DownloadError(request.full_url, reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise BrokenTransferError(f"no connection ({getattr(error, 'reason', error)})") from error
    return response


def _answer(url: str, response: http.client.HTTPResponse) -> Answer:
    etag = response.headers.get("ETag")
    start: int | None = 0
    length = response.headers.get("Content-Length")
    if response.status == http.client.PARTIAL_CONTENT:
        span, _, length = response.headers.get("Content-Range", "").partition("/")
        start = _number(span.removeprefix("bytes ").partition("-")[0])
    return Answer(
        url=url,
        start=start,
        total=_number(length),
        validator=etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified"),
        response=response,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


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
