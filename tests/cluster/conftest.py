"""What tests of several nodes share: the nodes, a bucket, and tiny data in it. `make test-cluster` runs them."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buckets import served_bucket
from tests.cluster.nodes import Nodes, nodes_in
from workloads.data.prepared.dataset import PreparedDataset
from workloads.storage import Folder


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its sessions: sockets lie in it, whose paths may have 107 letters."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _settings_of_clusters(ray_folder: Path) -> Iterator[None]:
    """On loopback, with a token of their own, and without what this machine's user has."""
    token = ray_folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    (ray_folder / "tmp").mkdir()
    settings = {
        "TMPDIR": str(ray_folder / "tmp"),
        "RAY_TMPDIR": str(ray_folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # despite its name: on Linux every port listens on loopback only
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "300000",  # of a machine that does other work beside
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture
def nodes(ray_folder: Path, _settings_of_clusters: None) -> Iterator[Nodes]:
    """No node yet: `add` the head first, then others; all are gone after the test."""
    with nodes_in(ray_folder) as empty:
        yield empty


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Address of a bucket, which every node can reach."""
    with served_bucket() as address:
        yield address


@pytest.fixture(scope="session")
def data(bucket: str, tiny_dataset: PreparedDataset) -> str:
    """Address of 150 prepared synthetic insects in the bucket."""
    there = Folder(f"{bucket}/data")
    for name in tiny_dataset.folder.walk():
        inner, _, file = f"/{name}".rpartition("/")
        Folder(f"{there}{inner}").write(file, Path(tiny_dataset.folder.path, name).read_bytes())
    return str(there)


@pytest.fixture
def runs(bucket: str) -> str:
    """Address of a folder in the bucket for the runs of one test."""
    return f"{bucket}/runs-{secrets.token_hex(3)}"
