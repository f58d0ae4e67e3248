"""The exported folder: whole or not there, nothing of somebody else's overwritten, and no name of the data a path."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.site.export import TakenFolderError, export
from tests.dashboard.serving import only
from workloads.storage import Folder

HOSTILE = ["../../outside", "a/b", "..", "con", "A", "a", "<b>", "x" * 300, "%2e%2e", "\u00e9\n", "\udcff", '"onx="y']


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page for each name, which links to all, to one that no export holds, and to pictures, of which one lacks."""

    def page(catalog: Catalog, asked: Asked) -> Page:
        pages = [("page", Asked.to("of", name, {"rank": "species"})) for name in HOSTILE]
        lacks = [("lacks", Asked.to("of", name, {"rank": "genus"})) for name in HOSTILE]
        pictures = [("picture", Asked.to("picture", name)) for name in HOSTILE]
        return Page(title=asked.of, template="missing.html.j2", told={"why": ""}, trail=(*pages, *lacks, *pictures))

    def picture(catalog: Catalog, asked: Asked) -> File:
        if asked.of == "a/b":
            raise NotThereError("no picture")
        return File(content=asked.of.encode("utf-8", "replace"), media_type="image/png")

    rank = {"rank": "species"}
    made = [
        Kind(name="overview", make=page),
        Kind(name="of", make=page, options=rank, listed=lambda catalog: [Asked.to("of", name) for name in HOSTILE]),
        Kind(name="picture", make=picture, suffix=".png"),
    ]
    only({kind.name: kind for kind in made}, monkeypatch)


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]
        assert tag != "form"
        assert not any(name.startswith("on") or (name, value) == ("type", "module") for name, value in attrs)


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_pages_and_what_they_link_to_are_in_the_folder_and_nowhere_else(tmp_path: Path, names: None) -> None:
    made = export(Catalog(Folder(tmp_path / "runs")), tmp_path / "out" / "site")
    site = tmp_path / "out" / "site"
    assert made.first == site / "index.html"
    assert made.num_pages == 1 + len(HOSTILE)
    assert made.num_bytes == sum((site / name).stat().st_size for name in files(site))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site"]
    assert len({name.lower() for name in files(site)}) == len(files(site))
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == made.num_pages
    assert len(list(site.rglob("*.png"))) == len(HOSTILE) - 1
    for page in pages:
        for link in Links(page).found:
            assert link in ("data:,", "#main") or (page.parent / link).resolve().is_relative_to(site), link
            assert link in ("data:,", "#main") or (page.parent / link).is_file(), link
    words = next(page for page in pages if page.name != "index.html").read_text()
    assert words.count(">page</a>") == len(HOSTILE)
    assert words.count(">picture</a>") == len(HOSTILE) - 1
    assert ">lacks</a>" not in words
    assert "data-live" not in words


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    catalog, site = Catalog(Folder(tmp_path / "runs")), tmp_path / "site"
    export(catalog, site)
    (site / "run").mkdir()
    (site / "run" / "gone.html").write_text("of a run that is no more")
    export(catalog, site)
    assert not (site / "run").exists()
    assert json.loads((site / "export.json").read_text())["pages"] == len(list(site.rglob("*.html")))

    (tmp_path / "other").mkdir()
    export(catalog, tmp_path / "other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for taken in ("mine", "mine/thesis.txt", "runs"):
        (tmp_path / "runs" / "train").mkdir(parents=True, exist_ok=True)
        with pytest.raises(TakenFolderError, match="--out"):
            export(catalog, tmp_path / taken)
    assert files(tmp_path / "mine") == ["thesis.txt"]


def test_what_is_broken_off_leaves_the_earlier_export(tmp_path: Path) -> None:
    catalog, site = Catalog(Folder(tmp_path / "runs")), tmp_path / "site"
    export(catalog, site)
    before = files(site)

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(catalog, site, stop)
    assert files(site) == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
