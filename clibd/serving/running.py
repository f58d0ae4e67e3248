"""The server as a process."""

from collections.abc import Iterator
from contextlib import contextmanager

from clibd.serving.server import GUARDED, server
from results.dashboard.site.guard import Guard
from results.dashboard.site.listening import Served, running
from workloads.identification.identifying import Identifier


@contextmanager
def served(
    identifier: Identifier, host: str = "127.0.0.1", port: int = 8400, token: str | None = None, exact: bool = False
) -> Iterator[Served]:
    """A server of a database while the block lasts, in a thread.

    Args:
        identifier: of the database.
        host: that it listens at.
        port: the first to try; where it is taken the next free one is taken. 0 for any.
        token: without which nobody asks.
        exact: whether it is to be this port.

    Raises:
        UnsafeHostError: others reach the host, and there is no token.
        UsageError: the host is none of this machine's, or the port and those behind it are taken.
    """
    Guard(host, port, token, GUARDED)  # refused before a port is taken
    with running(lambda at: server(identifier, Guard(host, at, token, GUARDED)), lambda: None, host, port, exact) as it:
        yield it
