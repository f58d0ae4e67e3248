"""Half-written files of processes that are gone are removed by the next, and what somebody writes is not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import left_behind
from tests.training.test_command import environment
from workloads import leftovers
from workloads.leftovers import aside_of, remove_leftovers
from workloads.storage import Folder

WRITES = """
import sys, time
from workloads.storage import Folder
with Folder(sys.argv[1]).aside("table.parquet") as aside, open(aside, "wb") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def writing(folder: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", WRITES, str(folder)]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_was_writing_is_removed_by_the_next_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    killed, living = writing(tmp_path), writing(tmp_path)
    killed.kill()
    killed.wait()
    try:
        assert len(list(tmp_path.iterdir())) == 2
        Folder(tmp_path).write("table.parquet", b"whole")
        (left,) = tmp_path.glob("*.tmp")
        assert f"-{living.pid}-" in left.name
    finally:
        living.kill()
        living.wait()
    leftovers._tidied.cache_clear()  # who comes next is another process
    Folder(tmp_path).write("another", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "table.parquet"]


@pytest.mark.parametrize(("hours", "stays"), [(1, True), (25, False)])
def test_another_hosts_file_is_nobodys_when_nobody_has_touched_it_for_a_day(
    hours: int, stays: bool, tmp_path: Path
) -> None:
    theirs = tmp_path / "events.jsonl.01234567-1-89abcdef.tmp"
    theirs.write_bytes(b"half")
    then = time.time() - 3600 * hours
    os.utime(theirs, (then, then))
    remove_leftovers(tmp_path)
    assert theirs.exists() == stays


def test_what_others_call_temporary_is_left_alone_and_a_folder_of_ours_goes_whole(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.tmp"
    foreign.write_bytes(b"")
    os.utime(foreign, (0, 0))
    folder = left_behind(tmp_path / "sorting")
    folder.unlink()
    (folder / "inside").mkdir(parents=True)
    aside_of(tmp_path / "new")
    assert list(tmp_path.iterdir()) == [foreign]
