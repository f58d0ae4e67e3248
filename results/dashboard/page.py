"""What a page is, before it is served or exported: what was asked for, and the values that its template shows.

A page is a function of the catalogue and of its address alone, so that the same address gives the same page to every
viewer, in a link that is kept, and in the exported folder.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from results.dashboard.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Asked:
    """An address within the dashboard."""

    page: str
    """Name of its kind, such as `run`."""
    of: str = ""
    """What it is of, such as the id of a run; empty where there is one such page."""
    options: tuple[tuple[str, str], ...] = ()
    """Further words of the address by their names, sorted, without those that are as they are by default."""

    @staticmethod
    def to(page: str, of: object = "", options: Mapping[str, object] | None = None) -> "Asked":
        """An address; options that are None or empty are left out."""
        kept = {name: str(value) for name, value in (options or {}).items() if value is not None and value != ""}
        return Asked(page, str(of), tuple(sorted(kept.items())))

    def option(self, name: str, default: str = "") -> str:
        """A word of the address."""
        return dict(self.options).get(name, default)

    def number(self, name: str, default: int) -> int:
        """A whole number of the address, at least 0; the default where it is none."""
        text = self.option(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def but(self, **changes: object) -> "Asked":
        """The same with other options; None takes one away."""
        return Asked.to(self.page, self.of, {**dict(self.options), **changes})

    @property
    def path(self) -> str:
        """Its path and query on the server."""
        below = "/" if self.page == "overview" and not self.of else f"/{quote(self.page)}"
        below += f"/{quote(self.of, safe='', errors='replace')}" if self.of else ""
        return below + (f"?{urlencode(self.options, errors='replace')}" if self.options else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page to be shown."""

    title: str
    template: str
    """A file in `templates/` that extends `base.html.j2`."""
    told: Mapping[str, Any]
    """Values of the template by their names; text in them is text, whatever it holds."""
    scripts: tuple[str, ...] = ()
    """Files in `static/`, in the order in which they are loaded, behind those that every page has."""
    trail: tuple[tuple[str, Asked], ...] = ()
    """Pages that it lies below: words and address, the outermost first; the overview is there without saying."""
    synthetic: bool = False
    """Whether numbers on it are of drawn specimens, which a banner says."""
    passing: bool = False
    """Whether it waits for something that is being made, and will be another though no file changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """An answer that is no page: a picture, a download, columns for a script."""

    content: bytes
    media_type: str
    name: str | None = None
    """As it is saved under; None for what is shown within a page."""


class NotThereError(Exception):
    """There is no such page; what is said names what there is, or how to make it."""


Answer = Page | File


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of pages, or of files."""

    name: str
    make: Callable[["Catalog", Asked], Answer]
    """
    Raises:
        NotThereError: there is none of this address.
    """
    options: Mapping[str, str] = field(default_factory=dict)
    """Names of the words that its addresses may have, each with its default."""
    listed: Callable[["Catalog"], Iterable[Asked]] = lambda catalog: ()
    """Pages that an export holds; files are in it where such a page links to them."""
    suffix: str = ".html"
    """Of an exported file. What is no `.html` is a file, and in an export wherever an exported page links to it."""


Link = Callable[[Asked], str | None]
"""Gives the address of something as the page that links to it has to write it; None where an export lacks it."""
