"""How the workers of a group find each other: each says whether it is ready, and only then does a process group form.

Ray Train calls this in its controller. It replaces what Ray does by itself, where a worker that cannot begin is waited
for until a timeout, and torch's store listens on all addresses of the first worker's machine. Torch is imported by
workers alone: it would cost the driver and the controller of every group seconds.
"""

import os
import signal
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import psutil
import ray
from ray.train.backend import Backend, BackendConfig

from orchestrator.messages import give_notice, note_claim, tell_places
from orchestrator.readiness import Task, why_not_ready
from workloads.attempts import Attempts
from workloads.memory import let_segments_grow
from workloads.printed_text import remark
from workloads.run_errors import NotReadyError
from workloads.storage import Folder

LOOPBACK = "127.0.0.1"
_PATIENCE = 300.0
"""Seconds for a worker to say whether it is ready; it may have to fetch weights first."""
_JOINING = 120.0
"""Seconds for all workers to join once all are ready."""
_COLLECTIVES = 1800.0
"""Seconds that a worker waits for the slowest, which may be copying the data set to its disk."""
_store: Any = None
"""The first worker's, which lasts as long as its process."""
nodes_of_group: frozenset[str] = frozenset()
"""Ray's ids of the nodes that this worker's group is on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a worker says before it joins the others."""

    host: str
    node: str
    """Ray's id of its node."""
    address: str
    reason: str | None
    """Why it cannot begin; None where it is ready."""
    printed: tuple[str, ...]
    """Files on its machine that hold what it prints."""


@dataclass
class Joining(BackendConfig):  # type: ignore[misc] # Ray ships no types here
    """How the workers of a group join."""

    task: Task
    attempt: int
    group: str
    """Key of the group's messages."""

    @property
    def backend_cls(self) -> type[Any]:
        """Ray's hook."""
        return _Backend


class _Backend(Backend):  # type: ignore[misc] # as above
    share_cuda_visible_devices = True
    """Ray's: each worker sees the GPUs of all workers on its node, as NCCL wants it."""

    def on_start(self, worker_group: Any, backend_config: Joining) -> None:
        """Ask every worker whether it is ready; form the process group if all are.

        Raises:
            NotReadyError: some are not.
        """
        task, size = backend_config.task, len(worker_group)
        state = worker_group.get_worker_group_state()
        note_claim(task.run, state.placement_group_handle.placement_group.id.hex())
        asked = [worker_group.execute_single_async(n, _answer, task, n == 0, backend_config.group) for n in range(size)]
        answered, _ = ray.wait(asked, num_returns=size, timeout=_PATIENCE)
        answers: list[Answer | None] = [ray.get(each) if each in answered else None for each in asked]
        hosts = [each.host if each else _host_of(worker_group, n) for n, each in enumerate(answers)]
        there = [each for each in answers if each]
        tell_places(backend_config.group, [(each.node, each.printed) if each else None for each in answers])
        Attempts(Folder(task.run)).place(backend_config.attempt, hosts)
        silent = f"it did not answer within {_PATIENCE:.0f} s; its disk or its network may hang"
        reasons = [(host, each.reason if each else silent) for host, each in zip(hosts, answers, strict=True)]
        if wrong := list(dict.fromkeys((host, reason) for host, reason in reasons if reason)):
            raise NotReadyError(task.spec.id, wrong)
        alone = len({each.address for each in there}) == 1
        first = LOOPBACK if alone else there[0].address
        port = ray.get(worker_group.execute_single_async(0, _open_store, first), timeout=_JOINING)
        nodes = sorted({each.node for each in there})
        join = [
            worker_group.execute_single_async(n, _join, task, (first, port), n, size, alone, nodes) for n in range(size)
        ]
        ray.get(join, timeout=_JOINING)


def _host_of(worker_group: Any, number: int) -> str:
    name: str = worker_group.get_workers()[number].metadata.hostname
    return name


def _answer(task: Task, writes: bool, group: str) -> Answer:
    """Whether this worker is ready; it runs in the main thread, which alone can hear of signals."""
    _notice_sigterm(group)
    if task.resources.gpus_per_worker:
        let_segments_grow()
    context, worker = ray.get_runtime_context(), ray._private.worker.global_worker
    if task.resources.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
    return Answer(
        host=socket.gethostname(),
        node=context.get_node_id(),
        address=ray.util.get_node_ip_address(),
        reason=why_not_ready(task, writes),
        printed=tuple(filter(None, (worker.get_out_file_path(), worker.get_err_file_path()))),
    )


def _notice_sigterm(group: str) -> None:
    """Take the first SIGTERM for a notice that this process will be ended soon, and the second for the end."""
    before = signal.getsignal(signal.SIGTERM)

    def tell(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        threading.Thread(target=give_notice, args=(group, "preempted"), daemon=True).start()

    signal.signal(signal.SIGTERM, tell)


def _open_store(host: str) -> int:
    """Open the store through which workers find each other, on one address alone; gives its port."""
    import torch.distributed as dist

    global _store
    listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port: int = listening.getsockname()[1]
    _store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach(), use_libuv=True
    )
    return port


def _join(task: Task, place: tuple[str, int], rank: int, size: int, alone: bool, nodes: list[str]) -> None:
    """Join the process group, over the interface that Ray's own traffic takes."""
    import ray.train.torch
    import torch
    import torch.distributed as dist

    from workloads.placement import join_group

    global nodes_of_group
    nodes_of_group = frozenset(nodes)
    _name_interface(LOOPBACK if alone else ray.util.get_node_ip_address())
    patience = timedelta(seconds=_COLLECTIVES)
    device = ray.train.torch.get_device() if task.resources.gpus_per_worker else torch.device("cpu")
    store = _store or dist.TCPStore(*place, is_master=False, timeout=patience)  # type: ignore[attr-defined]
    join_group(device, patience, store=store, rank=rank, world_size=size)


def _name_interface(address: str) -> None:
    """Tell gloo and NCCL which interface has an address; of themselves they go by what the host's name resolves to."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == address for each in addresses):
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", name)
            return
    remark(f"no interface has the address {address}; the libraries choose one")
