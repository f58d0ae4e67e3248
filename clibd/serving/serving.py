"""One database for those who ask at once: how much of what they send is held, and when whose turn it is."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import anyio.to_thread
from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from clibd.serving.answering import Named, Turns
from clibd.serving.reference import Reference
from clibd.serving.sent import RefusedError, Sent, read_sent
from clibd.serving.shown import line_of
from clibd.serving.uploads import Specimen, specimens_of
from workloads.errors import UsageError
from workloads.identification.identifying import Identifier

_AT_ONCE = 4
"""Requests whose uploads are held at once, 64 MB each at most; others wait."""
_TO_WAIT = 60.0
"""Seconds until whoever waits is told so."""


class Lines(StreamingResponse):
    """Lines as they are made; its place is free again however the reader leaves."""

    def __init__(self, lines: Iterator[str], leave: Callable[[], None]) -> None:
        super().__init__(
            lines, media_type="application/x-ndjson", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette does it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


class Serving:
    """One database for those who ask at once."""

    def __init__(self, identifier: Identifier) -> None:
        self.facts, self.reference = identifier.database.facts, Reference(identifier.database)
        self._turns, self._places = Turns(identifier), anyio.CapacityLimiter(_AT_ONCE)

    async def taken(self, request: Request) -> tuple[Sent, Sequence[Specimen], Callable[[], None]]:
        """What a request asks, its specimens, and how its place is left, which has to be done.

        Raises:
            RefusedError: it is not answered.
        """
        place = object()
        try:
            with anyio.fail_after(_TO_WAIT):
                await self._places.acquire_on_behalf_of(place)
        except TimeoutError as error:
            raise RefusedError(
                503, "Others are being answered, and there is no room yet. Ask again in a minute."
            ) from error

        def leave() -> None:
            self._places.release_on_behalf_of(place)

        try:
            sent = await read_sent(request)
            return sent, await anyio.to_thread.run_sync(_specimens, sent), leave
        except BaseException:
            leave()
            raise

    def named(self, sent: Sent, specimens: Sequence[Specimen]) -> Iterator[tuple[Named, dict[str, Any]]]:
        """The specimens in their order, each with what programs are told of it."""
        for named in self._turns.named(specimens, sent.confidence, sent.neighbours):
            yield named, line_of(named, self.reference)


def _specimens(sent: Sent) -> Sequence[Specimen]:
    try:
        return specimens_of(sent.uploads, sent.records)
    except UsageError as error:
        raise RefusedError(413, f"{error}"[:1].upper() + f"{error}"[1:]) from error
