"""Pages as a reader gets them, without a server between."""

import json
import re
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any

import numpy as np

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


_TYPES = {"Int8Array": "i1", "Int16Array": "<i2", "Int32Array": "<i4", "Float32Array": "<f4"}


def columns_of(file: File) -> dict[str, list[Any]]:
    """What a page's script finds in a file of columns, read number by number."""
    found = re.fullmatch(r'clibd\.columns\((".*"), "([A-Za-z0-9+/=]*)"\);\n', file.content.decode())
    assert found is not None
    assert isinstance(json.loads(found[1]), str)
    head, _, numbers = zlib.decompress(b64decode(found[2])).partition(b"\n")

    def next_numbers(kind: str, length: int) -> list[Any]:
        nonlocal numbers
        size = np.dtype(_TYPES[kind]).itemsize
        own, numbers = numbers[: size * length], numbers[size * length :]
        each = [bytes(own[byte * length + n] for byte in range(size)) for n in range(length)]
        return [np.frombuffer(one, _TYPES[kind])[0].item() for one in each]

    columns: dict[str, list[Any]] = {}
    for name, kind, *more in json.loads(head):
        if kind != "words":
            columns[name] = next_numbers(kind, more[0])
        elif more[1] is None:
            columns[name] = more[0]
        else:
            columns[name] = [None if code < 0 else more[0][code] for code in next_numbers(*more[1])]
    assert not numbers
    return columns


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
