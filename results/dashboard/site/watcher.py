"""What has changed, told to every reader who listens: one look a second for all of them, and none while nobody does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from results.dashboard.catalog import Catalog
from results.dashboard.look import Change

_LOOK_EVERY = 1.0
_HEARTBEAT = 10.0
"""Seconds after which a line is sent though nothing has changed, so that a connection that is gone is seen."""


@dataclass(eq=False)
class _Listener:
    """What one reader has not been told yet; of what changes again meanwhile only the last state."""

    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    change: Change | None = None


class Watcher:
    """Looks at a catalogue's folder as long as somebody listens. All of it runs in one event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def told(self) -> AsyncIterator[str]:
        """Events for one reader, in the form of server-sent events, until it leaves or the server ends.

        The first says which look is the last, so that a page that shows an earlier one is renewed.
        """
        listener = _Listener()
        self._listeners.add(listener)
        try:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._watch())
            look = await asyncio.to_thread(lambda: self._catalog.now)
            yield f"retry: 2000\n{_event('look', {'look': look.number})}"
            while not self._closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(listener.waiting.wait(), _HEARTBEAT)
                change, listener.change = listener.change, None
                listener.waiting.clear()
                yield ": here\n\n" if change is None else _event("changed", change.told())
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all that listen."""
        self._closed = True
        for listener in self._listeners:
            listener.waiting.set()

    async def _watch(self) -> None:
        before = await asyncio.to_thread(lambda: self._catalog.now)
        while self._listeners and not self._closed:
            await asyncio.sleep(_LOOK_EVERY)
            with suppress(OSError):  # a store that does not answer now; the next look may find it again
                after = await asyncio.to_thread(self._catalog.look_again)
                if after.number != before.number:
                    self._tell(after.since(before))
                    before = after

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener.change = change if listener.change is None else listener.change.then(change)
            listener.waiting.set()


def _event(name: str, told: object) -> str:
    return f"event: {name}\ndata: {json.dumps(told)}\n\n"
