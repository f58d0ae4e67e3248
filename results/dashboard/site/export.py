"""The dashboard as a folder that is opened from disk or mailed: every page of the runs, and what pages link to.

A page from disk may load scripts, styles and pictures by relative addresses, and nothing else: no modules, no fetch.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, File, Page
from results.dashboard.site.answers import answer, html_of
from results.dashboard.site.kinds import kinds, plain
from results.dashboard.site.rendering import rendered, static_file, static_names
from workloads.command_line import Tell
from workloads.errors import UsageError
from workloads.leftovers import aside_of
from workloads.naming import slug

_MARK = "export.json"
"""Written last; a folder that has it is one of ours, and whole."""
_FIRST = Asked("overview")
_READABLE = 28
"""Letters of a file's name that say what it is of; the digest behind them tells it from others. Links repeat them."""
_AGAIN = 0.1
"""Seconds until a page is asked for again whose comparison is being made."""


class TakenFolderError(UsageError):
    """A folder that holds something else."""

    sentence = (
        "{0} holds something else than an earlier export, which is not overwritten. Give another folder with --out."
    )

    def __init__(self, folder: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    first: Path
    """The page to open."""
    num_pages: int
    num_bytes: int


def export(catalog: Catalog, to: Path, tell: Tell = lambda done, total: None) -> Exported:
    """Write every page into a folder, which is there whole or not at all; an earlier export there is replaced.

    Args:
        catalog: of the runs, as they are now.
        to: the folder.
        tell: is told how many pages of how many are done.

    Raises:
        TakenFolderError: it holds something else.
    """
    to = to.absolute()
    _refuse_other_things(to)
    pages = _listed(catalog)
    with _replacing(to) as folder:
        site = _Site(catalog, folder, frozenset(pages))
        for name in static_names():
            site.write(f"static/{name}", static_file(name) or b"")
        for done, asked in enumerate(pages):
            tell(done, len(pages))
            site.write_page(asked)
        tell(len(pages), len(pages))
        told = {"pages": len(pages), "bytes": site.num_bytes, "runs": catalog.address, "made": round(time.time())}
        site.write(_MARK, json.dumps(told, indent=1).encode())
    return Exported(to / _place(_FIRST), len(pages), site.num_bytes)


def _listed(catalog: Catalog) -> list[Asked]:
    """The addresses of all pages, each once."""
    every = (plain(asked) for kind in kinds().values() for asked in kind.listed(catalog))
    return list(dict.fromkeys([_FIRST, *every]))


class _Site:
    """The files of an export while they are made."""

    def __init__(self, catalog: Catalog, folder: Path, pages: frozenset[Asked]) -> None:
        self._catalog, self._folder, self._pages = catalog, folder, pages
        self._files: dict[Asked, str | None] = {}
        self.num_bytes = 0

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.num_bytes += len(content)

    def write_page(self, asked: Asked) -> None:
        """Write a page, and the files that it links to."""
        place = _place(asked)
        up = "../" * place.count("/")

        def link(other: Asked) -> str | None:
            found = self._found(plain(other))
            return None if found is None else f"{up}{found}"

        def render(page: Page) -> str:
            return rendered(page, asked, link, f"{up}static/", served=False)

        made = answer(self._catalog, asked)
        while isinstance(made.answer, Page) and made.answer.passing:  # what takes a while comes when it is asked again
            time.sleep(_AGAIN)
            made = answer(self._catalog, asked)
        if isinstance(made.answer, Page):
            html, _ = html_of(made.answer, made.status, render)
            self.write(place, html.encode("utf-8", "replace"))

    def _found(self, asked: Asked) -> str | None:
        """Where something lies in the folder; None where it is not in it."""
        if asked in self._pages:
            return _place(asked)
        if (kind := kinds().get(asked.page)) is None or kind.suffix == ".html":
            return None
        if asked not in self._files:
            self._files[asked] = self._made(asked)
        return self._files[asked]

    def _made(self, asked: Asked) -> str | None:
        """Writes a file when a page first links to it; None where there is none."""
        made = answer(self._catalog, asked).answer
        if not isinstance(made, File):
            return None
        self.write(_place(asked), made.content)
        return _place(asked)


def _place(asked: Asked) -> str:
    """The file of an address: no name of the data is a path, and none differs from another by capitals alone."""
    if asked == _FIRST:
        return "index.html"
    suffix = kinds()[asked.page].suffix
    digest = hashlib.blake2b(asked.path.encode("utf-8", "replace"), digest_size=6).hexdigest()
    words = slug(asked.of)[:_READABLE].strip(".-") if asked.of else asked.page
    return f"{asked.page}/{words}-{digest}{suffix}"


# --- The folder ---------------------------------------------------------------------------------------------------


def _refuse_other_things(to: Path) -> None:
    if to.is_symlink() or to.is_file() or (to.is_dir() and any(to.iterdir()) and not (to / _MARK).is_file()):
        raise TakenFolderError(str(to))


@contextmanager
def _replacing(to: Path) -> Iterator[Path]:
    """A folder beside, which becomes that one when all of it is written."""
    to.parent.mkdir(parents=True, exist_ok=True)
    aside, before = aside_of(to), aside_of(to.with_name(f"{to.name}-before"))
    aside.mkdir()
    try:
        yield aside
        if to.exists():
            os.replace(to, before)
        try:
            os.replace(aside, to)
        except OSError:
            if before.exists():
                os.replace(before, to)
            raise
    finally:
        for left in (aside, before):
            with suppress(FileNotFoundError):
                shutil.rmtree(left)
