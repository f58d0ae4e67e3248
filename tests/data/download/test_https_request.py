"""Requests of a download: asked again, redirected, or refused, and no address but an https one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from workloads.data.packages.download import Arrival, check_address
from workloads.data.packages.published import Package
from workloads.errors import DownloadError

Answer = Callable[[BaseHTTPRequestHandler], None]
Serving = Callable[..., AbstractContextManager[Any]]
Sends = Callable[..., Answer]
Fails = Callable[[int], Answer]
Redirects = Callable[[Callable[[], str]], Answer]
Packed = Callable[..., Package]
Fetch = Callable[..., Arrival]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_server_that_fails_for_a_while_is_asked_again(
    tmp_path: Path, serving: Serving, sends: Sends, fails: Fails, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(fails(500), fails(429), sends()) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert len(server.ranges) == 3


def test_a_file_that_is_not_there_is_asked_for_once(
    tmp_path: Path, serving: Serving, fails: Fails, package: Packed, fetch: Fetch
) -> None:
    with serving(fails(404)) as server, pytest.raises(DownloadError, match="404 Not Found"):
        fetch(package(server), tmp_path)
    assert len(server.ranges) == 1
    assert names(tmp_path) == []


def test_a_transfer_that_stalls_is_broken_off_and_resumed(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000, stalls=True), sends()) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None, "bytes=1000000-"]


def test_a_server_that_is_not_there_is_a_download_error(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch
) -> None:
    with serving(sends()) as server:
        gone = server.address
    with pytest.raises(DownloadError, match=r"refused\), 3 times"):
        fetch(package(gone), tmp_path)


def test_the_second_address_serves_where_the_first_does_not(
    tmp_path: Path, serving: Serving, sends: Sends, fails: Fails, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(fails(403)) as first, serving(sends(stop_after=1_000_000), fails(500)) as second:
        with pytest.raises(DownloadError, match=r"403 Forbidden; .*500 .*, 3 times"):
            fetch(package(first, second), tmp_path)
        second.script[:] = [sends()]
        assert fetch(package(first, second), tmp_path).path.read_bytes() == content
        assert second.ranges[-1] == "bytes=1000000-"
        assert len(first.ranges) == 1  # the address that the part is from was asked first


def test_an_address_that_fails_costs_nothing_of_what_another_one_gave(
    tmp_path: Path, serving: Serving, sends: Sends, fails: Fails, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), fails(500)) as first, serving(fails(404)) as second:
        with pytest.raises(DownloadError, match="404"):
            fetch(package(first, second), tmp_path)
        assert (tmp_path / "insects.zip.part").read_bytes() == content[:1_000_000]
        first.script[:] = [sends()]
        assert fetch(package(first, second), tmp_path).path.read_bytes() == content
    assert first.ranges[-1] == "bytes=1000000-"


def test_redirects_are_followed_with_the_range(
    tmp_path: Path, serving: Serving, sends: Sends, redirects: Redirects, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), sends()) as store, serving(redirects(lambda: store.address)) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert store.ranges == [None, "bytes=1000000-"]


@pytest.mark.parametrize("scheme", ["file://{}", "ftp://127.0.0.1/x", "http://example.invalid/x", "data:,x"])
def test_redirects_to_anything_but_https_are_refused(
    tmp_path: Path, scheme: str, serving: Serving, redirects: Redirects, package: Packed, fetch: Fetch, content: bytes
) -> None:
    (tmp_path / "secret").write_bytes(content)
    address = scheme.format(tmp_path / "secret")
    with serving(redirects(lambda: address)) as server, pytest.raises(DownloadError, match=r"not allowed|not an https"):
        fetch(package(server), tmp_path / "to")
    assert names(tmp_path / "to") == []


@pytest.mark.parametrize("address", ["http://example.invalid/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "x"])
def test_addresses_that_are_not_https_are_not_asked(
    tmp_path: Path, address: str, package: Packed, fetch: Fetch
) -> None:
    with pytest.raises(DownloadError, match="not an https"):
        fetch(package(address), tmp_path)


def test_a_public_address_does_not_lead_to_this_machine() -> None:
    check_address("https://example.invalid/", "https://other.invalid/")
    with pytest.raises(DownloadError, match="not an https"):
        check_address("https://example.invalid/", "http://127.0.0.1:9/x")


def test_a_compressed_answer_is_refused(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch
) -> None:
    with serving(sends(Content_Encoding="gzip")) as server, pytest.raises(DownloadError, match="compressed"):
        fetch(package(server), tmp_path)
