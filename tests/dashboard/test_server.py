"""The server: addresses, replies that a browser need not fetch again, and damaged or absent things that end nothing."""

import gzip
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, Kind, Page
from results.dashboard.site.rendering import static_names
from results.dashboard.site.serving import served as served_catalog
from tests.dashboard.serving import only, served
from workloads.errors import UsageError
from workloads.storage import Folder


def test_an_empty_folder_is_served_and_says_what_to_do(tmp_path: Path) -> None:
    with served(Folder(tmp_path / "later")) as desk:
        got = desk.ask("/")
        assert got.status == 200
        assert "clibd-sweep batch-size --demo" in got.text
        assert 'data-live="/live"' in got.text


def test_what_is_not_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        for path in ("/nonsense", "/nonsense/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/?nonsense=1", "/%ff", "/a/b/c"):
            got = desk.ask(path)
            assert (got.status, "Not there" in got.text) == (404, True), path


@pytest.mark.parametrize("name", ["../catalog.py", "..%2fcatalog.py", "%2fetc/passwd", "vendor", "", "style.css/"])
def test_only_known_files_are_served(name: str, tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        assert desk.ask(f"/static/{name}").status == 404


def test_every_static_file_is_served_packed_and_once(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        for name in static_names():
            plain, packed = (desk.ask(f"/static/{name}", Accept_Encoding=kind) for kind in ("", "gzip"))
            assert plain.status == packed.status == 200
            content = gzip.decompress(packed.content) if "content-encoding" in packed.headers else packed.content
            assert content == plain.content
            again = desk.ask(f"/static/{name}", If_None_Match=plain.headers["etag"])
            assert (again.status, again.content) == (304, b"")


def test_an_unchanged_page_is_not_sent_again(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        got = desk.ask("/")
        assert desk.ask("/", If_None_Match=got.headers["etag"]).status == 304
        assert desk.ask("/", If_None_Match='W/"another"').status == 200


def test_the_head_of_a_page_has_no_content(tmp_path: Path) -> None:
    with served(Folder(tmp_path)) as desk:
        got = desk.ask("/", "HEAD")
        assert (got.status, got.content) == (200, b"")
        assert desk.ask("/live", "HEAD").headers["content-type"].startswith("text/event-stream")


def broken(catalog: Catalog, asked: Asked) -> Page:
    raise ZeroDivisionError("of ours")


def unrendered(catalog: Catalog, asked: Asked) -> Page:
    return Page(title="of ours", template="missing.html.j2", told={})


@pytest.mark.parametrize(("make", "said"), [(broken, "ZeroDivisionError: of ours"), (unrendered, "'why' is undefined")])
def test_an_error_of_ours_is_a_page_and_ends_nothing(
    make: Callable[[Catalog, Asked], Page],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    only({"overview": Kind(name="overview", make=make)}, monkeypatch)
    with served(Folder(tmp_path)) as desk:
        got = desk.ask("/")
        assert (got.status, "went wrong" in got.text) == (500, True)
        assert "of ours" not in got.text
        assert desk.ask("/static/style.css").status == 200
    assert said in capfd.readouterr().err


def test_a_taken_port_leads_to_the_next_unless_it_is_to_be_this_one(tmp_path: Path) -> None:
    catalog = Catalog(Folder(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with served_catalog(catalog, port=port) as server:
            assert server.port > port
            assert server.address == f"http://127.0.0.1:{server.port}/"
        with pytest.raises(UsageError, match=str(port)), served_catalog(catalog, port=port, exact=True):
            pass


def test_a_host_of_somebody_else_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--host"), served_catalog(Catalog(Folder(tmp_path)), "192.0.2.1", 0, "x" * 20):
        pass
