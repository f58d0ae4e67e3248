"""The room that a Ray session has for workers of a run now, and waiting for it."""

import time
from collections.abc import Callable, Iterable, Mapping
from math import floor
from typing import Any

from orchestrator.fleet import Resources
from orchestrator.messages import claims, forget_claims, note_claim
from workloads.command_line import clock
from workloads.run_errors import StoppedError, WaitedError
from workloads.stopping import Stop

_LOOKED_EVERY = 1.0
"""Seconds between two looks at what is free."""
_SETTLING = 5.0
"""Seconds in which what the last group had comes free."""


def workers_in(free: Iterable[Mapping[str, float]], resources: Resources) -> int:
    """How many workers of a run find room in what nodes have free."""
    least = 1e-9  # Ray counts in ten-thousandths, and floats do not
    asked = [(name, amount) for name, amount in resources.per_worker.items() if amount]
    rooms = [min(floor(node.get(name, 0.0) / amount + least) for name, amount in asked) for node in free]
    return max(rooms, default=0) if resources.one_node else sum(rooms)


def room(resources: Resources) -> int:
    """Workers of a run that would find room now, beside those that there are."""
    import ray

    leaving = draining_nodes()
    free: dict[str, Mapping[str, float]] = ray._private.state.available_resources_per_node()
    return workers_in([amounts for node, amounts in free.items() if node not in leaving], resources)


def draining_nodes() -> frozenset[str]:
    """Ray's ids of the nodes that will be taken away."""
    import ray

    return frozenset(ray._private.state.state.get_draining_nodes())


def give_back(run: str) -> None:
    """Give back whatever room is held for a run, and end whoever is still in it.

    Ray Train does so itself, but not where a group ended before all its workers had begun, nor where a driver is lost.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for claim in claims(run):
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(claim))))
    forget_claims(run)


def wait_for_room(run: str, resources: Resources, before: int, tell: Callable[..., None], stop: Stop) -> int:
    """Wait until a group of workers finds room. Gives its size: the largest that fits, within what is asked for.

    What is waited for is asked of Ray as a placement group, so that a cluster that grows does so.

    Args:
        run: address of its folder.
        resources: of the run.
        before: size of the group before this one, which has only just ended; 0 if this is the first.
        tell: told what is waited for, as facts of the run's lease.
        stop: why to stop waiting; None not to.

    Raises:
        WaitedError: the time that the user allows is over.
        StoppedError: it is to stop.
    """
    began, told = time.time(), ""
    most, least = resources.num_workers, resources.least_workers
    give_back(run)  # that a lost driver had taken
    claim = _Claim(run, resources)
    try:
        while True:
            hoped = before if time.time() - began < _SETTLING else 0
            size = max(least, min(most, max(hoped, room(resources))))
            if claim.granted(size):
                return size
            if reason := stop():
                raise StoppedError(reason)
            if resources.wait is not None and time.time() - began > resources.wait:
                raise WaitedError(run, clock(resources.wait), _in_words(resources, least))
            now = f"{_in_words(resources, least)}; {_what_is_free(resources)}"
            if not hoped and now != told:
                tell(state="waiting", waiting_for=(told := now), since=began)
    finally:
        claim.give_up()


class _Claim:
    """A placement group that is asked for and waited for, and removed when it is there: Ray Train makes its own."""

    def __init__(self, run: str, resources: Resources) -> None:
        self._run, self._resources, self._size = run, resources, 0
        self._group: Any = None

    def granted(self, size: int) -> bool:
        """Whether a group of this size has found room, after a second at most."""
        from ray.util import placement_group

        if size != self._size:
            self.give_up()
            bundles = [self._resources.per_worker] * size
            self._group, self._size = placement_group(bundles, strategy=self._resources.placement), size
            note_claim(self._run, self._group.id.hex())
        return bool(self._group.wait(_LOOKED_EVERY))

    def give_up(self) -> None:
        """Leave the room to others."""
        if self._size:
            give_back(self._run)
            self._group, self._size = None, 0


def _in_words(resources: Resources, size: int) -> str:
    cpus, gpus = size * resources.cpus_per_worker, size * resources.gpus_per_worker
    return (f"{gpus} GPU{'s' * (gpus > 1)} and " if gpus else "") + f"{cpus:g} CPU{'s' * (cpus != 1)}"


def _what_is_free(resources: Resources) -> str:
    import ray

    free, there = ray.available_resources(), ray.cluster_resources()
    name = "GPU" if resources.gpus_per_worker else "CPU"
    return f"{free.get(name, 0):.0f} {name}s are free of {there.get(name, 0):.0f}"
