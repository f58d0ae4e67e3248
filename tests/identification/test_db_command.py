"""`clibd db`: what people type, read and are told."""

import csv
import io
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.db import app
from tests.identification.databases import BARCODES, ROWS, ids, kmer_database, table
from workloads.errors import UsageError
from workloads.identification.database import Database

RUNNER = CliRunner()


def told(*words: str) -> tuple[str, str]:
    """What a command prints, and what it says beside; it ends well."""
    done = RUNNER.invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout, done.stderr


def test_a_fasta_becomes_a_database_that_says_what_it_holds(tmp_path: Path) -> None:
    fasta, folder = tmp_path / "bees.fasta", str(tmp_path / "bees")
    fasta.write_text("".join(f">{name}|{species}\n{barcode}\n" for name, species, _, barcode in ROWS) + ">x\nACGT\n")
    out, said = told("build", "--data", str(fasta), "--to", folder, "--license", "cc0-1.0", "--cite", "Doe 2026")
    assert out == ""
    assert f"4 specimens of 3 species in {folder}: 3 distinct barcodes" in said
    assert "Noticed: 1 specimens without a name at any rank (such as x)" in said
    assert said.endswith(f"Next: clibd db info {folder}, or clibd identify FILES --db {folder}\n")
    assert "Left out: 1 specimens, in left_out.tsv" in told("info", folder)[0]
    facts = json.loads(told("info", folder, "--json")[0])
    assert (facts["num_specimens"], facts["license"], facts["cite"]) == (4, "cc0-1.0", "Doe 2026")
    rows = list(csv.DictReader(io.StringIO(told("taxa", folder)[0])))
    assert [(row["species"], row["specimens"]) for row in rows] == [
        ("Apis cerana", "1"),
        ("Apis mellifera", "2"),
        ("Bombus hortorum", "1"),
    ]
    listed = json.loads(told("taxa", folder, "--rank", "genus", "--under", "Apis", "--format", "json")[0])
    assert [row["genus"] for row in listed] == ["Apis"]


def test_specimens_come_go_and_are_merged(tmp_path: Path) -> None:
    folder = kmer_database(tmp_path / "bees").folder.address
    more = table(tmp_path / "more.tsv", [("e", "Osmia rufa", "Osmia", BARCODES[1][3:]), ROWS[0]])
    said = told("add", folder, str(more))[1]
    assert "1 specimens added, 0 of the same ids replaced" in said
    assert f"1 left out, with reasons, in {folder}/left_out.tsv; the first:" in said
    (tmp_path / "gone.txt").write_text("Osmia\n\nb\nnobody\n")
    said = told("remove", folder, "--list", str(tmp_path / "gone.txt"))[1]
    assert "2 specimens removed" in said
    assert "Not in it: nobody" in said
    assert ids(Database(folder)) == ["a", "c", "d"]
    other = kmer_database(tmp_path / "other", [ROWS[1]]).folder.address
    told("merge", folder, other, "--to", str(tmp_path / "both"))
    assert ids(Database(tmp_path / "both")) == ["a", "c", "d", "b"]


def test_nothing_is_done_where_a_database_is_already_or_none_is(tmp_path: Path) -> None:
    folder = kmer_database(tmp_path / "bees").folder.address
    with pytest.raises(UsageError, match="--replace"):
        told("build", "--data", str(tmp_path / "bees.tsv"), "--to", folder)
    told("build", "--data", str(tmp_path / "bees.tsv"), "--to", folder, "--replace")
    with pytest.raises(UsageError, match=r"no database .database.json. there. Make one with `clibd db build`"):
        told("info", str(tmp_path))
    with pytest.raises(UsageError, match="no list there"):
        told("remove", folder, "--list", str(tmp_path / "nothing"))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Files of this process cannot grow any larger for a while, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    rows = [
        (str(n), "Apis mellifera", "Apis", f"{n:09b}".translate({48: "A", 49: "C"}) + BARCODES[0]) for n in range(99)
    ]
    path = table(tmp_path / "bees.tsv", rows)
    with files_of_at_most(16 << 10), pytest.raises(OSError, match="raise the largest size of a file") as error:
        told("build", "--data", str(path), "--to", str(tmp_path / "db"))
    assert error.value.filename == str(tmp_path / "db")
    assert [each.name for each in tmp_path.iterdir()] == ["bees.tsv"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """This process may write nowhere for a while."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else for a while")
def test_a_folder_in_which_one_may_not_write_is_a_sentence() -> None:
    words = ("build", "--data", "synthetic", "--specimens", "9", "--to", "/usr/insects")
    with as_nobody(), pytest.raises(PermissionError, match="let this user write and read there") as error:
        told(*words)
    assert error.value.filename == "/usr/insects"
