"""A disk that is full, or that lets nobody write: a sentence with the file, the need, the room and what helps."""

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_signals import CLIBD
from tests.training.test_command import command, environment
from workloads.data.prepared.dataset import PreparedDataset
from workloads.disk_errors import named

ROOM = 256
"""KB on the small disk."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    place = tmp_path / "small disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}k", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def told(words: list[str], code: int = 1) -> str:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_import_that_fills_the_disk_says_so_leaves_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    filler, table = small_disk / "filler", small_disk / "specimens.parquet"
    filler.write_bytes(b"0" * (ROOM - 16) * 1024)
    words = [CLIBD, "data", "import", "synthetic", "--specimens", "1000", "--to", str(table)]
    said = told(words)
    assert re.search(r"No space left on device \(on .+\); [\d,]+ are free; make room there: ", said)
    assert f"{small_disk}/specimens." in said  # the table, or the list beside it
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    filler.unlink()
    told(words, code=0)
    assert table.is_file()


def test_a_training_that_fills_the_disk_says_how_much_is_needed(
    tiny_dataset: PreparedDataset, small_disk: Path
) -> None:
    said = told(command(tiny_dataset, small_disk, epochs=1))
    assert re.search(r"; [\d,]+ bytes are needed; [\d,]+ are free; make room there", said)
    assert "state.safetensors" in said or "model.safetensors" in said
    assert not list(small_disk.rglob("*.tmp"))
    assert not list(small_disk.rglob("checkpoints/*/manifest.json"))


@pytest.mark.parametrize(
    ("number", "helps"),
    [
        (errno.EDQUOT, "ask for a larger quota"),
        (errno.EROFS, "name a folder that can be written to"),
        (errno.EACCES, "let this user write and read there"),
        (errno.EIO, "see what the disk or the network has"),
        (errno.ENAMETOOLONG, "take a shorter name or folder"),
    ],
)
def test_each_failure_of_a_disk_has_its_remedy(number: int, helps: str) -> None:
    error = named(OSError(number, "as a library words it"), "a/b")
    assert error.errno == number
    assert error.filename == "a/b"
    assert helps in str(error)
    assert str(named(error, "elsewhere")) == str(error)


def test_a_file_beside_is_named_where_nobody_knows_what_it_would_become() -> None:
    error = OSError(errno.EROFS, "as a library words it", "table.parquet.1a2b-7.tmp")
    assert named(error, "table.parquet").filename == "table.parquet"
    assert named(error, "").filename == "table.parquet.1a2b-7.tmp"


def test_a_name_that_is_too_long_is_named_with_what_helps(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300 + ".parquet")
    said = told([CLIBD, "data", "import", "synthetic", "--specimens", "20", "--to", str(long)])
    assert str(long) in said
    assert "take a shorter name or folder" in said
