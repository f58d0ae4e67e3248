"""What of this process's environment goes to a cluster, and what never does.

Settings go there as Ray's runtime environment. Ray writes that in clear to logs which everybody on a node may read, and
to arguments which `ps` shows, so nothing that is a secret, or holds one, is ever in it: nodes take their secrets from
their own environment, from files of mode 0600, or from the role that a cloud gave them.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from workloads.storage import holds_secret

_NAMES = frozenset(
    {
        # where object stores are
        *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"),
        *("AWS_ALLOW_HTTP", "AWS_EC2_METADATA_DISABLED", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"),
        *("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ENDPOINT"),
        # the files in which their secrets are, never what these hold
        *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"),
        # caches and hubs
        *("CLIBD_CACHE", "CLIBD_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"),
        *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"),
        *("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL"),
        # interfaces, threads and determinism
        *("GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
        *("CUBLAS_WORKSPACE_CONFIG", "TORCH_DISTRIBUTED_DEBUG"),
    }
)
_PREFIXES = ("NCCL_", "TORCH_NCCL_")
_SECRET_NAME = re.compile("KEY|SECRET|TOKEN|PASS(WORD|WD|$|_)|CREDENTIAL")
_LEAST_SECRET = 8
"""Characters; what is shorter may stand in a setting by chance."""
_SHARED = re.compile(r"nfs|lustre|gpfs|ceph|cifs|smb|beegfs|glusterfs|orangefs|pvfs|panfs|afs|weka|virtiofs|9p|fuse")
"""Kinds of file systems that several machines may have in common."""
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""In which Ray tells a submitted job what it was submitted with."""


def carried(environ: Mapping[str, str], settings: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """What of an environment goes to a cluster.

    Of a job that was submitted with a setting, that one stands.

    Args:
        environ: of the driver.
        settings: names beside those above, of Ray and of the product.

    Returns:
        Names and values, and a sentence for each name that should go and stays.
    """
    wanted = {name for name in environ if name in _NAMES or name in settings or name.startswith(_PREFIXES)}
    stay = {name: reason for name in sorted(wanted) if (reason := _stays(name, environ))}
    said = [f"{name} stays on this machine: {reason}" for name, reason in stay.items()]
    submitted = json.loads(environ.get(_JOB) or "{}").get("runtime_env", {}).get("env_vars", {})
    return {name: environ[name] for name in sorted(wanted - stay.keys() - submitted.keys())}, said


def _stays(name: str, environ: Mapping[str, str]) -> str | None:
    value = environ[name]
    secrets = [word for other, word in environ.items() if is_secret(other) and other != name]
    if holds_secret(value) or any(word in value for word in secrets if len(word) >= _LEAST_SECRET):
        return "its value holds a secret, which Ray would write to its logs; set it in the environment of every node"
    if not value.startswith(("/", "~")):
        return None
    path = Path(value).expanduser()
    if not on_shared_disk(path):
        return "it is a path on this machine's own disk; set it in the environment of every node"
    if _SECRET_NAME.search(name) and path.exists() and path.stat().st_mode & 0o077:
        return f"others may read that file; chmod 600 {path}"
    return None


def is_secret(name: str) -> bool:
    """Whether an environment variable of this name is taken for a secret; settings that are carried are none."""
    return name not in _NAMES and _SECRET_NAME.search(name) is not None


def on_shared_disk(path: Path) -> bool:
    """Whether a path is on a file system that other machines may have as well."""
    kinds = {Path(disk.mountpoint): disk.fstype for disk in psutil.disk_partitions(all=True)}
    over = [place for place in (path.absolute(), *path.absolute().parents) if place in kinds]
    return bool(over) and _SHARED.match(kinds[over[0]]) is not None


def keep_from_tune() -> None:
    """Ray Tune puts AWS's secrets into the runtime environment of every trial by itself; from now on it does not."""
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE = {
        name for name in getattr(class_cache, "ENV_VARS_TO_PROPAGATE", ()) if not is_secret(name)
    }


@contextmanager
def without(*names: str) -> Iterator[None]:
    """For a time this process's environment lacks these names."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
