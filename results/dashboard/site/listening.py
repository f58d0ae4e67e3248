"""A server as a process: a port that is free, a thread that serves, and an end that closes what is open."""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from results.dashboard.site.guard import ANY_HOST
from workloads.errors import UsageError

_TRIED = 50
_TO_CLOSE = 3
"""Seconds in which replies are sent to their ends once the server is to stop."""
_TO_END = 20
"""Seconds for all of its end, on a machine that is busy: its socket is closed only then."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    address: str
    """For a browser."""
    port: int
    wait: Callable[[], object]
    """Until it ends."""


class _Server(uvicorn.Server):
    """Ends first what never ends by itself, such as the streams of those who listen."""

    def __init__(self, config: uvicorn.Config, close: Callable[[], None]) -> None:
        super().__init__(config)
        self._close = close

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it."""
        self._close()
        await super().shutdown(sockets)


@contextmanager
def running(
    app_at: Callable[[int], ASGIApp], close: Callable[[], None], host: str, port: int, exact: bool
) -> Iterator[Served]:
    """An application that is served while the block lasts, in a thread.

    Args:
        app_at: gives the application as it is served at a port.
        close: ends what the application would go on with by itself.
        host: to listen at.
        port: the first to try; where it is taken the next free one is taken. 0 for any.
        exact: whether it is to be this port.

    Raises:
        UsageError: the host is none of this machine's, or the port and those behind it are taken.
    """
    with _bound(host, port, 1 if exact or not port else _TRIED) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            app_at(port),
            log_level="warning",
            access_log=False,  # an address may name what is nobody else's business
            server_header=False,
            timeout_graceful_shutdown=_TO_CLOSE,
            ws="none",
            loop="asyncio",
        )
        server = _Server(config, close)
        ended = threading.Event()  # no `join`: one that Ctrl-C interrupts takes the thread for ended

        def serve() -> None:
            try:
                asyncio.run(server.serve([listening]))
            finally:
                ended.set()

        threading.Thread(target=serve, name="server", daemon=True).start()
        shown = socket.gethostname() if host in ANY_HOST else f"[{host}]" if ":" in host else host
        try:
            yield Served(f"http://{shown}:{port}/", port, ended.wait)
        finally:
            server.should_exit = True
            ended.wait(_TO_END)


@contextmanager
def _bound(host: str, first: int, tried: int) -> Iterator[socket.socket]:
    """A socket that listens at the first free one of some ports."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, min(first + tried, 65_536)):
        listening = socket.socket(kind, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(256)
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise UsageError(
                f"{host}:{port} is no place to listen at ({error}): give another --host or --port"
            ) from error
        with listening:
            yield listening
        return
    raise UsageError(f"ports {first} to {first + tried - 1} of {host} are taken: give another one with --port")
