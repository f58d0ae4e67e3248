"""Pages as a reader gets them, without a server between."""

from html.parser import HTMLParser

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, File, Page
from results.dashboard.site.answers import answer
from results.dashboard.site.rendering import rendered


def shown(catalog: Catalog, page: str, of: object = "", /, status: int = 200, **options: object) -> str:
    """The HTML at an address, as the server gives it."""
    asked = Asked.to(page, of, options)
    answered = answer(catalog, asked)
    assert answered.status == status
    assert isinstance(answered.answer, Page)
    return rendered(answered.answer, asked, lambda other: other.path, "/static/", served=True)


def sent(catalog: Catalog, page: str, of: object = "", /, **options: object) -> File:
    """The file at an address."""
    answered = answer(catalog, Asked.to(page, of, options))
    assert isinstance(answered.answer, File)
    return answered.answer


def words_of(html: str) -> str:
    """What a reader reads, in one line."""

    class _Words(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.hidden = list[str](), 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.hidden += tag in ("script", "style", "head")

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in ("script", "style", "head")

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.words.append(data)

    parser = _Words()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())
