"""The packages that can be downloaded."""

import hashlib
from pathlib import Path

import pytest

from workloads.data.packages.download import check_address
from workloads.data.packages.published import PACKAGES, find_package
from workloads.errors import UsageError


def test_every_known_package_can_be_asked_for_safely() -> None:
    assert len(PACKAGES) == 11
    for name, known in PACKAGES.items():
        assert find_package(name) is known
        assert known.name == name
        assert Path(known.file_name).name == known.file_name
        assert known.urls
        for url in known.urls:
            check_address(url, url)
            assert known.file_name in url
        algorithm, digits = (known.checksum or f"md5:{'0' * 32}").split(":")
        assert len(bytes.fromhex(digits)) == hashlib.new(algorithm).digest_size
    assert [name for name, known in PACKAGES.items() if known.checksum is None] == ["insect-metadata", "insect-images"]
    assert len({known.file_name for known in PACKAGES.values()}) == len(PACKAGES)


def test_a_package_that_nobody_knows_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"'bees'; .*bioscan-1m-metadata"):
        find_package("bees")
