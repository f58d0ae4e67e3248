"""What of a driver's environment goes to a cluster, and what never does."""

import json
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.environment import carried, is_secret, keep_from_tune, on_shared_disk, without

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef",
    "HF_TOKEN": "hf_0123456789",
    "RAY_AUTH_TOKEN": "0" * 64,
    "AWS_ACCESS_KEY_ID": "AKIA0123456789",
    "AWS_SECRET_ACCESS_KEY": "secret/0123456789",
    "AWS_SESSION_TOKEN": "session0123456789",
    "AZURE_STORAGE_KEY": "azure0123456789==",
    "GITHUB_TOKEN": "ghp_0123456789",
    "DATABASE_PASSWORD": "hunter2hunter2",
}


def test_settings_travel_and_secrets_do_not() -> None:
    settings = {"AWS_REGION": "eu-west-1", "HF_HUB_OFFLINE": "1", "NCCL_DEBUG": "INFO", "GLOO_SOCKET_IFNAME": "eth0"}
    taken, said = carried({**SECRETS, **settings, "RAY_AIR_NEW_OUTPUT": "0", "EDITOR": "vi"}, ["RAY_AIR_NEW_OUTPUT"])
    assert taken == {**settings, "RAY_AIR_NEW_OUTPUT": "0"}
    assert said == []


def test_every_kind_of_secret_is_known_by_its_name() -> None:
    assert all(map(is_secret, SECRETS))
    assert not any(map(is_secret, ("AWS_REGION", "HF_HOME", "NCCL_DEBUG", "GOOGLE_APPLICATION_CREDENTIALS")))


@pytest.mark.parametrize(
    "value",
    [
        "https://me:hf_0123456789@hub.example.org",  # a secret of the environment
        "https://me:something@hub.example.org",
        "https://hub.example.org/?token=something",
        "https://hub.example.org/hf_0123456789/",
    ],
)
def test_a_setting_that_holds_a_secret_stays_and_is_not_printed(value: str) -> None:
    taken, said = carried({**SECRETS, "HF_ENDPOINT": value})
    assert taken == {}
    (sentence,) = said
    assert sentence.startswith("HF_ENDPOINT stays on this machine")
    assert "something" not in sentence
    assert "hf_" not in sentence


def test_a_path_on_this_machines_own_disk_stays(tmp_path: Path) -> None:
    taken, said = carried({"HF_HOME": str(tmp_path), "CLIBD_CACHE": "~/cache", "NCCL_TOPO_FILE": "/etc/topology.xml"})
    assert taken == {}
    assert [sentence.split()[0] for sentence in said] == ["CLIBD_CACHE", "HF_HOME", "NCCL_TOPO_FILE"]


def test_the_disk_that_machines_share_is_told_from_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"/": "ext4", "/home": "nfs4", "/home/fast": "xfs", "/my data": "fuse.gcsfuse"}
    disks = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in kinds.items()]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: disks)
    shared = {path: on_shared_disk(Path(path)) for path in ("/", "/homes/a", "/home/a", "/home/fast/a", "/my data/a")}
    assert shared == {"/": False, "/homes/a": False, "/home/a": True, "/home/fast/a": False, "/my data/a": True}
    disks.clear()
    assert not on_shared_disk(Path("/"))


def test_what_a_job_was_submitted_with_stands() -> None:
    job = {"runtime_env": {"env_vars": {"AWS_REGION": "us-east-1"}, "working_dir": "gcs://code.zip"}}
    given = {"AWS_REGION": "eu-west-1", "AWS_PROFILE": "lab", "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)}
    assert carried(given)[0] == {"AWS_PROFILE": "lab"}
    assert carried({**given, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"})[0].keys() == {"AWS_REGION", "AWS_PROFILE"}


def test_tune_takes_no_secret_along(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    as_installed = runpy.run_path(class_cache.__file__)  # whatever sessions of other tests have made of it
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", as_installed["ENV_VARS_TO_PROPAGATE"])
    for name, value in {**SECRETS, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}.items():
        monkeypatch.setenv(name, value)

    def taken() -> dict[str, str]:
        made = class_cache._ActorClassCache().get(type("Trial", (), {}))
        env_vars: dict[str, str] = made._default_options["runtime_env"]["env_vars"]
        return env_vars

    assert "AWS_SECRET_ACCESS_KEY" in taken()  # else this can go
    keep_from_tune()
    assert not SECRETS.keys() & taken().keys()
    assert "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S" in taken()


def test_a_name_is_back_after_the_time_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    with without("HF_TOKEN", "NEVER_THERE"):
        assert "HF_TOKEN" not in os.environ
    assert os.environ["HF_TOKEN"] == "a"
