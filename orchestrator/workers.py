"""The workers of a run: what a user asks for, and what comes of it on a fleet.

By default a run takes the GPUs of one node, all of one kind; where there are none, two workers that share the CPUs of a
node.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

from orchestrator.fleet import Fleet, Node, Resources, lack_of, workers_that_fit
from workloads.errors import UsageError
from workloads.execution import Execution

_MOST_LOADERS = 8
"""Processes that prepare batches of one GPU; more than these wait for it."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Workers:
    """The fewest and the most workers of a run."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """From a number, or the least and the most: `4`, `2-8`.

        Raises:
            UsageError: it is neither.
        """
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
        least = int(match[1]) if match else 0
        most = int(match[2] or match[1]) if match else 0
        if not 1 <= least <= most:
            raise UsageError(f"--workers {text}: write how many, such as 4, or the least and the most, such as 2-8")
        return cls(least, most)


def seconds_of(text: str) -> float:
    """Of a time as `--wait` takes it: 90s, 30m, 2h.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not match:
        raise UsageError(f"--wait {text}: write a number and its unit, such as 90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a user asks of the machines; nothing of it has to be said."""

    workers: Workers | None = None
    cpu_only: bool = False
    gpu_kind: str | None = None
    wait: float | None = None
    """Longest time to wait for machines, seconds."""

    @classmethod
    def of(cls, workers: str | None, cpu_only: bool, gpu_kind: str | None, wait: str | None) -> "Wanted":
        """As the options of a command say it.

        Raises:
            UsageError: one of them means nothing, or two exclude each other.
        """
        if cpu_only and gpu_kind:
            raise UsageError("--cpu leaves GPUs alone and --gpu-kind chooses among them; leave out one of them")
        return cls(
            workers=Workers.parse(workers) if workers is not None else None,
            cpu_only=cpu_only,
            gpu_kind=gpu_kind,
            wait=seconds_of(wait) if wait is not None else None,
        )


def resources_for(
    fleet: Fleet, wanted: Wanted, *, offline: bool = False, execution: Execution | None = None
) -> Resources:
    """The workers of a run: the GPUs of one node, all of one kind; without GPUs two that share the CPUs of a node.

    Args:
        fleet: where it is to run, with what may be added to it.
        wanted: what the user asks.
        offline: whether published weights may only come from this machine.
        execution: how a worker is to work.
    """
    gpus = [] if wanted.cpu_only else [node for node in fleet.all if node.gpus]
    if gpus or wanted.gpu_kind:
        found = _on_gpus(gpus, fleet, wanted)
    else:
        found = _on_cpus([node for node in fleet.all if node.cores >= 1], wanted)
    found = replace(found, wait=wanted.wait, offline=offline, execution=execution or Execution())
    return replace(found, lack=lack_of(found, fleet))


def _on_gpus(nodes: Sequence[Node], fleet: Fleet, wanted: Wanted) -> Resources:
    kinds: dict[str | None, list[Node]] = {}
    for node in nodes:
        kinds.setdefault(node.gpu_kind, []).append(node)
    asked = {kind: kinds[kind] for kind in kinds if wanted.gpu_kind in (None, kind)}
    if wanted.gpu_kind and not asked:  # `a100` is found in `NVIDIA A100-SXM4-80GB`
        asked = {kind: kinds[kind] for kind in kinds if kind and wanted.gpu_kind.casefold() in kind.casefold()}
    if not asked:
        workers = wanted.workers or Workers(1, 1)
        return Resources(
            num_workers=workers.most,
            least_workers=workers.least,
            gpus_per_worker=1,
            gpu_kind=wanted.gpu_kind,
            by_kind=fleet.is_cluster,
        )
    several = fleet.is_cluster and len(kinds.keys() - {None}) > 1
    candidates = [_of_one_kind(kind, of_it, wanted.workers, several) for kind, of_it in asked.items()]

    def merit(candidate: Resources) -> tuple[bool, int, float, int]:
        of_it = asked[candidate.gpu_kind]
        fits = workers_that_fit(candidate, of_it) >= candidate.least_workers
        return fits, max(node.gpus for node in of_it), max(node.memory for node in of_it), len(of_it)

    return max(candidates, key=merit)


def _of_one_kind(kind: str | None, nodes: Sequence[Node], wanted: Workers | None, several: bool) -> Resources:
    """With the CPUs that a node has for each GPU, less one for all else; where it has one or less, with half of it."""
    most_gpus = max(node.gpus for node in nodes)
    workers = wanted or Workers(most_gpus, most_gpus)
    share = min(node.cores / node.gpus for node in nodes)
    cpus = floor(share) - 1 if share >= 2 else floor(share * 50) / 100
    return Resources(
        num_workers=workers.most,
        least_workers=workers.least,
        gpus_per_worker=1,
        gpu_kind=kind,
        by_kind=several and kind is not None,
        cpus_per_worker=cpus,
        one_node=workers.least == workers.most <= most_gpus,
        loader_processes=min(_MOST_LOADERS, max(0, floor(cpus) - 2)),
        threads=2 if cpus >= 2 else 1,
    )


def _on_cpus(nodes: Sequence[Node], wanted: Wanted) -> Resources:
    largest = max((node.cores for node in nodes), default=1)
    workers = wanted.workers or Workers(min(2, largest), min(2, largest))
    return Resources(
        num_workers=workers.most,
        least_workers=workers.least,
        cpus_per_worker=max(1, largest // workers.most),
        one_node=workers.least == workers.most <= largest,
        threads=max(1, largest // workers.most),
    )
