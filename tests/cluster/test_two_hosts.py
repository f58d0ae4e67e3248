"""`ray up` of `clusters/local.yaml` on two hosts, a sweep by `ray job submit`, a host that is lost, and `ray down`."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.lab import HOSTS, Lab, python_in_hidden_home
from tests.cluster.nodes import until
from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import find_runs
from workloads.storage import Folder

NEEDED = ("ip", "unshare", "sshd", "rsync", "ssh-keygen")
missing = [name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="two hosts need root, for namespaces"),
    pytest.mark.skipif(bool(missing), reason=f"two hosts need {', '.join(missing)}"),
    pytest.mark.skipif(not HOSTS.exists(), reason="two hosts need shared/lab/hosts.sh beside this checkout"),
]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two hosts that are on."""
    with tempfile.TemporaryDirectory(prefix="l", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with python_in_hidden_home(folder):
            lab = Lab(folder)
            try:
                lab.switch_on(1)
                lab.switch_on(2)
                yield lab
            finally:
                lab.end()


def attempts(folder: Folder) -> list[str]:
    return sorted(name for name in (folder / "attempts").files() if name.endswith(".json"))


def test_ray_up_a_sweep_a_lost_host_and_ray_down(lab: Lab, tiny_dataset: PreparedDataset) -> None:
    file = str(lab.cluster_file())
    until(lambda: lab.start("ssh-keyscan", "10.99.0.1", "10.99.0.2").communicate()[0].count("ssh-ed25519") == 2, "sshd")
    up = ("ray", "up", "-y", "--no-config-cache", file)  # again, where Ray took longer than its own 30 s to start
    until(lambda: lab.ends_well(*up), "the head starts")
    until(lambda: "2 local.cluster.node" in lab.run("ray", "exec", file, "ray status"), "the second host joins")
    data, runs = lab.folder / "data", Folder(lab.folder / "runs")  # hosts share this disk, as they would one of NFS
    shutil.copytree(tiny_dataset.folder.path, data)
    sweep = (
        f"clibd-sweep lora --address auto --scale small --set epochs=30 --filter full --workers 1-2 --cpu "
        f"--data {data} --runs {runs}"
    )
    refused = lab.start("ray", "exec", file, f"RAY_AUTH_TOKEN=wrong RAY_AUTH_TOKEN_PATH= ray job submit -- {sweep}")
    refused.communicate()
    assert refused.returncode != 0

    job = lab.start("ray", "exec", file, f"ray job submit -- {sweep}")
    until(lambda: any(len(run.events()) > 5 for run in find_runs(runs, "lora")), "the run trains", job)
    lab.switch_off(2)
    said, _ = job.communicate(timeout=600)

    assert job.returncode == 0, said
    [run] = find_runs(runs, "lora")
    assert run.state() == "finished", said
    hosts = [set(run.folder.read_json(f"attempts/{name}")["hosts"]) for name in attempts(run.folder)]
    assert len(hosts[0]) == 2
    assert len(hosts[-1]) == 1
    epochs = [event["epoch"] for event in run.events() if event["event"] == "epoch"]
    assert epochs == list(range(30))
    lab.run("ray", "down", "-y", file)
