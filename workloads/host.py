"""What a host is and has, as far as runs depend on it: gathered on the host itself, in seconds, and judged elsewhere.

Imports neither torch nor Ray.
"""

import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from joblib import cpu_count

from workloads.errors import WeightsError
from workloads.memory import available_bytes
from workloads.record import versions
from workloads.shared_places import Place, Sight, look
from workloads.source_tree import ROOT, code_digest, commit
from workloads.storage import cache_folder
from workloads.weight_files import Files, hub_answers, place_of

_ASK_GPUS = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
_ASK_TORCH = "import torch; torch.cuda.init(); print(torch.cuda.device_count())"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as its driver calls it."""

    name: str
    memory: int
    """Bytes."""
    driver: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """A folder that has to be written to."""

    path: str
    free: int
    """Bytes; 0 where nobody knows."""
    refused: str = ""
    """Why nothing can be written."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """How Ray asks who is there."""

    mode: str
    """`token`, or `disabled`."""
    file: str
    """Empty where the token is in the environment, or there is none."""
    permissions: int
    """Of the file."""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """A host, at one moment."""

    host: str
    address: str
    """By which others reach it; empty where nobody has to."""
    root: str
    """Where our packages lie."""
    code: str
    commit: str | None
    python: str
    program: str
    """The Python program."""
    packages: Mapping[str, str | None]
    cpus: int
    """That a process may use: of its affinity and its container's quota."""
    memory: int
    """Bytes available now."""
    gpus: Sequence[Gpu]
    usable_gpus: int
    """Those that torch can compute on."""
    torch_says: str
    """Why it cannot on the others."""
    token: Token
    interfaces: Mapping[str, str]
    """IPv4 address of each network interface that has one, by name."""
    resolved: str
    """What its own name resolves to; empty where it does not."""
    chosen_interface: str
    """GLOO_SOCKET_IFNAME."""
    shared_memory: int
    """Size of /dev/shm, bytes; 0 where there is none."""
    scratch: Room
    cache: Room
    lacking: Sequence[str] = ()
    """Names of the published weights that are asked for and not here."""
    hub: bool | None = None
    """Whether the hub answers; None where nobody asked."""

    @property
    def interface(self) -> str | None:
        """The network interface that has its address."""
        return next((name for name, address in self.interfaces.items() if address == self.address), None)


def facts_of_this_host(
    address: str = "", weights: Mapping[str, Files] | None = None, *, under_ray: bool = False
) -> HostFacts:
    """Look around.

    Args:
        address: by which other hosts reach this one.
        weights: files of published weights that are asked for, by name.
        under_ray: whether this is a task, from which Ray hides GPUs.
    """
    lacking = [name for name, files in (weights or {}).items() if not _has(name, files)]
    gpus = _gpus()
    usable, reason = _usable_gpus(under_ray) if gpus else (0, "")
    return HostFacts(
        host=socket.gethostname(),
        address=address,
        root=str(ROOT),
        code=code_digest(),
        commit=commit(),
        python=platform.python_version(),
        program=sys.executable,
        packages=versions(),
        cpus=cpu_count(),
        memory=available_bytes(),
        gpus=gpus,
        usable_gpus=usable,
        torch_says=reason,
        token=_token(),
        interfaces=_interfaces(),
        resolved=_resolved(),
        chosen_interface=os.environ.get("GLOO_SOCKET_IFNAME", ""),
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0,
        scratch=room_at(Path(tempfile.gettempdir())),
        cache=room_at(cache_folder()),
        lacking=lacking,
        hub=hub_answers() if lacking else None,
    )


def examine(address: str, weights: Mapping[str, Files], places: Sequence[Place]) -> tuple[HostFacts, list[Sight]]:
    """Body of the task on each host of a cluster: its facts, and what it sees of places."""
    return facts_of_this_host(address, weights, under_ray=True), [look(place) for place in places]


def clock() -> float:
    """The host's time, seconds since 1970."""
    return time.time()


def room_at(folder: Path) -> Room:
    """Whether a folder, which is made if need be, can be written to, and its room: found out by writing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"0" * 4096)
        return Room(path=str(folder), free=shutil.disk_usage(folder).free)
    except OSError as error:
        return Room(path=str(folder), free=0, refused=error.strerror or str(error))


def _has(weights: str, files: Files) -> bool:
    try:
        return all(place_of(weights, *names) for names in files)
    except WeightsError:  # the store cannot be read from here
        return False


def _gpus() -> list[Gpu]:
    """Those of NVIDIA: by their driver's program, or by their device files where there is no program."""
    try:
        said = subprocess.run(_ASK_GPUS, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        devices = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
        return [Gpu(name="NVIDIA GPU", memory=0, driver="") for _ in devices]
    gpus = []
    for line in said.splitlines():
        name, memory, driver = (part.strip() for part in line.rsplit(",", 2))
        gpus.append(Gpu(name=name, memory=int(memory) * 2**20 if memory.isdigit() else 0, driver=driver))
    return gpus


def _usable_gpus(under_ray: bool) -> tuple[int, str]:
    """How many torch can compute on, and why not on others; asked in a process of its own, which may hang or die."""
    environment = {**os.environ}
    if under_ray and environment.get("CUDA_VISIBLE_DEVICES") == "":
        del environment["CUDA_VISIBLE_DEVICES"]
    words = [sys.executable, "-c", _ASK_TORCH]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=True).stdout
        return int(said.split()[-1]), ""
    except subprocess.CalledProcessError as error:
        return 0, (error.stderr.strip().splitlines() or ["it died"])[-1]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return 0, str(error)


def _token() -> Token:
    """As Ray looks for it: in the environment, in the file that it names, in the user's folder."""
    mode, file = os.environ.get("RAY_AUTH_MODE", "").lower(), Path.home() / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Token(mode=mode or "token", file="", permissions=0)
    if given := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        file = Path(given).expanduser()
    try:
        return Token(mode=mode or "token", file=str(file), permissions=stat.S_IMODE(file.stat().st_mode))
    except OSError:
        return Token(mode=mode or "disabled", file="", permissions=0)


def _interfaces() -> dict[str, str]:
    addresses = ((name, each) for name, of_it in psutil.net_if_addrs().items() for each in of_it)
    return {name: each.address for name, each in addresses if each.family == socket.AF_INET}


def _resolved() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
