"""A look at a real cluster, and at this machine."""

import pytest

from orchestrator.inventory import at_once, fleet_here, fleet_of_cluster, read_on_head, resources_at
from orchestrator.workers import Wanted

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]


def test_the_nodes_of_a_cluster_are_seen_as_this_machine_sees_itself() -> None:
    [here], [node] = fleet_here().nodes, fleet_of_cluster().nodes
    assert (node.cpus, node.gpus, node.is_head, node.preemptible) == (here.cpus, here.gpus, True, False)
    assert node.memory > 0
    assert fleet_of_cluster().may_be_added is None  # nobody adds any
    resources, fleet = resources_at("auto", Wanted(cpu_only=True))
    assert (resources.lack, fleet.is_cluster, at_once(resources, "auto", 1)) == (None, True, 1)


def test_a_task_on_the_head_can_look_for_the_autoscaler() -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    look = ray.remote(num_cpus=0, resources={"node:__internal_head__": 0.001})(read_on_head)
    assert ray.get(look.remote(address)) is None
