"""One local Ray cluster for all tests that need one."""

from collections.abc import Iterator

import pytest

from orchestrator.session import ray_session


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """The local cluster that commands start, shared by the tests of this folder."""
    with ray_session(None):
        yield
