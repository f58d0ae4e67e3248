"""Looks at a Ray cluster before Ray does, and says what is wrong with it.

Ray itself waits for ten minutes where nothing answers, ends the process where a token is wanted and none is there, and
says the same of a token, a version and an address that are wrong.
"""

import ipaddress
import json
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workloads.run_errors import ClusterError, ClusterTokenError, ClusterVersionError

_PATIENCE = 10
"""Seconds for a cluster to answer."""
_ON_THE_HEAD = (
    "Give the head's host and port, such as HOST:6379, or run this command on the head (`ray attach cluster.yaml`) "
    "with `--address auto`."
)
_START = (
    "Start one with `ray up cluster.yaml` and run this command on its head node (`ray attach cluster.yaml`), or leave "
    "out --address to use this machine."
)
_TOKEN = (
    "Copy the file ~/.ray/auth_token of the cluster's head to ~/.ray/auth_token here, or to another file that "
    "RAY_AUTH_TOKEN_PATH names; then `chmod 600` it."
)
_UNSET = "Or go on without that setting: `unset RAY_AUTH_MODE`."


def checked(address: str) -> str:
    """The host and port at which a cluster answers that can be used from here.

    Args:
        address: `auto`, or a host and port.

    Raises:
        ClusterError: there is none, or it is no cluster's.
        ClusterTokenError: it wants a token that is not here.
        ClusterVersionError: it has another Ray or Python.
    """
    found = _found(address)
    if "://" in found:
        what = "of the dashboard" if found.startswith("http") else "of Ray's client"
        raise ClusterError(found, f"this is an address {what}, and no cluster's", _ON_THE_HEAD)
    host, _, port = found.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(found, "this is no address", _ON_THE_HEAD)
    _check_listening(found, host.strip("[]"), int(port))
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        _check_speaks_grpc(found)
    with _silent():
        versions = _versions(found)
    _check_versions(found, versions)
    return found


def _found(address: str) -> str:
    """What `auto` means here; read as Ray does, which may be imported only when it is known where it listens."""
    given = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    if given and given != "auto":
        return given
    noted = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        return noted.read_text().strip()
    except OSError:
        raise ClusterError("auto", f"no Ray cluster runs on {platform.node()}, by {noted}", _START) from None


def _check_listening(address: str, host: str, port: int) -> None:
    """One that listens on loopback only is met there; of itself Ray takes the machine's own address instead."""
    answers = _answers(host, port)
    if answers is not None:
        raise ClusterError(address, f"no Ray cluster answers there ({answers})", _START)
    if is_loopback(host) and _answers(_own_address(), port) is not None:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _answers(host: str, port: int) -> str | None:
    """None where something listens, and else why not."""
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        return str(error.strerror or error)
    return None


def is_loopback(host: str) -> bool:
    """Whether an address or a name means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_address() -> str:
    """Of this machine, by which others reach it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 1))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _check_speaks_grpc(address: str) -> None:
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_PATIENCE)
        except grpc.FutureTimeoutError:
            problem = "something answers there that is no Ray cluster (its dashboard, perhaps)"
            raise ClusterError(address, problem, _ON_THE_HEAD) from None


def _versions(address: str) -> dict[str, str]:
    """Versions of Ray and Python, as the cluster keeps them; from now on this process speaks with a token or without.

    Where a cluster has no token its own calls carry none, and a driver that wants one would refuse them: no actor of
    such a driver ever starts. So the cluster is first asked without.
    """
    from ray._raylet import AuthenticationTokenLoader
    from ray.exceptions import AuthenticationError

    asked = os.environ.get("RAY_AUTH_MODE", "").lower()
    try:
        versions = _told(address, "disabled")
    except AuthenticationError as error:
        if asked == "disabled":
            raise ClusterTokenError(address, "it wants a token, and here RAY_AUTH_MODE=disabled", _UNSET) from error
        if not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
            raise ClusterTokenError(address, "it wants a token, and there is none on this machine", _TOKEN) from error
    else:
        if asked == "token":
            remedy = f"Start every node of it with RAY_AUTH_MODE=token. {_UNSET}"
            raise ClusterTokenError(address, "it has no token, and here RAY_AUTH_MODE=token", remedy)
        return versions
    try:
        return _told(address, "token")
    except AuthenticationError as error:
        raise ClusterTokenError(address, "the token on this machine is not the cluster's", _TOKEN) from error


def _told(address: str, mode: str) -> dict[str, str]:
    from ray._raylet import Config, GcsClient
    from ray.exceptions import AuthenticationError, RayError

    os.environ["RAY_AUTH_MODE"] = mode
    Config.initialize("")  # reads it anew
    try:
        kept = GcsClient(address=address).internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=_PATIENCE)
    except AuthenticationError:
        raise
    except RayError as error:
        raise ClusterError(address, f"it does not answer ({type(error).__name__})", _START) from error
    return json.loads(kept) if kept else {}


def _check_versions(address: str, versions: dict[str, str]) -> None:
    import ray

    here = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    other = [name for name, version in here.items() if versions.get(name, version) != version]
    if other:
        words = {"ray_version": "Ray", "python_version": "Python"}
        there = " and ".join(f"{words[name]} {versions[name]}, here it is {here[name]}" for name in other)
        remedy = "Run this command on the cluster's head, or install the same versions here."
        raise ClusterVersionError(address, f"it runs {there}", remedy)


@contextmanager
def _silent() -> Iterator[None]:
    """What Ray's core prints while it is refused, which is said better afterwards."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
