"""The files that describe clusters: accepted by their schemas, as safe as they say; what they ship is the product."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = {
    name: yaml.safe_load((ROOT / name).read_text())
    for name in ("cluster.yaml", "clusters/aws.yaml", "clusters/local.yaml")
}
RAY_JOB = yaml.safe_load((ROOT / "clusters" / "rayjob.yaml").read_text())
CLOUDS = {"cluster.yaml": 4, "clusters/aws.yaml": 8}
"""Their files, and the GPUs in each."""
every_file = pytest.mark.parametrize("name", FILES)
every_cloud = pytest.mark.parametrize("name", CLOUDS)


def validate(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def workers(name: str) -> dict[str, Any]:
    return {kind: node for kind, node in FILES[name]["available_node_types"].items() if kind != "head"}


@every_file
def test_ray_accepts_a_cluster_file(name: str) -> None:
    validate(FILES[name])


@every_file
def test_ray_refuses_a_cluster_file_with_a_misspelt_key(name: str) -> None:
    from jsonschema import ValidationError

    with pytest.raises((ValidationError, ValueError)):
        validate({**FILES[name], "max_wrokers": 1})


@every_cloud
def test_gpus_exist_only_while_something_runs(name: str) -> None:
    kinds = workers(name).values()
    assert sum(node["max_workers"] * node["resources"]["GPU"] for node in kinds) == CLOUDS[name]
    assert all(node["min_workers"] == 0 for node in kinds)
    assert FILES[name]["max_workers"] == sum(node["max_workers"] for node in kinds)
    assert "GPU" not in FILES[name]["available_node_types"]["head"]["resources"]
    assert FILES[name]["idle_timeout_minutes"] <= 15


@every_cloud
def test_a_kind_of_node_that_may_be_taken_back_differs_only_in_that(name: str) -> None:
    [(kind, node)] = [(kind, node) for kind, node in workers(name).items() if kind.endswith("_spot")]
    lasting = workers(name)[kind.removesuffix("_spot")]
    assert node["labels"] == {"ray.io/market-type": "spot"}  # by which Ray tells drivers and our fleet
    assert node["resources"] == lasting["resources"]
    differing = {key for key, value in node["node_config"].items() if value != lasting["node_config"].get(key)}
    assert differing <= {"scheduling", "InstanceMarketOptions"}
    assert "preemptible" in str(node["node_config"]) or "spot" in str(node["node_config"])


@every_file
def test_every_process_needs_the_token_and_the_dashboard_stays_on_loopback(name: str) -> None:
    keys = ("head_start_ray_commands", "worker_start_ray_commands")
    starts = [command for key in keys for command in FILES[name][key] if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in FILES[name]["file_mounts"]
    assert "chmod 600 ~/.ray/auth_token" in FILES[name]["setup_commands"]
    assert "0.0.0.0" not in str(FILES[name])


def test_on_aws_no_kind_of_node_gets_rays_own_security_group() -> None:
    nodes = FILES["clusters/aws.yaml"]["available_node_types"].values()  # Ray's own lets everybody in by ssh
    assert all(node["node_config"]["SecurityGroupIds"] for node in nodes)


@every_file
def test_shell_commands_of_a_cluster_file_are_shell(name: str) -> None:
    for key in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in FILES[name][key]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The product as a user has it, with all that must not travel."""
    source = tmp_path / "clibd"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout, so nobody knows which of its files are the product's")
    for file in listed.stdout.splitlines():
        if (ROOT / file).is_file():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_bytes((ROOT / file).read_bytes())
    for file in (
        ".venv/bin/python",
        "runs/batch-size/run/weights.safetensors",
        "data/part-00000.parquet",
        "wandb/run/log",
        "workloads/__pycache__/spec.pyc",
        ".mypy_cache/3.11/a.json",
        ".git/objects/pack/pack-1.pack",
        ".git/index",
        ".git/HEAD",
        ".git/refs/heads/main",
        ".git/packed-refs",
    ):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text(file)
    return source


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync, by which `ray up` ships files, is not installed")
@every_file
def test_rays_own_rsync_ships_the_product_and_nothing_else(
    name: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.command_runner import SSHCommandRunner

    class ThisMachine:
        def internal_ip(self, node: str) -> str:
            return "127.0.0.1"

        external_ip = internal_ip

    ssh = tmp_path / "bin" / "ssh"  # in the place of a way to another machine: it only does what is asked there
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nuntil [ "$1" = rsync ]; do shift; done\nexec "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    there = tmp_path / "node"
    runner = SSHCommandRunner("", "node", ThisMachine(), {"ssh_user": "me"}, "clibd", subprocess, False)

    runner.run_rsync_up(f"{checkout}/", f"{there}/", FILES[name])

    travelled = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert {path for path in travelled if path.startswith(".git/")} == {
        ".git/HEAD",
        ".git/refs/heads/main",
        ".git/packed-refs",
    }
    product = {str(path.relative_to(checkout)) for path in checkout.rglob("*.py") if ".venv" not in path.parts}
    assert product
    assert product <= travelled
    assert "workloads/data/prepared/dataset.py" in travelled
    ours = (
        "clibd",
        "commands",
        "orchestrator",
        "workloads",
        "sweeps",
        "results",
        "tests",
        "docs",
        "benchmarks",
        "clusters",
    )
    strangers = {
        path for path in travelled if not path.startswith((*(f"{folder}/" for folder in ours), ".git/", ".ci/"))
    }
    assert {path for path in strangers if "/" in path} == set()
    assert not [path for path in travelled if "_cache" in path.replace("gradient_cache", "")]


OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": False}
TEXT, NUMBER, WORDS = (
    {"type": "string"},
    {"type": "integer", "minimum": 0},
    {"type": "object", "additionalProperties": {"type": "string"}},
)
POD: dict[str, Any] = {
    **OBJECT,
    "required": ["spec"],
    "properties": {
        "spec": {
            **OBJECT,
            "required": ["containers"],
            "properties": {
                "serviceAccountName": TEXT,
                "terminationGracePeriodSeconds": NUMBER,
                "nodeSelector": WORDS,
                "tolerations": {"type": "array", "items": WORDS},
                "volumes": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                "containers": {
                    "type": "array",
                    "items": {
                        **OBJECT,
                        "required": ["name", "image", "resources"],
                        "properties": {
                            "name": TEXT,
                            "image": TEXT,
                            "resources": {**OBJECT, "properties": {"requests": WORDS, "limits": WORDS}},
                            "volumeMounts": {"type": "array", "items": WORDS},
                        },
                    },
                },
            },
        }
    },
}
JOB: dict[str, Any] = {
    **OBJECT,
    "required": ["entrypoint", "rayClusterSpec"],
    "properties": {
        "entrypoint": TEXT,
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "backoffLimit": NUMBER,
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": NUMBER,
        "rayClusterSpec": {
            **OBJECT,
            "required": ["headGroupSpec", "rayVersion"],
            "properties": {
                "rayVersion": TEXT,
                "authOptions": {**OBJECT, "properties": {"mode": {"enum": ["token", "disabled"]}}},
                "enableInTreeAutoscaling": {"type": "boolean"},
                "autoscalerOptions": {**OBJECT, "properties": {"idleTimeoutSeconds": NUMBER}},
                "headGroupSpec": {
                    **OBJECT,
                    "required": ["template"],
                    "properties": {"rayStartParams": WORDS, "template": POD},
                },
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        **OBJECT,
                        "required": ["groupName", "maxReplicas", "minReplicas", "template"],
                        "properties": {
                            **dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), NUMBER),
                            "groupName": TEXT,
                            "rayStartParams": WORDS,
                            "template": POD,
                        },
                    },
                },
            },
        },
    },
}
"""The fields of KubeRay's `ray.io/v1` that are used here, as its reference types them (docs.ray.io, KubeRay 1.6.2)."""


def test_the_ray_job_has_the_fields_of_kuberay() -> None:
    from jsonschema import validate as check

    assert (RAY_JOB["apiVersion"], RAY_JOB["kind"]) == ("ray.io/v1", "RayJob")
    check(RAY_JOB["spec"], JOB)


def test_the_ray_job_needs_a_token_and_ends_with_its_work() -> None:
    import ray

    job = RAY_JOB["spec"]
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert job["shutdownAfterJobFinishes"]
    assert job["rayClusterSpec"]["rayVersion"].split(".")[:2] == ray.__version__.split(".")[:2]
    assert all(group["minReplicas"] == 0 for group in job["rayClusterSpec"]["workerGroupSpecs"])


def test_the_slurm_script_is_shell() -> None:
    subprocess.run(["bash", "-n", ROOT / "clusters" / "slurm.sh"], check=True)
