"""The dashboard as a process."""

from collections.abc import Iterator
from contextlib import contextmanager

from results.dashboard.catalog import Catalog
from results.dashboard.site.guard import Guard
from results.dashboard.site.listening import Served, running
from results.dashboard.site.server import dashboard
from results.dashboard.site.watcher import Watcher


@contextmanager
def served(
    catalog: Catalog, host: str = "127.0.0.1", port: int = 8300, token: str | None = None, exact: bool = False
) -> Iterator[Served]:
    """A server of a catalogue while the block lasts, in a thread.

    Args:
        catalog: of the runs.
        host: that it listens at.
        port: the first to try; where it is taken the next free one is taken. 0 for any.
        token: without which nobody reads.
        exact: whether it is to be this port.

    Raises:
        UnsafeHostError: others reach the host, and there is no token.
        UsageError: the host is none of this machine's, or the port and those behind it are taken.
    """
    Guard(host, port, token)  # refused before a port is taken
    watcher = Watcher(catalog)
    with running(
        lambda at: dashboard(catalog, Guard(host, at, token), watcher), watcher.close, host, port, exact
    ) as it:
        yield it
