"""What goes over the wire for an address: content, its digest, and the packed form of it, made in the asker's thread.

What lies in the runs decides an answer, so it is kept until they change; a browser that has it is told so in a line.
Packing is done here, not by Starlette's middleware, which would hold up everybody while it packs a large file.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import quote

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, Page
from results.dashboard.site.answers import answer, html_of
from results.dashboard.site.kinds import kinds, plain
from results.dashboard.site.rendering import rendered, static_file

RENEWS = "clibd-renews"
"""A header of whoever has the page and renews its parts."""
_WORTH_PACKING = 1000
_PACKED = ("text/", "application/json", "image/svg+xml")
_TYPES = {"css": "text/css", "js": "text/javascript", "txt": "text/plain"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it is sent."""

    content: bytes
    packed: bytes | None
    """The same as gzip; None where that is not worth it."""
    status: int
    headers: Mapping[str, str]
    passing: bool = False
    """Whether it is not to be kept, as the page waits for something."""

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return len(self.content) + len(self.packed or b"")


def reply_to(catalog: Catalog, asked: Asked, renewing: bool = False) -> Reply:
    """The reply to an address; kept until something in the folder of runs changes, but for pages that wait.

    Args:
        catalog: of the runs.
        asked: the address.
        renewing: whether the reader has the page, and renews its parts.
    """
    asked, look = plain(asked), catalog.now
    if asked.page not in kinds():
        return _made(catalog, asked, renewing)
    key = ("reply", asked, renewing, look.number, catalog.problem)
    return catalog.kept(key, lambda: _made(catalog, asked, renewing))


def _made(catalog: Catalog, asked: Asked, renewing: bool) -> Reply:
    answered = answer(catalog, asked)
    if isinstance(answered.answer, Page):
        look, stale = catalog.now.number, catalog.problem

        def render(page: Page) -> str:
            return rendered(page, asked, served_link, "/static/", True, look=look, stale=stale, renewing=renewing)

        html, status = html_of(answered.answer, answered.status, render)
        reply = _reply(html.encode("utf-8", "replace"), "text/html; charset=utf-8", status)
        return replace(reply, passing=answered.answer.passing)
    file = answered.answer
    saved = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}" if file.name else "inline"
    return _reply(file.content, file.media_type, answered.status, {"content-disposition": saved})


def served_link(asked: Asked) -> str | None:
    """The address of a page on the server; None where there is no such kind."""
    return plain(asked).path if asked.page in kinds() else None


@cache
def static_reply(name: str) -> Reply | None:
    """A file of every page; None where there is none of this name."""
    content = static_file(name)
    if content is None:
        return None
    return _reply(content, f"{_TYPES.get(name.rpartition('.')[2], 'application/octet-stream')}; charset=utf-8", 200)


def _reply(content: bytes, media_type: str, status: int, more: Mapping[str, str] | None = None) -> Reply:
    packed = None
    if len(content) > _WORTH_PACKING and media_type.startswith(_PACKED):
        packed = gzip.compress(content, compresslevel=4, mtime=0)
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    always = {"content-type": media_type, "etag": f'W/"{digest}"', "cache-control": "private, no-cache"}
    return Reply(
        content, packed, status, {**always, "vary": f"accept-encoding, cookie, authorization, {RENEWS}", **(more or {})}
    )
