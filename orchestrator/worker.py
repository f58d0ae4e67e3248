"""One worker of a group: the body that Ray Train runs, and what makes the first worker stop."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from orchestrator.messages import notice, tell_driver
from orchestrator.readiness import Task
from orchestrator.room import draining_nodes, room
from workloads.attempts import MOST_PRINTED, Attempts
from workloads.record import RunFolder
from workloads.storage import Folder
from workloads.training.report import Report
from workloads.training.wandb_log import WandbMode, wandb_log

_ASKED_EVERY = 1.0
"""Seconds between two looks at whether to stop."""
_ROOM_EVERY = 5
"""Looks at which it is also looked for room to grow."""
_RAYS_WORDS = (b":job_id:", b":actor_name:", b":task_name:")
"""What begins the lines that Ray writes into the file of a worker for itself."""


def work(config: Mapping[str, Any]) -> None:
    """Body of every worker.

    Raises:
        ClibdError: the run cannot be; the others are ended.
        StoppedError: it was to stop, and is saved.
    """
    task: Task = config["task"]
    run = RunFolder(Folder(task.run))
    if task.resources.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
    import ray.train.torch
    import torch
    import torch.distributed as dist

    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.placement import Placement
    from workloads.training.run import train_run
    from workloads.training.watch import Watch

    if run.state() == "finished":  # and then another worker was lost
        return
    torch.set_num_threads(task.resources.threads)
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    placement = Placement.here(device, task.resources.loader_processes)
    dataset = PreparedDataset(Folder(task.data)).without(task.without)
    first = placement.rank == 0
    asked = _Asked(config["group"], task, placement.num_workers)
    wandb: WandbMode = config["wandb"] if first else "off"
    try:
        with wandb_log(run, wandb):
            told = [asked.hear] if first else []
            execution = replace(task.resources.execution, most_workers=task.resources.num_workers)
            steps = Watch(f"worker {placement.rank} on {socket.gethostname()}")
            details = train_run(
                task.spec, run, dataset, placement, execution, told, task.places, asked.watching(first), steps
            )
            if first:
                run.finish("finished", **details)
                run.folder.remove_folder("checkpoints")
        dist.destroy_process_group()
    finally:
        worker = ray._private.worker.global_worker
        files = (worker.get_out_file_path(), worker.get_err_file_path())
        Attempts(run.folder).keep_log(config["attempt"], placement.rank, printed(files))


def printed(files: tuple[str, ...] | list[str]) -> bytes:
    """What a worker printed into its files, the last of it where it is much, without Ray's own lines."""
    parts = []
    for path in filter(os.path.isfile, files):
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - MOST_PRINTED // len(files)))
            parts += [line for line in file if not line.startswith(_RAYS_WORDS)]
    return b"".join(parts)


class _Asked:
    """Looks in a thread for what makes a run stop, so that no step waits for an answer."""

    def __init__(self, group: str, task: Task, size: int) -> None:
        self._group, self._epochs = group, task.spec.epochs
        self._resources, self._size = task.resources, size
        self._told: list[dict[str, Any]] = []
        self._reason: str | None = None
        self._may_grow = self._epoch_ended = False
        self._over = threading.Event()

    def hear(self, report: Report) -> None:
        """Tell the driver of epochs; a listener."""
        if report.event == "epoch":
            self._told.append(asdict(report))
            tell_driver(self._group, self._told)
            self._epoch_ended = report.epoch + 1 < self._epochs

    @contextmanager
    def watching(self, first: bool) -> Iterator[Any]:
        """While it lasts the first worker's stop has an answer at once."""
        if not first:
            yield lambda: None
            return
        thread = threading.Thread(target=self._look, name="asked", daemon=True)
        thread.start()
        try:
            yield self._stop
        finally:
            self._over.set()

    def _stop(self) -> str | None:
        """Why to stop; to grow only right after an epoch that is not the last."""
        ended, self._epoch_ended = self._epoch_ended, False
        return self._reason or ("may grow" if ended and self._may_grow else None)

    def _look(self) -> None:
        from orchestrator.joining import nodes_of_group

        looks = 0
        while not self._over.wait(_ASKED_EVERY):
            self._reason = notice(self._group)
            if not self._reason and nodes_of_group & draining_nodes():
                self._reason = "preempted"
            looks += 1
            if looks % _ROOM_EVERY == 0 and self._size < self._resources.num_workers:
                self._may_grow = room(self._resources) > 0
