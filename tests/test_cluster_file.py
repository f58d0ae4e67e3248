"""cluster.yaml: accepted by Ray's own schema, and as safe and as large as it says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = yaml.safe_load((Path(__file__).parents[1] / "cluster.yaml").read_text())


def validate(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_ray_accepts_the_cluster_file() -> None:
    validate(CLUSTER)


def test_ray_refuses_the_cluster_file_with_a_misspelt_key() -> None:
    from jsonschema import ValidationError

    with pytest.raises((ValidationError, ValueError)):
        validate({**CLUSTER, "max_wrokers": 1})


def test_there_are_four_gpus_in_all_and_none_while_nothing_runs() -> None:
    workers = [node for name, node in CLUSTER["available_node_types"].items() if name != CLUSTER["head_node_type"]]
    assert sum(node["max_workers"] * node["resources"]["GPU"] for node in workers) == 4
    assert all(node["min_workers"] == 0 for node in workers)
    assert CLUSTER["max_workers"] == sum(node["max_workers"] for node in workers)
    assert all("ultragpu" in node["node_config"]["machineType"] for node in workers)  # the A100s with 80 GB


def test_every_process_needs_the_token_and_the_dashboard_stays_on_loopback() -> None:
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in CLUSTER[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in CLUSTER["file_mounts"]
    assert "0.0.0.0" not in str(CLUSTER)
