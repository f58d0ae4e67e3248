"""Takes the pictures of the dashboard that stand in the documentation, of any folder of runs.

    python -m tests.browser.pictures RUNS DATA

Of each kind of pages the top, 1440 pixels wide, which `docs/dashboard.md` links; some as a telephone shows them, one in
the dark. With `--whole` all of every page in all four ways, to look for what is cut off or cannot be read.
"""

import argparse
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.dashboard_pages import one_of_each
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from tests.browser.conftest import CHROMIUM, NARROW, ROOT, WIDE, draw_charts, serving
from workloads.storage import Folder

ON_TELEPHONES = ("overview", "table", "retrieval")
IN_THE_DARK = ("run",)
WORDS = ("--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader")
_WIDE, _NARROW = WIDE["width"], NARROW["width"]
_PATIENCE = 120_000
"""Milliseconds that a page may take on a busy machine."""
_SHOWN, _TALLEST = 1500, 6000
"""Pixels of the top of a page, and of a whole one, at most."""
_COLOURS = 128
"""Of a picture's palette; photographs of insects are small in them."""


def pictures(address: str, visits: Mapping[str, Asked], out: Path, whole: bool, browser: Browser) -> int:
    """Take all of them; gives their bytes together."""
    size = 0
    for width, dark in product((_WIDE, _NARROW), (False, True)):
        names = _taken(visits, width, dark, whole)
        with _reader(browser, width, dark) as page:
            for name in names:
                page.goto(address + visits[name].path)
                settle(page)
                end = ("-narrow" if width == _NARROW else "") + ("-dark" if dark else "")
                tall = _TALLEST if whole else _SHOWN
                size += _save(page.screenshot(full_page=whole), out / f"{name}{end}.png", min(_height(page), tall))
    return size


def _taken(visits: Mapping[str, Asked], width: int, dark: bool, whole: bool) -> list[str]:
    if whole:
        return list(visits)
    chosen = visits if (width, dark) == (_WIDE, False) else IN_THE_DARK if width == _WIDE else ON_TELEPHONES
    return [name for name in chosen if name in visits and not (dark and width == _NARROW)]


@contextmanager
def _reader(browser: Browser, width: int, dark: bool) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": _SHOWN}, color_scheme="dark" if dark else "light")
    context.set_default_timeout(_PATIENCE)
    yield context.new_page()
    context.close()


def settle(page: Page) -> None:
    """Wait until all charts and pictures are drawn."""
    page.wait_for_load_state("load")
    page.wait_for_function("() => [...document.images].every((one) => one.complete || one.loading === 'lazy')")
    page.wait_for_function("() => !document.querySelector('[hx-trigger^=\"load delay\"]')")  # it comes when it is made
    draw_charts(page)
    page.wait_for_timeout(400)  # a transition or two


def _height(page: Page) -> int:
    return int(page.evaluate("document.body.offsetHeight"))


def _save(content: bytes, path: Path, height: int) -> int:
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, height)))
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def main() -> None:
    """Take what the command line asks for."""
    parser = argparse.ArgumentParser(description="Takes pictures of the dashboard.")
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA", help="prepared data set of these runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--whole", action="store_true", help="all of every page, in every way")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="names of pages")
    asked = parser.parse_args()
    data = None if asked.data is None else Folder(asked.data)
    visits = one_of_each(Catalog(Folder(asked.runs), data))
    visits = {name: one for name, one in visits.items() if not asked.only or name in asked.only}
    asked.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        address = stack.enter_context(serving(asked.runs, *(("--data", asked.data) if data else ())))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=os.fspath(CHROMIUM), args=[*WORDS])
        size = pictures(address, visits, asked.out, asked.whole, browser)
        browser.close()
    print(f"{asked.out}: {len(visits)} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
