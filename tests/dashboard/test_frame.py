"""The frame that all pages stand in."""

from pathlib import Path

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from tests.dashboard.showing import shown, words_of
from workloads.storage import Folder


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    assert "clibd-sweep batch-size --demo" in words_of(shown(Catalog(Folder(tmp_path)), "overview"))


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    catalog = Catalog(Folder(tmp_path))
    assert "no such page" in words_of(shown(catalog, "nonsense", status=404))
    assert "no such page" in words_of(shown(catalog, "overview", status=404, nonsense=1))


def test_addresses() -> None:
    assert Asked.to("overview").path == "/"
    asked = Asked.to("run", "a/b", {"rank": "genus", "k": None, "b": 3})
    assert asked.path == "/run/a%2Fb?b=3&rank=genus"
    assert asked.but(rank=None).path == "/run/a%2Fb?b=3"
    assert asked.number("b", 1) == 3
    assert asked.number("rank", 1) == 1
