"""A look at the machines: this one, or the nodes of a cluster and those that its autoscaler may add."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import yaml
from joblib import cpu_count

from orchestrator.fleet import KIND, Fleet, Node, Resources, runs_at_once
from orchestrator.session import logical_cpus, ray_session
from orchestrator.workers import Wanted, resources_for
from workloads.execution import Execution

_GROUP, _MARKET = "ray.io/node-group", "ray.io/market-type"
"""Labels of Ray's nodes: their kind in the autoscaler's configuration, and whether they were bought as `spot`."""
_HEAD = "node:__internal_head__"
_ENDLESS = 100
"""Nodes that a kind without a limit may come to."""
_PATIENCE = 60.0
"""Seconds for the head to answer."""


def resources_at(
    address: str | None, wanted: Wanted, *, offline: bool = False, execution: Execution | None = None
) -> tuple[Resources, Fleet]:
    """The workers of a run on this machine, or on the cluster at an address, and the fleet that they are of.

    Of several kinds of GPU on this machine, processes that start from now on see only the one that was chosen.

    Raises:
        UsageError: no cluster answers at the address.
    """
    fleet = _fleet_at(address)
    resources = resources_for(fleet, wanted, offline=offline, execution=execution)
    if not fleet.is_cluster and len(fleet.nodes) > 1 and resources.gpus_per_worker:
        chosen = next((node for node in fleet.nodes if node.gpu_kind == resources.gpu_kind), None)
        if chosen:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen.devices)
    return resources, fleet


def at_once(resources: Resources, address: str | None, most: int | None = None) -> int:
    """How many runs go side by side on the machines as they are now (`orchestrator.fleet.runs_at_once`).

    Args:
        resources: of a run.
        address: of the cluster, or None for this machine.
        most: the user's limit.
    """
    return runs_at_once(resources, _fleet_at(address), most)


def _fleet_at(address: str | None) -> Fleet:
    return fleet_here() if address is None else fleet_of_cluster(address)


def fleet_here() -> Fleet:
    """This machine: the cores that this process may use (its affinity, its container's quota), and the GPUs.

    GPUs of several kinds make a node each, as no run is to use both.
    """
    import torch

    memory = float(psutil.virtual_memory().total)
    here = Node(host=platform.node(), cpus=logical_cpus(), cores=cpu_count(), memory=memory, is_head=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    kinds: dict[str, list[str]] = {}
    for device in range(torch.cuda.device_count()):
        name = visible[device] if device < len(visible) and visible[device] else str(device)
        kinds.setdefault(torch.cuda.get_device_name(device), []).append(name)
    nodes = [replace(here, gpus=len(of_it), gpu_kind=kind, devices=tuple(of_it)) for kind, of_it in kinds.items()]
    return Fleet(nodes=tuple(nodes) or (here,), is_cluster=False)


def fleet_of_cluster(address: str = "auto") -> Fleet:
    """The living nodes of a cluster, and those that its autoscaler may add: in the session that there is, or in one for
    the time of the look.

    Raises:
        UsageError: no cluster answers at the address.
    """
    with ray_session(address):
        import ray

        nodes = tuple(_node(about) for about in ray.nodes() if about["Alive"])
        config = _autoscaling()
    return Fleet(nodes=nodes, may_be_added=None if config is None else addable(config, nodes))


def _node(about: Mapping[str, Any]) -> Node:
    """From what Ray says about one."""
    labels = about.get("Labels") or {}
    return _sized(about["NodeManagerHostname"], about["Resources"], labels, is_head=_HEAD in about["Resources"])


def _sized(host: str, resources: Mapping[str, float], labels: Mapping[str, str], is_head: bool = False) -> Node:
    cpus, gpus = float(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    kind = next((name.removeprefix(KIND) for name in resources if name.startswith(KIND)), None)
    return Node(
        host=host,
        cpus=cpus,
        cores=int(cpus),
        gpus=gpus,
        gpu_kind=kind if gpus else None,
        memory=float(resources.get("memory", 0)),
        is_head=is_head,
        preemptible=labels.get(_MARKET) == "spot",
        group=labels.get(_GROUP),
    )


def addable(config: Mapping[str, Any], there: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that an autoscaler may still add, those with most GPUs first.

    Args:
        config: as `ray up` and KubeRay have it: `available_node_types`, each with `resources` and `max_workers`, and a
            `max_workers` of all. A kind whose size it does not say adds nothing.
        there: the nodes that there are.
    """
    limit = config.get("max_workers", _ENDLESS)
    more: list[Node] = []
    for name, kind in config["available_node_types"].items():
        node = _sized(name, kind.get("resources", {}), {_GROUP: name, **kind.get("labels", {})})
        most = kind.get("max_workers", limit)
        of_it = [other for other in there if not other.is_head and _is_of(other, node)]
        if of_it and node.gpu_kind is None:  # few configurations say it, and nodes do
            node = replace(node, gpu_kind=of_it[0].gpu_kind)
        if node.cpus or node.gpus:
            more += [node] * max(0, (most if most >= 0 else _ENDLESS) - len(of_it))
    more.sort(key=lambda node: (-node.gpus, -node.cpus))
    return tuple(more[: max(0, limit - sum(not node.is_head for node in there))])


def _is_of(node: Node, kind: Node) -> bool:
    """Whether a node is of a kind: by its name, or else, as when nobody gave it one, by its size."""
    return node.group == kind.group if node.group else (node.cpus, node.gpus) == (kind.cpus, kind.gpus)


def _autoscaling() -> Mapping[str, Any] | None:
    """The autoscaler's configuration, or None where there is none, or none that can be found.

    Ray has no public way to it, and parts that are private may change: then nothing is known to be added.
    """
    try:
        import ray

        return _configuration(ray.get_runtime_context().gcs_address)
    except Exception:  # whatever it is, it is not the user's
        return None


@cache
def _configuration(gcs_address: str) -> Mapping[str, Any] | None:
    """As some autoscalers report it to the cluster, or as the head has it."""
    import ray
    from ray._private.state import state

    reported = state.get_cluster_config()
    if reported is not None and reported.node_group_configs:
        types = {
            group.name: {"resources": dict(group.resources), "max_workers": group.max_count}
            for group in reported.node_group_configs
        }
        return {"available_node_types": types}
    head = next(about for about in ray.nodes() if about["Alive"] and _HEAD in about["Resources"])
    if head["NodeID"] == ray.get_runtime_context().get_node_id():
        return read_on_head(gcs_address)
    look = ray.remote(num_cpus=0, resources={_HEAD: 0.001})(read_on_head)
    found: Mapping[str, Any] | None = ray.get(look.remote(gcs_address), timeout=_PATIENCE)
    return found


def read_on_head(gcs_address: str) -> Mapping[str, Any] | None:
    """The configuration that the autoscaler on this machine was started with; on KubeRay what its operator has.

    Args:
        gcs_address: of the cluster; there may be several on a machine, each with a port of its own.
    """
    if "RAY_CLUSTER_NAMESPACE" in os.environ:  # its autoscaler is in a container of its own
        return _of_kuberay(os.environ["RAY_CLUSTER_NAME"], os.environ["RAY_CLUSTER_NAMESPACE"])
    port = gcs_address.rsplit(":", 1)[-1]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        told = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if told.get("--gcs-address", "").endswith(f":{port}") and "--autoscaling-config" in told:
            config: Mapping[str, Any] = yaml.safe_load(Path(told["--autoscaling-config"]).expanduser().read_text())
            return config
    return None


def _of_kuberay(name: str, namespace: str) -> Mapping[str, Any] | None:
    from ray.autoscaler._private.kuberay import autoscaling_config, node_provider

    cluster = node_provider.KubernetesHttpApiClient(namespace=namespace).get(f"rayclusters/{name}")
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    config: Mapping[str, Any] = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    return config
