"""A dashboard on a port of this machine, and requests as browsers and others make them."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.page import Kind
from results.dashboard.site import serving
from workloads.storage import Folder


@dataclass
class Desk:
    """Whoever asks a dashboard."""

    port: int

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> "Got":
        """One request; names of headers have `_` for `-`, and one that is empty is not sent."""
        with self.connected() as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
            sent = body.encode() if body is not None else None
            if sent is not None:
                named |= {"Content-Length": str(len(sent)), "Content-Type": "application/x-www-form-urlencoded"}
            for name, value in named.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(sent)
            reply = connection.getresponse()
            return Got(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def listening(self) -> Iterator["Stream"]:
        """To what changes."""
        with self.connected() as connection:
            connection.request("GET", "/live")
            yield Stream(connection.getresponse())


@dataclass
class Got:
    """A reply."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """As UTF-8."""
        return self.content.decode()


@dataclass
class Stream:
    """Events as they come."""

    reply: http.client.HTTPResponse

    def next(self) -> tuple[str, Any]:
        """The next event's name and what it tells; an empty name at the end of the stream."""
        name = ""
        for line in iter(self.reply.readline, b""):
            words = line.decode().rstrip("\n")
            if words.startswith("event: "):
                name = words.removeprefix("event: ")
            elif words.startswith("data: "):
                return name, json.loads(words.removeprefix("data: "))
        return "", None


@contextmanager
def served(runs: Folder, token: str | None = None) -> Iterator[Desk]:
    """A dashboard of some runs."""
    with serving.served(Catalog(runs), port=0, token=token) as server:
        yield Desk(server.port)


def only(made: Mapping[str, Kind], patch: pytest.MonkeyPatch) -> None:
    """For a test there are only these kinds of pages."""
    for module in ("answers", "kinds", "export", "replies"):
        patch.setattr(f"results.dashboard.site.{module}.kinds", lambda: made)
