"""Every host of a cluster looked at, by one short task on each; this machine alone without a cluster.

The facts are gathered on the hosts (`workloads.host`) and judged here (`orchestrator.host_checks`). Whoever starts
runs does so inside `watching_hosts`, which looks before anything begins, and at hosts that come later.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.host_checks import (
    Problem,
    problems_alone,
    problems_beside,
    problems_of_clock,
    problems_of_place,
)
from workloads.errors import first_line
from workloads.host import HostFacts, clock, examine, facts_of_this_host
from workloads.run_errors import UnfitHostsError
from workloads.shared_places import Place, Sight, data_place, held_up, look, runs_place, sees_mark
from workloads.weight_files import Files

if TYPE_CHECKING:
    from orchestrator.fleet import Resources
    from orchestrator.request import SweepPoints, SweepRequest
    from sweeps.point import Point

_PATIENCE = 90.0
"""Seconds in which a host has to answer: a worker starts in some, on a busy machine in many more."""
_EVERY = 5.0
"""Seconds between two looks for hosts that have come."""
_HEAD = "node:__internal_head__"
"""A resource that only the head has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What hosts have to see and to have."""

    places: Sequence[Place] = ()
    weights: Mapping[str, Files] = field(default_factory=dict)
    """Published weights by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostReport:
    """A host, and what is wrong with it."""

    name: str
    node: str = ""
    """Ray's id of it."""
    facts: HostFacts | None
    """None where it did not answer."""
    problems: Sequence[Problem]

    @property
    def is_fit(self) -> bool:
        """Whether nothing grave is wrong."""
        return not any(problem.grave for problem in self.problems)


def needs_of(points: "SweepPoints", resources: "Resources") -> Needs:
    """What the hosts of a sweep have to see and to have."""
    from orchestrator.request import plan_of

    todo, _ = plan_of(points, resources)
    return needs_of_runs(points.request, todo.to_run)


def needs_of_runs(request: "SweepRequest", to_run: Iterable["Point"]) -> Needs:
    """What the hosts of some runs have to see and to have; data that is yet to be prepared goes to where runs are."""
    from orchestrator.weights_at_hand import wanted_weights

    data = [data.folder for data in (request.data, request.insect) if data is not None]
    places = [data_place(folder.address) for folder in data if folder.has("dataset.json")]
    return Needs(places=[*places, runs_place(request.runs.address)], weights=wanted_weights(to_run))


def examine_here(needs: Needs) -> HostReport:
    """This machine by itself, in this process."""
    facts = facts_of_this_host(weights=needs.weights)
    with held_up(needs.places) as shown:
        problems = [*problems_alone(facts, needs.weights), *_of_places(shown, [look(p) for p in shown], alone=True)]
    return HostReport(name=facts.host, facts=facts, problems=problems)


def examine_cluster(
    needs: Needs, known: Sequence[str] = (), is_over: Callable[[], bool] = lambda: False
) -> list[HostReport]:
    """The hosts of the cluster of this Ray session, the head first.

    Args:
        needs: what they have to see and to have.
        known: ids of those that are left out.
        is_over: whether nobody wants to know any more.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = sorted((n for n in alive if n["NodeID"] not in known), key=lambda n: _HEAD not in n["Resources"])
    if not nodes:
        return []
    here = facts_of_this_host(ray.util.get_node_ip_address())
    with held_up(needs.places) as shown:
        asked = {_on(node, examine, node["NodeManagerAddress"], dict(needs.weights), shown): node for node in nodes}
        reports, late, until = [], list(asked), time.monotonic() + _PATIENCE
        while late and time.monotonic() < until and not is_over():
            _, late = ray.wait(late, num_returns=len(late), timeout=1.0)
        for task, node in asked.items():
            if task in late:
                ray.cancel(task, force=True)
                reports.append(_silent(node, f"it does not answer within {_PATIENCE:.0f} s"))
            else:
                reports.append(_report(task, node, here, needs, shown, alone=len(alive) == 1))
    return _told_apart(reports)


@contextmanager
def watching_hosts(address: str | None, needs: Needs, say: Callable[[str], None]) -> Iterator[None]:
    """Hosts are looked at before the block, and those that come later while it goes on; within a Ray session.

    Args:
        address: of the cluster; None: this machine alone.
        needs: what hosts have to see and to have.
        say: is told of what is wrong and does not forbid to begin, and of late hosts that are not fit.

    Raises:
        UnfitHostsError: nothing can begin on some of them.
    """
    reports = examine_cluster(needs) if address else [examine_here(needs)]
    refuse_unfit(reports, alone=address is None)
    _say(reports, say)
    if not address:
        yield
        return
    over, known = threading.Event(), [report.node for report in reports]
    watcher = threading.Thread(target=_watch, args=(needs, known, say, over), name="clibd-doctor", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(timeout=2 * _EVERY)


def refuse_unfit(reports: Sequence[HostReport], *, alone: bool) -> None:
    """Refuse to begin on hosts that forbid it.

    Args:
        reports: of the hosts.
        alone: whether it is this machine, whose local cluster has its own token.

    Raises:
        UnfitHostsError: with the hosts of each reason.
    """
    hosts: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for problem in report.problems:
            if problem.stops and not (alone and problem.check == "token"):
                hosts.setdefault((problem.reason, problem.remedy), []).append(report.name)
    if hosts:
        raise UnfitHostsError([(", ".join(names), *why) for why, names in hosts.items()])


def _say(reports: Sequence[HostReport], say: Callable[[str], None], late: bool = False) -> None:
    for report in reports:
        for problem in report.problems:
            if problem.grave:
                came = ", which has joined" if late else ""
                say(f"{report.name}{came}: {problem.reason}. {problem.remedy}")


def _watch(needs: Needs, known: list[str], say: Callable[[str], None], over: threading.Event) -> None:
    """Look at hosts as they come, until it is over."""
    while not over.wait(_EVERY):
        try:
            reports = examine_cluster(needs, known, is_over=over.is_set)
        except Exception as error:  # the session has ended, or a store does not answer; runs say so themselves
            if not over.is_set():
                say(f"hosts that join are not looked at: {first_line(error)}")
            return
        if not over.is_set():
            known += [report.node for report in reports]
            _say(reports, say, late=True)


def _on(node: Mapping[str, Any], function: Callable[..., Any], *given: Any) -> Any:
    """A task on a node, also on one that is busy."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    return ray.remote(num_cpus=0, max_retries=0)(function).options(scheduling_strategy=there).remote(*given)


def _report(
    task: Any, node: Mapping[str, Any], here: HostFacts, needs: Needs, shown: Sequence[Place], *, alone: bool
) -> HostReport:
    import ray

    try:
        facts, sights = ray.get(task)
        problems = [*problems_alone(facts, needs.weights), *problems_beside(facts, here)]
    except (ray.exceptions.RaySystemError, ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError) as error:
        return _silent(node, f"it does not answer: {first_line(error)}")
    except Exception as error:  # code that is not there, other code than here, or a disk that fails
        told = str(error).strip().splitlines()[-1]
        if "Error: " in told and not told.startswith(("ModuleNotFound", "Import", "Attribute", "Type", "Key")):
            remedy = "There, without --address: `clibd doctor`"
            return _named(node, None, [Problem(check="answer", reason=f"a look failed: {told}", remedy=remedy)])
        remedy = "There: install the same version as here, and start Ray from its environment"
        return _named(node, None, [Problem(check="code", reason=f"it cannot run this code: {told}", remedy=remedy)])
    seen = _of_places(shown, sights, alone=alone)
    return _named(node, facts, [*problems, *problems_of_clock(_ahead(node)), *seen])


def _of_places(shown: Sequence[Place], sights: Sequence[Sight], *, alone: bool) -> Iterator[Problem]:
    for place, sight in zip(shown, sights, strict=True):
        yield from problems_of_place(place, sight, mark_seen=sees_mark(place, sight), alone=alone)


def _ahead(node: Mapping[str, Any]) -> float:
    """Seconds that a node's clock is ahead of ours at least, negative behind; 0 where that cannot be told."""
    import ray

    before = time.time()
    try:
        its = float(ray.get(_on(node, clock), timeout=10.0))
    except Exception:  # it has answered a moment ago, and something else will say that it is gone
        return 0.0
    return max(0.0, its - time.time()) or min(0.0, its - before)


def _silent(node: Mapping[str, Any], reason: str) -> HostReport:
    remedy = "`ray status` says whether it is there; on it, `ray stop` and start Ray again"
    return _named(node, None, [Problem(check="answer", reason=reason, remedy=remedy)])


def _named(node: Mapping[str, Any], facts: HostFacts | None, problems: Sequence[Problem]) -> HostReport:
    name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    return HostReport(name=name, node=node["NodeID"], facts=facts, problems=problems)


def _told_apart(reports: Sequence[HostReport]) -> list[HostReport]:
    """Several nodes of one host by the beginnings of their ids."""
    names = Counter(report.name for report in reports)
    return [replace(r, name=f"{r.name} {r.node[:6]}") if names[r.name] > 1 else r for r in reports]
