"""Secrets of the environment are in no file, no bucket and no process list, whatever command starts Ray.

And nothing that a command starts on one machine can be reached from another.
"""

import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from moto.server import ThreadedMotoServer

from workloads.data.prepared.dataset import PreparedDataset
from workloads.storage import Folder

ROOT = Path(__file__).parents[2]
SMALL = ("--scale=small", "--workers=2", "--cpu", "--wandb=offline", "--set=epochs=1")


def canaries() -> dict[str, str]:
    """A secret of each kind, different each time."""
    names = (
        *("WANDB_API_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY"),
    )
    return {name: secrets.token_hex(20) for name in names}


class Watch:
    """Where one of some words was found: in the arguments of any process, looked at again and again, and in files.

    And at which addresses the processes listen whose Ray has its files in a folder.
    """

    def __init__(self, words: dict[str, str], place: Path) -> None:
        self.words, self.place = words, place
        self.found, self.seen, self.listening = set[str](), set[str](), set[tuple[str, int, str]]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(1):
            for process in psutil.process_iter(["name", "cmdline"]):
                line = " ".join(process.info["cmdline"] or [])
                self.seen.add(process.info["name"])
                self.look_at(f"the arguments of {line[:60]}", line.encode())
                with suppress(psutil.Error):  # it ended meanwhile
                    if process.environ().get("RAY_TMPDIR") == str(self.place):
                        ports = process.net_connections("tcp")
                        listening = [port.laddr for port in ports if port.status == psutil.CONN_LISTEN]
                        self.listening |= {(at.ip, at.port, line[:60]) for at in listening}

    def look_at(self, where: str, content: bytes) -> None:
        self.found |= {f"{name} in {where}" for name, word in self.words.items() if word.encode() in content}

    def look_below(self, folder: Path, but: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path != but:
                self.look_at(str(path), path.read_bytes())


@pytest.fixture
def place() -> Iterator[Path]:
    """A short folder, for Ray's sockets, and for all that the commands leave."""
    folder = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store() -> Iterator[str]:
    """Address of an S3 server on this machine."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a failed test would show every request
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def environment(place: Path, store: str, words: dict[str, str]) -> dict[str, str]:
    """Of a user who has all of the secrets in it, one of them in a file."""
    given = place / "google.json"
    given.touch(mode=0o600)
    given.write_text(f'{{"private_key": "{words["GOOGLE"]}"}}')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "WANDB_"))}
    return {
        **kept,
        **{name: word for name, word in words.items() if name != "GOOGLE"},
        "GOOGLE_APPLICATION_CREDENTIALS": str(given),
        "AWS_ENDPOINT_URL": store,
        "AWS_DEFAULT_REGION": "us-east-1",
        "RAY_TMPDIR": str(place),
        "HOME": str(place / "home"),
        "CLIBD_CACHE": str(place / "cache"),
        "HF_HOME": str(place / "hf"),
        "WANDB_DIR": str(place),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


DATA, RUNS = "s3://insects/data", "s3://insects/runs"
CLIBD = (
    ("clibd", "data", "prepare", "TABLE", f"--to={DATA}", "--image-size=64"),
    ("clibd", "train", f"--data={DATA}", f"--runs={RUNS}", "--batch-size=16", *SMALL),
    ("clibd", "evaluate", "RUN", f"--data={DATA}", "--workers=2", "--cpu"),
)
SWEEP = (("clibd-sweep", "lora", f"--data={DATA}", "--runs=runs", "--filter=full", *SMALL),)


@pytest.mark.parametrize("commands", [CLIBD, SWEEP], ids=["clibd", "clibd-sweep"])
def test_secrets_are_in_no_file_no_bucket_and_no_process_list(
    commands: Sequence[Sequence[str]],
    tiny_dataset: PreparedDataset,
    place: Path,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = {**canaries(), "GOOGLE": secrets.token_hex(20)}
    env = environment(place, store, words)
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, env[name])
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="insects")
    if commands is SWEEP:
        for name in tiny_dataset.folder.walk():
            s3.upload_file(f"{tiny_dataset.folder}/{name}", "insects", f"data/{name}")
    table = Path(tiny_dataset.folder.path).parent / "specimens.parquet"
    with Watch(words, place) as watch:
        for given in commands:
            trained = Folder(f"{RUNS}/train").folders() if "RUN" in given else [""]
            meant = {"TABLE": str(table), "RUN": f"{RUNS}/train/{trained[0]}"}
            program, *line = [meant.get(word, word) for word in given]
            done = subprocess.run(
                [str(Path(sys.executable).with_name(program)), *line],
                env=env,
                cwd=place,
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, (line, done.stderr.decode()[-3000:])
            watch.look_at(f"what {line[0]} says", done.stdout + done.stderr)
    watch.look_below(place, but=place / "google.json")
    for item in s3.list_objects_v2(Bucket="insects")["Contents"]:
        watch.look_at(item["Key"], s3.get_object(Bucket="insects", Key=item["Key"])["Body"].read())
    assert watch.found == set()
    assert [place for place in watch.listening if place[0] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")] == []
    # It did look at what it had to.
    assert "raylet" in watch.seen
    assert watch.listening
    assert list(place.rglob("runtime_env_agent.log"))
    assert list(place.rglob("*.wandb"))
