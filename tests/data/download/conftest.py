"""A server on this machine that does everything servers and networks do to a transfer."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.data.packages.download import Arrival, Patience, download
from workloads.data.packages.published import Package

CONTENT = np.random.default_rng(5).bytes(3_000_000)
PATIENCE = Patience(timeout=0.5, attempts=3, pause=0.0)

Answer = Callable[[BaseHTTPRequestHandler], None]
"""What the server does with one request."""


@dataclass
class Server:
    """A server that follows a script, one entry a request; its last entry answers all further requests."""

    script: list[Answer]
    address: str = ""
    ranges: list[str | None] = field(default_factory=list)
    """The range that each request asked for."""
    conditions: list[str | None] = field(default_factory=list)
    """Its If-Range."""


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the script."""

    server_of_test: Server

    def do_GET(self) -> None:
        server = self.server_of_test
        server.ranges.append(self.headers["Range"])
        server.conditions.append(self.headers["If-Range"])
        (server.script.pop(0) if len(server.script) > 1 else server.script[0])(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving(*script: Answer) -> Iterator[Server]:
    server = Server(list(script))
    handler = type("HandlerOfTest", (Handler,), {"server_of_test": server})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_address[1]}/file"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _sends(
    content: bytes = CONTENT,
    stop_after: int | None = None,
    etag: str | None = '"one"',
    heeds_range: bool = True,
    heeds_if_range: bool = True,
    tells_size: bool = True,
    stalls: bool = False,
    **headers: str,
) -> Answer:
    """Sends a file as good servers do, or with the given defect."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers["Range"], handler.headers["If-Range"]
        partial = heeds_range and asked and (not heeds_if_range or condition in (None, etag))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if partial else 0
        if partial and start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if partial else 200)
        if partial:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if tells_size:
            handler.send_header("Content-Length", str(len(content) - start))
        if etag:
            handler.send_header("ETag", etag)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content[start:][:stop_after])
        handler.wfile.flush()
        if stalls:
            threading.Event().wait(1.5)

    return answer


def _fails(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


def _redirects(address: Callable[[], str]) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", address())
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def _package(*servers: Server | str, content: bytes = CONTENT) -> Package:
    return Package(
        name="insects",
        file_name="insects.zip",
        urls=tuple(server if isinstance(server, str) else server.address for server in servers),
        content="insects",
        licence="CC BY 3.0",
        checksum=f"md5:{hashlib.md5(content).hexdigest()}",
    )


def _fetch(wanted: Package, folder: Path, **options: Any) -> Arrival:
    return download(wanted, folder, **{"patience": PATIENCE, **options})


@pytest.fixture(scope="session")
def content() -> bytes:
    """Three megabytes: the file that the server has if nothing else is said."""
    return CONTENT


@pytest.fixture(scope="session")
def other() -> bytes:
    """Another file of the same length."""
    return np.random.default_rng(6).bytes(len(CONTENT))


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Server]]:
    """A running server, given its script: what to answer to the first request, to the second, and so on."""
    return _serving


@pytest.fixture(scope="session")
def sends() -> Callable[..., Answer]:
    """An answer: the file, as good servers send it, or with the given defect."""
    return _sends


@pytest.fixture(scope="session")
def fails() -> Callable[[int], Answer]:
    """An answer: an error of this number."""
    return _fails


@pytest.fixture(scope="session")
def redirects() -> Callable[[Callable[[], str]], Answer]:
    """An answer: ask there."""
    return _redirects


@pytest.fixture(scope="session")
def package() -> Callable[..., Package]:
    """A package that lies on these servers."""
    return _package


@pytest.fixture(scope="session")
def fetch() -> Callable[..., Arrival]:
    """Fetches a package into a folder, with little patience."""
    return _fetch
