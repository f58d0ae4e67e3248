"""Downloads: whole, continued, and never of other bytes than those that were published."""

import hashlib
import json
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from workloads.data.packages.download import Arrival, Patience
from workloads.data.packages.published import Package
from workloads.errors import DownloadError, UsageError

Answer = Callable[[BaseHTTPRequestHandler], None]
Serving = Callable[..., AbstractContextManager[Any]]
Sends = Callable[..., Answer]
Fails = Callable[[int], Answer]
Redirects = Callable[[Callable[[], str]], Answer]
Packed = Callable[..., Package]
Fetch = Callable[..., Arrival]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_package_arrives_whole_and_alone(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    told: list[tuple[int, int | None]] = []
    with serving(sends()) as server:
        arrival = fetch(package(server), tmp_path / "new" / "folder", on_bytes=lambda *now: told.append(now))
    assert arrival.path.read_bytes() == content
    assert names(tmp_path / "new" / "folder") == ["insects.zip"]
    assert (arrival.algorithm, arrival.checksum) == ("md5", hashlib.md5(content).hexdigest())
    assert arrival.is_verified
    assert told[0] == (0, len(content))
    assert told[-1] == (len(content), len(content))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_package_that_is_there_is_checked_and_not_fetched_again(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, other: bytes
) -> None:
    with serving(sends()) as server:
        first = fetch(package(server), tmp_path)
        assert fetch(package(server), tmp_path) == first
        assert len(server.ranges) == 1
        first.path.write_bytes(other)
        with pytest.raises(DownloadError, match=r"insects\.zip .*move it away"):
            fetch(package(server), tmp_path)
    assert first.path.read_bytes() == other


def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), sends(stop_after=700_000), sends()) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None, "bytes=1000000-", "bytes=1700000-"]
    assert server.conditions == [None, '"one"', '"one"']


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(
    tmp_path: Path, serving: Serving, sends: Sends, fails: Fails, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), fails(503)) as server:
        with pytest.raises(DownloadError, match="503 Service Unavailable, 3 times"):
            fetch(package(server), tmp_path)
        assert names(tmp_path) == ["insects.zip.part", "insects.zip.part.json"]
        server.script[:] = [sends()]
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None, *["bytes=1000000-"] * 3]
    assert names(tmp_path) == ["insects.zip"]


def test_the_date_of_change_serves_where_there_is_no_strong_etag(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    date = "Tue, 01 Jul 2025 00:00:00 GMT"
    broken = sends(stop_after=1_000_000, etag='W/"weak"', heeds_if_range=False, Last_Modified=date)
    with serving(broken, sends(etag='W/"weak"', heeds_if_range=False, Last_Modified=date)) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.conditions == [None, date]


def test_a_server_that_ignores_ranges_sends_all_of_it_again(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), sends(heeds_range=False)) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None, "bytes=1000000-"]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changes_in_between_is_fetched_from_its_start(
    tmp_path: Path, heeds_if_range: bool, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, other: bytes
) -> None:
    changed = sends(other, etag='"two"', heeds_if_range=heeds_if_range)
    with serving(sends(stop_after=1_000_000), changed) as server:
        assert fetch(package(server, content=other), tmp_path).path.read_bytes() == other
    assert server.ranges == [None, "bytes=1000000-"] + [None] * (not heeds_if_range)


def test_a_part_longer_than_the_file_is_given_up(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes, other: bytes
) -> None:
    with serving(
        sends(other, stop_after=2_000_000, etag=None, tells_size=False), sends(content[:1000], etag=None)
    ) as server:
        wanted = package(server, content=content[:1000])
        with pytest.raises(DownloadError, match="was removed"):
            fetch(wanted, tmp_path)  # a size is not told, so that its break is seen only in the checksum
        assert names(tmp_path) == []
        (tmp_path / "insects.zip.part").write_bytes(other)
        facts = {"url": server.address, "validator": None, "total": None}
        (tmp_path / "insects.zip.part.json").write_text(json.dumps(facts))
        assert fetch(wanted, tmp_path).path.read_bytes() == content[:1000]
    assert server.ranges == [None, f"bytes={len(other)}-", None]


@pytest.mark.parametrize("facts", ["", "[]", '{"url": 1}', "\x00"])
def test_a_part_of_which_nothing_is_known_is_not_relied_upon(
    tmp_path: Path,
    facts: str,
    serving: Serving,
    sends: Sends,
    package: Packed,
    fetch: Fetch,
    content: bytes,
    other: bytes,
) -> None:
    (tmp_path / "insects.zip.part").write_bytes(other[:1000])
    (tmp_path / "insects.zip.part.json").write_text(facts)
    with serving(sends()) as server:
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None]


def test_a_whole_part_is_only_checked(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    (tmp_path / "insects.zip.part").write_bytes(content)
    with serving(sends()) as server:
        facts = {"url": server.address, "validator": '"one"', "total": len(content)}
        (tmp_path / "insects.zip.part.json").write_text(json.dumps(facts))
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == []


def test_wrong_bytes_are_removed_and_both_checksums_named(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes, other: bytes
) -> None:
    with serving(sends(other)) as server, pytest.raises(DownloadError) as caught:
        fetch(package(server), tmp_path)
    assert hashlib.md5(other).hexdigest() in str(caught.value)
    assert hashlib.md5(content).hexdigest() in str(caught.value)
    assert names(tmp_path) == []


def test_a_transfer_that_brings_something_each_time_is_not_given_up(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    long = content * 3
    with serving(sends(long, stop_after=1_200_000)) as server:
        assert fetch(package(server, content=long), tmp_path).path.read_bytes() == long
    assert len(server.ranges) == 8


def test_another_size_than_the_published_one_is_refused_before_it_is_fetched(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch
) -> None:
    with serving(sends()) as server:
        wanted = replace(package(server), size=17)
        with pytest.raises(DownloadError, match=r"3,000,000 bytes there .*17"):
            fetch(wanted, tmp_path)
    assert names(tmp_path) == []


def test_what_does_not_fit_on_the_disk_is_not_begun(
    tmp_path: Path, serving: Serving, package: Packed, fetch: Fetch
) -> None:
    def claims(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 60))
        handler.end_headers()

    with serving(claims) as server, pytest.raises(DownloadError, match="has room for"):
        fetch(package(server), tmp_path)
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(sends()) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
        try:
            with pytest.raises(DownloadError, match=r"no room for it \(.*; [\d,]+ are free; raise the largest size"):
                fetch(package(server), tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "insects.zip.part").read_bytes() == content[:1_500_000]
        assert fetch(package(server), tmp_path).path.read_bytes() == content
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_package_without_checksum_must_be_asked_for_twice_and_tells_its_own(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    with serving(sends(stop_after=1_000_000), sends()) as server:
        unknown = replace(package(server), checksum=None)
        with pytest.raises(UsageError, match="--unverified"):
            fetch(unknown, tmp_path)
        assert server.ranges == []
        arrival = fetch(unknown, tmp_path, allow_unverified=True)
    assert arrival.path.read_bytes() == content
    assert (arrival.algorithm, arrival.checksum) == ("sha256", hashlib.sha256(content).hexdigest())
    assert not arrival.is_verified


def test_without_checksum_and_version_a_part_is_not_continued(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes, other: bytes
) -> None:
    with serving(sends(other, stop_after=1_000_000, etag=None), sends(etag=None)) as server:
        unknown = replace(package(server), checksum=None)
        assert fetch(unknown, tmp_path, allow_unverified=True).path.read_bytes() == content
    assert server.ranges == [None, None]


def test_two_processes_do_not_write_into_one_part(
    tmp_path: Path, serving: Serving, sends: Sends, package: Packed, fetch: Fetch, content: bytes
) -> None:
    errors: list[DownloadError] = []

    def second(handler: BaseHTTPRequestHandler) -> None:
        with pytest.raises(DownloadError, match="another process") as caught:
            fetch(package("http://127.0.0.1:9/"), tmp_path)
        errors.append(caught.value)
        sends()(handler)

    with serving(second) as server:
        assert fetch(package(server), tmp_path, patience=Patience(timeout=5.0)).path.read_bytes() == content
    assert len(errors) == 1


def test_a_target_that_is_a_file_is_a_usage_error(tmp_path: Path, package: Packed, fetch: Fetch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="into a folder"):
        fetch(package("https://example.invalid/"), tmp_path / "file")
