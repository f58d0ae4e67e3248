"""Whether a worker can do its part of a run, found out before it joins the others."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.fleet import Resources
from sweeps.point import Point
from workloads.errors import ClibdError, first_line
from workloads.host import room_at
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder, cache_folder

_LEAST_FREE = 100 * 2**20
"""Bytes that a cache must have free, whatever it holds already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What every worker of a run is to do; plain enough to cross processes."""

    spec: ExperimentSpec
    run: str
    """Address of its folder."""
    data: str
    """Address of the prepared data set."""
    resources: Resources
    places: Mapping[str, str]
    """Where weights lie that the spec names (`workloads.models.places`)."""
    without: Sequence[str] = ()
    """Partitions whose queries are not looked at."""


def why_not_ready(task: Task, writes: bool) -> str | None:
    """Why this process cannot do its part, with a remedy; None where it can.

    Args:
        task: of the run.
        writes: whether it is the worker that writes the run's folder.
    """
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _data(task),
        lambda: _run_folder(task, writes),
        _cache,
        lambda: _gpu(task),
        lambda: _weights(task),
    )
    for check in checks:
        try:
            if reason := check():
                return reason
        except ClibdError as error:
            return str(error)
        except Exception as error:  # a disk or a store that fails, each library in its own way
            return f"{type(error).__name__}: {first_line(error)}"
    return None


def _data(task: Task) -> str | None:
    """dataset.json is read, and every split that has specimens has shards."""
    from workloads.data.prepared.dataset import PreparedDataset

    dataset = PreparedDataset(Folder(task.data))
    for split, count in dataset.facts.num_specimens.items():
        if count and not (dataset.folder / f"split={split}").files():
            return (
                f"{task.data}: no shards of the split {split} there. Copy the whole data set to where all can read it."
            )
    return None


def _run_folder(task: Task, writes: bool) -> str | None:
    run = RunFolder(Folder(task.run))
    if not run.folder.has("spec.json"):
        return f"{task.run} is not there. Keep runs where all machines can reach them: --runs with a shared folder."
    if writes:
        try:
            run.folder.write("writable.tmp", b"")
            run.folder.remove("writable.tmp")
        except OSError as error:
            return f"{task.run} cannot be written ({first_line(error)}). Make room there, or give leave to write."
    return None


def _cache() -> str | None:
    room = room_at(cache_folder())
    if room.refused:
        return f"the cache {room.path} cannot be written ({room.refused}). Set CLIBD_CACHE to a folder that can."
    if room.free < _LEAST_FREE:
        return f"the disk of the cache {room.path} is full. Make room, or set CLIBD_CACHE to a folder on another disk."
    return None


def _gpu(task: Task) -> str | None:
    import torch

    if task.resources.gpus_per_worker and not torch.cuda.is_available():
        return "a GPU was given and torch sees none. Install the driver that this torch wants, or train with --cpu."
    return None


def _weights(task: Task) -> str | None:
    """Those of runs and files are brought here; published ones are looked for where nothing can be fetched."""
    from orchestrator.weights_at_hand import missing_weights
    from workloads.models.places import weights_of

    weights_of(task.spec, task.places, Folder(task.run))
    if task.resources.offline or os.environ.get("HF_HUB_OFFLINE") == "1":
        for name, remedy in missing_weights(Point(row={}, label="", spec=task.spec)).items():
            return f"the weights '{name}' are not on this machine, and it is offline: {remedy}"
    return None
