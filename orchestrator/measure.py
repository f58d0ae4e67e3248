"""A measured point of a sweep: a task of Ray, which takes the processors or the GPU that it computes on."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.fleet import Resources
from workloads.measuring.points import ON_A_DEVICE
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

_RETRIES = 5
"""Losses of the node that measures, after each of which it is measured anew."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a measurement takes of a node."""

    cpus: float
    gpus: int
    threads: int


def share_of(kind: str, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Share:
    """What a point takes: of a GPU's node what one worker takes, of others as many workers' processors as one has.

    Args:
        kind: of the point.
        resources: of the runs.
        nodes: what each node has, as Ray says it; where there is none yet, a worker's processors are asked for.
    """
    gpus = int(kind in ON_A_DEVICE and resources.gpus_per_worker > 0)
    if resources.gpus_per_worker:
        return Share(resources.cpus_per_worker, gpus, max(resources.threads, int(resources.cpus_per_worker)))
    most = int(max((node.get("CPU", 0) for node in nodes), default=0) // resources.cpus_per_worker)
    workers = max(1, min(resources.num_workers, most))
    return Share(workers * resources.cpus_per_worker, 0, workers * resources.threads)


def measure_on_ray(job: Mapping[str, Any], spec: ExperimentSpec) -> None:
    """Measure a point whose folder has begun, and wait for its end: a status, also where it cannot be done."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Within

    share = Share(**job["share"])
    task = ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_calls=1,  # what it sets in its process is of no use to other tasks
        max_retries=_RETRIES,
        scheduling_strategy=Within(placement_group=None),  # and not within what the trial takes, which is nothing
    )(_measure)
    ray.get(task.remote(dict(job), spec))


def _measure(job: Mapping[str, Any], spec: ExperimentSpec) -> None:
    if job["resources"]["offline"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    import torch
    from threadpoolctl import threadpool_limits

    from workloads.measuring.points import measure_point

    share, run = Share(**job["share"]), RunFolder(Folder(job["run"]))
    if not job["resources"]["gpus_per_worker"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that is to be left alone is not even seen
    torch.set_num_threads(share.threads)
    try:
        with run.ending(Exception), threadpool_limits(share.threads):
            measure_point(job["kind"], spec, run, Folder(job["data"]), job["uses"], job["model"])
    except Exception:
        if run.state() != "failed":  # if it is, trying again would end the same way, and the others go on
            raise
