"""What there is of machines, and what may be added: by CUDA, by an autoscaler's file, by KubeRay's description."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import inventory
from orchestrator.inventory import addable, read_on_head
from orchestrator.workers import Wanted
from tests.test_fleet import A100, T4, node


def test_a_machine_with_two_kinds_shows_its_processes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2,5")
    names = ["NVIDIA T400", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: len(names))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: names[device])
    resources, fleet = inventory.resources_at(None, Wanted())
    assert (resources.num_workers, resources.gpu_kind, resources.by_kind) == (2, names[1], False)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert [node.devices for node in fleet.nodes] == [("1",), ("2", "5")]


def test_our_cluster_file_says_what_may_be_added() -> None:
    config = yaml.safe_load(Path("cluster.yaml").read_text())
    head = node(8, is_head=True, group="head")
    [more] = addable(config, [head])
    assert (more.host, more.gpus, more.gpu_kind, more.cpus) == ("four_a100", 4, A100, 48)
    there = node(48, 4, A100, group="four_a100")
    assert addable(config, [head, there]) == ()
    assert addable(config, [head, replace(there, group=None)]) == ()  # known by its size
    endless = {"available_node_types": {"any": {"resources": {"CPU": 4}, "max_workers": -1}}}
    assert len(addable(endless, [head])) == 100
    assert addable({"available_node_types": {"local": {"resources": {}, "max_workers": 3}}}, [head]) == ()


def test_kuberays_description_of_a_cluster_is_read_as_well() -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config

    def group(name: str, limits: dict[str, Any], **more: Any) -> dict[str, Any]:
        container = {"name": "ray", "resources": {"limits": limits}}
        return {"groupName": name, "rayStartParams": {}, "template": {"spec": {"containers": [container]}}, **more}

    spec = {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": group("head", {"cpu": 4, "memory": "8Gi"}),
        "workerGroupSpecs": [
            group("gpus", {"cpu": 16, "memory": "64Gi", "nvidia.com/gpu": 2}, replicas=0, minReplicas=0, maxReplicas=5)
        ],
    }
    described = {"metadata": {"name": "clibd", "namespace": "default"}, "spec": spec}
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(described)
    more = addable(config, [node(4, is_head=True), node(16, 2, None, group="gpus")])
    assert [(n.host, n.gpus, n.cpus, n.gpu_kind) for n in more] == [("gpus", 2, 16, None)] * 4
    there = node(16, 2, T4, group="gpus")  # its kind is known from the first that comes
    assert {n.gpu_kind for n in addable(config, [there])} == {T4}


def test_the_autoscaler_of_this_head_is_found_by_its_process_and_no_other_clusters(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(yaml.safe_dump({"available_node_types": {}}))
    words = ["--gcs-address=10.0.0.1:41379", f"--autoscaling-config={file}"]
    monitor = subprocess.Popen([sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE)
    try:
        assert read_on_head("127.0.0.1:41379") == {"available_node_types": {}}
        assert read_on_head("127.0.0.1:41380") is None
    finally:
        monitor.communicate(b"\n")
