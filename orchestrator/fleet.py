"""What a run may use: its workers, what each takes, how many runs go side by side, and what can never be placed.

All is decided from the nodes that there are or may be added, as `orchestrator.inventory` found them. None of it is part
of the spec; of the numbers it decides what `workloads.execution` says. `orchestrator.workers` makes `Resources` of what
a user asks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import floor
from typing import Literal

from workloads.execution import Execution
from workloads.run_errors import NeverPlaceableError

KIND = "accelerator_type:"
"""How Ray's resources begin that say a node's kind of GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A machine that is there, or one of those that may be added."""

    host: str
    """Its name; of one that may be added, that of its kind."""
    cpus: float
    """That Ray counts."""
    cores: int
    """That its processes share; on a cluster as many as Ray counts."""
    gpus: int = 0
    gpu_kind: str | None = None
    """Such as A100; None where it is not known."""
    devices: tuple[str, ...] = ()
    """The GPUs by which CUDA knows them, where this process may choose among them."""
    memory: float = 0.0
    """Bytes."""
    is_head: bool = False
    preemptible: bool = False
    group: str | None = None
    """Its kind's name in the autoscaler's configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The nodes that there are, and those that may be added."""

    nodes: tuple[Node, ...]
    may_be_added: tuple[Node, ...] | None = None
    """One entry for each; None where no autoscaler is known."""
    is_cluster: bool = True
    """Whether other machines may join it, by hand if not by an autoscaler."""

    @property
    def all(self) -> tuple[Node, ...]:
        """What it may come to."""
        return (*self.nodes, *(self.may_be_added or ()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Workers of one run, and what each takes."""

    num_workers: int = 2
    """The most."""
    least_workers: int = 0
    """With fewer it does not begin; 0 stands for as many as `num_workers`."""
    gpus_per_worker: int = 0
    gpu_kind: str | None = None
    """Of all its GPUs, where it is known."""
    by_kind: bool = False
    """Whether Ray has to be told the kind, as the cluster has several."""
    cpus_per_worker: float = 1
    one_node: bool = False
    """Whether all workers have to be on one."""
    loader_processes: int = 0
    """Processes that prepare batches for each worker."""
    threads: int = 1
    """Torch's threads in each worker."""
    wait: float | None = None
    """Longest time to wait for machines, seconds; None: without end."""
    offline: bool = False
    """Whether published weights may only come from this machine."""
    lack: tuple[str, str, str] | None = None
    """Why no run of this size can ever be placed: what it needs, what there is, and the remedy."""
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        """One number of workers is both the most and the least."""
        if not self.least_workers:
            object.__setattr__(self, "least_workers", self.num_workers)

    @property
    def describe(self) -> str:
        """In words, for the plan."""
        fewest = f"{self.least_workers} to " if self.least_workers < self.num_workers else ""
        kind = "GPU worker" if self.gpus_per_worker else "CPU worker"
        return f"{fewest}{_counted(self.num_workers, kind)}"

    @property
    def each(self) -> str:
        """What a worker takes, in words."""
        cpus = _counted(self.cpus_per_worker, "CPU")
        kind = f" ({self.gpu_kind})" if self.gpu_kind else ""
        return f"{_counted(self.gpus_per_worker, 'GPU')}{kind} and {cpus}" if self.gpus_per_worker else cpus

    @property
    def per_worker(self) -> dict[str, float]:
        """What Ray is asked for each, by its names."""
        taken: dict[str, float] = {"CPU": self.cpus_per_worker}
        if self.gpus_per_worker:
            taken["GPU"] = self.gpus_per_worker
            if self.by_kind:
                taken[f"{KIND}{self.gpu_kind}"] = 0.001
        return taken

    @property
    def placement(self) -> Literal["STRICT_PACK", "PACK"]:
        """How Ray is to place them: on one node, or on as few as it can."""
        return "STRICT_PACK" if self.one_node else "PACK"

    def for_batch(self, batch_size: int) -> "Resources":
        """The same for a batch, of which no worker gets nothing; on CPUs the others take over the threads."""
        count = min(self.num_workers, batch_size)
        threads = self.threads if self.gpus_per_worker else self.threads * self.num_workers // count
        return replace(self, num_workers=count, least_workers=min(self.least_workers, count), threads=threads)


def workers_that_fit(resources: Resources, nodes: Iterable[Node]) -> int:
    """How many workers of a run some nodes have room for, whatever else runs there.

    Where all of them have to be on one node, those that fit the largest.
    """
    rooms = [_room(resources, node, node.cpus) for node in nodes]
    return max(rooms, default=0) if resources.one_node else sum(rooms)


def _room(resources: Resources, node: Node, cpus: float) -> int:
    """Workers that fit a node with so many CPUs."""
    least = 1e-9  # Ray counts in ten-thousandths, and floats do not
    room = floor(cpus / resources.cpus_per_worker + least) if resources.cpus_per_worker else node.gpus
    if not resources.gpus_per_worker:
        return room
    if resources.gpu_kind not in (None, node.gpu_kind):
        return 0
    return min(room, node.gpus // resources.gpus_per_worker)


def runs_at_once(resources: Resources, fleet: Fleet, most: int | None = None) -> int:
    """How many runs go side by side, as the fleet is now and with what may be added to it; at least one, which waits.

    Asked again it follows nodes that come and go. Each node stands for itself where a run has to be on one: four GPUs
    are not two on each of two nodes.

    Args:
        resources: of a run.
        fleet: as it is.
        most: the user's limit.
    """
    # Logical CPUs of this machine exceed its cores on purpose; runs on CPUs share the cores.
    rooms = [_room(resources, n, n.cpus if resources.gpus_per_worker else min(n.cpus, n.cores)) for n in fleet.all]
    count = resources.num_workers
    found = max(1, sum(room // count for room in rooms) if resources.one_node else sum(rooms) // count)
    return min(found, most or found)


def check_placeable(resources: Resources) -> None:
    """Look, before anything starts, whether a run can ever be placed.

    Raises:
        NeverPlaceableError: neither on what there is nor on what may be added.
    """
    if resources.lack:
        raise NeverPlaceableError(*resources.lack)


def lack_of(resources: Resources, fleet: Fleet) -> tuple[str, str, str] | None:
    """What is needed, what there is and the remedy, where a run never fits."""
    room = workers_that_fit(resources, fleet.all)
    if room >= resources.least_workers:
        return None
    by_hand = fleet.is_cluster and fleet.may_be_added is None
    if by_hand and resources.wait is not None:  # who says how long to wait knows of machines that will join
        return None
    if room:
        cores = sum(node.cores for node in fleet.all)
        remedy = f"Take `--workers {room if resources.gpus_per_worker else min(room, cores)}`"
    elif resources.gpus_per_worker and not fleet.all:
        remedy = "Start a node with GPUs"
    elif resources.gpus_per_worker:
        kinds = dict.fromkeys(node.gpu_kind for node in fleet.all if node.gpus and node.gpu_kind)
        remedy = f"Take `--gpu-kind '{next(iter(kinds))}'`" if kinds else "Leave out --gpu-kind"
    else:
        remedy = "Start a node that has CPUs for work: `ray start --address=HEAD:PORT`"
    if by_hand:
        remedy += "; for nodes that you add yourself, say how long to wait for them: `--wait 30m`"
    return _need(resources), _have(fleet), f"{remedy}."


def _need(resources: Resources) -> str:
    count, gpus, cpus = resources.least_workers, resources.gpus_per_worker, resources.cpus_per_worker
    total = (
        f"{_counted(count * gpus, 'GPU')} and {_counted(count * cpus, 'CPU')}"
        if gpus
        else _counted(count * cpus, "CPU")
    )
    where = " on one node" if resources.one_node else ""
    return f"a run needs {total}{where}: {_counted(count, 'worker')} of {resources.each}"


def _have(fleet: Fleet) -> str:
    where = f"the cluster has {_counted(len(fleet.nodes), 'node')}" if fleet.is_cluster else "this machine has"
    if not fleet.is_cluster:
        return f"{where} {' and '.join(dict.fromkeys(_size(node) for node in fleet.nodes))}"
    if fleet.nodes:
        where += f", the largest with {_size(max(fleet.nodes, key=lambda node: (node.gpus, node.cpus)))}"
    if fleet.may_be_added is None:
        return where
    groups: dict[str, list[Node]] = {}
    for node in fleet.may_be_added:
        groups.setdefault(node.host, []).append(node)
    more = [f"{_counted(len(of_it), 'node')} with {_size(of_it[0])} ({name})" for name, of_it in groups.items()]
    return f"{where}; {' and '.join(more) if more else 'no more'} may be added"


def _size(node: Node) -> str:
    told = f" ({node.gpu_kind})" if node.gpu_kind and node.gpus else ""
    return f"{_counted(node.gpus, 'GPU')}{told} and {_counted(node.cores, 'CPU')}"


def _counted(count: float, what: str) -> str:
    return f"{count:g} {what}{'' if count == 1 else 's'}"
