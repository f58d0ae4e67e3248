"""What is wrong with a host, decided from facts alone: neither disk, clock nor Ray.

Each problem has a remedy that can be pasted on the host that it names, or into the command that was given.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.connecting import is_loopback
from workloads.host import HostFacts
from workloads.shared_places import Place, Sight
from workloads.source_tree import PACKAGES
from workloads.weight_files import Files

_SOCKET_PATH = 107
"""Most bytes of the path of a socket."""
_TORCHS_SOCKET = "/pymp-00000000/listener-00000000"
"""Longest path of those by which processes hand tensors to each other, below the scratch folder."""
_GIB = 2**30
_LEAST_ROOM, _LITTLE_ROOM = 0.25 * _GIB, 5 * _GIB
_LITTLE_SHARED_MEMORY = 0.5 * _GIB
"""A container has 64 MB by default; processes that prepare batches hand them over there."""
_CLOCK_WARNS, _CLOCK_FAILS = 2.0, 60.0
"""Seconds."""
_COPY = "cd {here} && rsync -a --delete --exclude __pycache__ {packages} {there}"
_STOPS = {"code", "python", "packages", "place", "cache", "token"}
"""Checks without which no run can be begun; others concern some runs, or some of their speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something wrong with a host."""

    check: str
    reason: str
    remedy: str
    grave: bool = True
    """Whether the host is not fit; else it is good to know."""

    @property
    def stops(self) -> bool:
        """Whether nothing should be begun before it is mended."""
        return self.grave and self.check in _STOPS


def problems_alone(facts: HostFacts, weights: Mapping[str, Files]) -> Iterator[Problem]:
    """What is wrong with a host, whatever others are like."""
    yield from _token(facts)
    yield from _rooms(facts)
    yield from _gpus(facts)
    yield from _weights(facts, weights)
    if 0 < facts.shared_memory < _LITTLE_SHARED_MEMORY:
        reason = f"/dev/shm has {_size(facts.shared_memory)}, and NCCL and Ray's object store need more"
        remedy = "Start the container with --shm-size=8g, or as root: `mount -o remount,size=8G /dev/shm`"
        yield Problem(check="shared memory", reason=reason, remedy=remedy, grave=bool(facts.gpus))


def problems_beside(facts: HostFacts, here: HostFacts) -> Iterator[Problem]:
    """What of a host does not go with the host of the command.

    Args:
        facts: of a host of a cluster.
        here: of the process that asks.
    """
    if facts.code != here.code:
        told = f"({facts.commit or 'no commit'}; here {here.code}, {here.commit or 'no commit'})"
        there = f"{facts.address}:{shlex.quote(facts.root)}/"
        remedy = f"From here: `{_COPY.format(here=shlex.quote(here.root), packages=' '.join(PACKAGES), there=there)}`"
        yield Problem(check="code", reason=f"it has other code, {facts.code} {told}", remedy=remedy)
    if _minor(facts.python) != _minor(here.python):
        make = f"uv venv --clear --python {_minor(here.python)} .venv && uv pip install --torch-backend=auto -e ."
        remedy = f"There: `cd {shlex.quote(facts.root)} && {make}`, and start Ray from it"
        yield Problem(check="python", reason=f"it has Python {facts.python}, here {here.python}", remedy=remedy)
    if others := differing(facts.packages, here.packages):
        reason = ", ".join(f"{name} {facts.packages.get(name) or 'missing'}" for name in others)
        wanted = ", ".join(f"{name} {here.packages[name]}" for name in others)
        needed = " ".join(f"{name}=={_public(here.packages[name])}" for name in others if here.packages[name])
        remedy = f"There: `{facts.program} -m pip install {needed}`"
        yield Problem(check="packages", reason=f"it has {reason}; here {wanted}", remedy=remedy)
    yield from _network(facts, here)


def problems_of_clock(ahead: float) -> Iterator[Problem]:
    """What is wrong with a clock that is this many seconds ahead, or behind if negative."""
    if abs(ahead) > _CLOCK_WARNS:
        reason = f"its clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
        remedy = "As root there: `timedatectl set-ntp true`, or start the container's host with the right time"
        yield Problem(check="clock", reason=reason, remedy=remedy, grave=abs(ahead) > _CLOCK_FAILS)


def problems_of_place(place: Place, sight: Sight, *, mark_seen: bool, alone: bool = False) -> Iterator[Problem]:
    """What of a place a host does not see, or cannot write.

    Args:
        place: as the host of the command showed it.
        sight: what the host sees.
        mark_seen: whether what the host wrote there was seen by that of the command.
        alone: whether there is no other host, so that a disk is as good as any place.
    """
    what, share = f"{place.option} {place.address}", _share(place)
    if reason := place.refused or sight.refused:
        verb = "write to" if place.written else "read"
        remedy = _mend(place) if alone or not place.is_local or place.refused else share
        yield Problem(check="place", reason=f"cannot {verb} {what}: {reason}", remedy=remedy)
    elif not place.digest:
        remedy = "`clibd data prepare specimens.parquet --to DIR` makes one"
        yield Problem(check="place", reason=f"there is no {place.file} in {what}", remedy=remedy)
    elif not sight.digest:
        reason = f"does not see what the command sees in {what}: the folder is on a disk of its own"
        yield Problem(check="place", reason=reason, remedy=share)
    elif sight.digest != place.digest:
        yield Problem(check="place", reason=f"has another {place.file} in {what}", remedy=share)
    elif place.written and not mark_seen:
        yield Problem(check="place", reason=f"writes to {what}, and the command does not see it", remedy=share)
    elif sight.free is not None and sight.free < _LITTLE_ROOM:
        reason = f"{what} has {_size(sight.free)} left"
        remedy = f"Make room there, or give another folder as {place.option}"
        yield Problem(check="place", reason=reason, remedy=remedy, grave=sight.free < _LEAST_ROOM)


def differing(packages: Mapping[str, str | None], others: Mapping[str, str | None]) -> list[str]:
    """Names of packages whose versions differ; builds of one version for CPUs or another CUDA are equal."""
    return [name for name in others if _public(packages.get(name)) != _public(others[name])]


def _share(place: Place) -> str:
    bucket = f"`{place.option} s3://BUCKET/{place.address.rsplit('/', 1)[-1]}` (or gs://)"
    mount = f"mount one folder at {place.address} on every host"
    copy = "" if place.written else f" after `aws s3 sync {shlex.quote(place.address)} s3://BUCKET/…`"
    return f"Give {bucket}{copy}, or {mount}"


def _mend(place: Place) -> str:
    if place.is_local:
        return f"`chmod u+rwX {shlex.quote(place.address)}`, or give another folder as {place.option}"
    return "Give its environment, or the role of the machine, the right to it: `ray start` hands its own to all runs"


def _token(facts: HostFacts) -> Iterator[Problem]:
    token = facts.token
    if token.mode == "token" and token.permissions & 0o077:
        reason = f"others can read {token.file} (mode {token.permissions:04o}), and with it run code on the cluster"
        yield Problem(check="token", reason=reason, remedy=f"There: `chmod 600 {shlex.quote(token.file)}`")
    if token.mode != "token" and facts.address:
        reason = "Ray asks for no token: whoever reaches its port runs code there"
        remedy = (
            "`ray get-auth-token --generate`, ~/.ray/auth_token to every host, and `RAY_AUTH_MODE=token ray start …`"
        )
        yield Problem(check="no token", reason=reason, remedy=remedy, grave=False)


def _rooms(facts: HostFacts) -> Iterator[Problem]:
    for room, check, variable in ((facts.cache, "cache", "CLIBD_CACHE"), (facts.scratch, "scratch", "TMPDIR")):
        remedy = f"Before `ray start`, or the command: `export {variable}=/a/folder/with/room`"
        if room.refused:
            yield Problem(check=check, reason=f"nothing can be written to {room.path}: {room.refused}", remedy=remedy)
        elif room.free < _LITTLE_ROOM:
            reason = f"{room.path} has {_size(room.free)} left"
            yield Problem(check=check, reason=reason, remedy=remedy, grave=room.free < _LEAST_ROOM)
    if (length := len((facts.scratch.path + _TORCHS_SOCKET).encode())) > _SOCKET_PATH:
        reason = f"sockets below {facts.scratch.path} have paths of {length} bytes, and {_SOCKET_PATH} is the most"
        yield Problem(check="sockets", reason=reason, remedy="`export TMPDIR=/tmp`")


def _gpus(facts: HostFacts) -> Iterator[Problem]:
    usable, count, python = facts.usable_gpus, len(facts.gpus), facts.program
    if usable < count:
        reason = f"torch can use {usable} of {count} GPU(s){f': {facts.torch_says}' if facts.torch_says else ''}"
        install = f"{python} -m pip install uv && {python} -m uv pip install --python {python}"
        remedy = f"There: `{install} --torch-backend=auto --reinstall torch torchvision`"
        yield Problem(check="gpu", reason=reason, remedy=remedy, grave=usable == 0)


def _weights(facts: HostFacts, weights: Mapping[str, Files]) -> Iterator[Problem]:
    if facts.lacking:
        from workloads.models.published import remedy_for  # with torch, which a look at hosts can do without
    for name in facts.lacking:
        reason = f"it lacks the weights {name}, {'which the hub gives' if facts.hub else 'and the hub does not answer'}"
        yield Problem(check="weights", reason=reason, remedy=remedy_for(name, weights[name]), grave=not facts.hub)


def _network(facts: HostFacts, here: HostFacts) -> Iterator[Problem]:
    if facts.chosen_interface and not {*facts.chosen_interface.split(",")} <= facts.interfaces.keys():
        known = ", ".join(facts.interfaces) or "none with an address"
        reason = f"GLOO_SOCKET_IFNAME={facts.chosen_interface}, and there is no such interface, but {known}"
        name = facts.interface
        remedy = f"`export GLOO_SOCKET_IFNAME={name}`" if name else "`unset GLOO_SOCKET_IFNAME`"
        yield Problem(check="network", reason=reason, remedy=f"There, before `ray start`: {remedy}")
    if is_loopback(facts.address) and not is_loopback(here.address or facts.address):
        own = next((address for address in facts.interfaces.values() if not is_loopback(address)), "ADDRESS")
        reason = f"it joined the cluster as {facts.address}, where nobody else reaches it"
        yield Problem(check="network", reason=reason, remedy=f"There: `ray start --node-ip-address={own} …`")
    elif not facts.chosen_interface and is_loopback(facts.resolved) and not facts.interface:
        reason = f"it calls itself {facts.resolved}, and no interface has its address {facts.address}"
        setting = "`export GLOO_SOCKET_IFNAME=NAME NCCL_SOCKET_IFNAME=NAME`; `ip address` says NAME"
        remedy = f"There, before `ray start`: {setting}"
        yield Problem(check="network", reason=reason, remedy=remedy)


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


def _public(version: str | None) -> str | None:
    """A version without its local part, which says how it was built."""
    return None if version is None else version.partition("+")[0]


def _size(count: float) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= 0.1 * _GIB else f"{count / 2**20:.0f} MiB"


def fact_words(facts: HostFacts) -> str:
    """A host in a few words."""
    kinds: Sequence[str] = sorted({gpu.name for gpu in facts.gpus})
    gpus = f"{len(facts.gpus)} × {', '.join(kinds)}" if kinds else "no GPU"
    memory = next((f" of {_size(gpu.memory)}" for gpu in facts.gpus if gpu.memory), "")
    network = f", {facts.interface} {facts.address}" if facts.interface else ""
    code = f"code {facts.code} ({facts.commit or 'no commit'}), Python {facts.python}"
    rooms = f"{_size(facts.memory)} of memory, {_size(facts.cache.free)} of cache"
    return f"{facts.cpus} CPU{'s' if facts.cpus != 1 else ''}, {gpus}{memory}, {rooms}{network}; {code}"
