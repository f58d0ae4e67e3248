"""A disk that is full, or that lets nobody write: a sentence with the file, the need, the room and what helps."""

import errno
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.models.test_conversion_pretrained import vision_transformer
from tests.results.figures.made_up import made_up_rows, write_evaluated
from tests.test_signals import CLIBD
from tests.training.test_command import command, environment
from workloads.conversion.convert import convert
from workloads.conversion.foreign_checkpoint import ForeignCheckpoint, read_checkpoint
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.disk_errors import named
from workloads.errors import ConversionError, WeightsError
from workloads.predictions import Predictions
from workloads.storage import Folder
from workloads.training.disk_room import little_room, needed
from workloads.weight_store import fetch_weights, push_weights

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


# --- Every other command, in this process: no file may become larger than this -------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel says EFBIG, as it says ENOSPC of a full disk, to libraries in C++ too and to children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_room(folder: Path, work: Callable[[], object], size: int, error: type[Exception] = OSError) -> str:
    """What is said of a disk without room; what was there is as it was, and nothing lies beside it."""
    before = content(folder)
    with files_of_at_most(size), pytest.raises(error) as met:
        work()
    assert {path: held for path, held in content(folder).items() if path in before} == before
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    return str(met.value)


NEED = r"[\d,]+ bytes are needed; "
ROOM_THERE = r"[\d,]+ are free; raise the largest size of a file"


def test_a_partition_names_its_table_which_stays_as_it_was(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 40, 1)
    said = no_room(tmp_path, lambda: table.with_splits(table.column("split"), "lists", table), 2000)
    assert re.search(f"{ROOM_THERE}.*'{table}'$", said)


def test_a_preparation_names_the_shard_or_the_table_for_which_there_is_no_room(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 40, 1)
    for size, named_file in ((3000, "specimens.parquet"), (20_000, "split=")):
        target = tmp_path / f"data-{size}"
        said = no_room(
            target, partial(prepare, table, Folder(target), DatasetOptions(name="few", image_size=32), map), size
        )
        assert re.search(f"{ROOM_THERE}.*'{target}/{named_file}", said)
        assert not (target / "dataset.json").exists()


def test_an_evaluation_names_the_file_and_its_size(tmp_path: Path) -> None:
    run = write_evaluated(tmp_path / "run", made_up_rows())
    said = no_room(tmp_path, lambda: Predictions.read(run.folder).write(Folder(tmp_path / "again")), 200)
    assert re.search(f"{NEED}{ROOM_THERE}.*'{tmp_path}/again/specimens.parquet'$", said)


def test_weights_that_are_pushed_and_fetched_name_the_file_and_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    file, store = tmp_path / "model.safetensors", Folder(tmp_path / "store")
    file.write_bytes(b"0" * 10_000)
    said = no_room(tmp_path, lambda: push_weights("owner/small", {file.name: file}, store), 4000)
    assert re.search(rf"10,000 bytes are needed; {ROOM_THERE}.*'{store}/.*/model\.safetensors'$", said)
    push_weights("owner/small", {file.name: file}, store)
    said = no_room(tmp_path, lambda: fetch_weights("owner/small", store), 4000, WeightsError)
    assert re.search(rf"10,000 bytes are needed; {ROOM_THERE}.*{tmp_path}/cache/.*/model\.safetensors.*Make room", said)


def test_a_conversion_names_what_it_writes_and_where_it_reads_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {name: tensor.detach() for name, tensor in vision_transformer(1000).state_dict().items()}
    target, file = Folder(tmp_path / "to"), tmp_path / "last.pth"
    whole = ForeignCheckpoint(file, "0" * 64, tensors, {}, ())
    said = no_room(tmp_path, lambda: convert(whole, target, head_width=64), 100_000)
    assert re.search(f"{NEED}{ROOM_THERE}.*'{target}/model.safetensors'$", said)
    torch.save(tensors, file)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    said = no_room(tmp_path, lambda: read_checkpoint(file), 100_000, ConversionError)
    assert re.search(rf"cannot be written to {tmp_path}/scratch \(.*[\d,]+ bytes are needed.*TMPDIR", said)


def test_a_run_says_before_its_first_step_that_its_checkpoints_may_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(1000, 10)
    model.bias.requires_grad_(False)
    weights, learned = 4 * 10_010, 4 * 10_000
    assert needed(model, selects=False) == 3 * (weights + 2 * learned) + weights
    assert needed(model, selects=True) == needed(model, selects=False) + 3 * weights
    run = Folder(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=300_000))
    words = little_room(run, model, selects=False)
    assert words == (
        f"{tmp_path}: its checkpoints and weights may come to need 400,160 bytes more, and 300,000 are free there; "
        "make room, or name another folder of runs"
    )
    (tmp_path / "model.safetensors").write_bytes(b"0" * 100_160)  # of an earlier start
    assert little_room(run, model, selects=False) is None


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
