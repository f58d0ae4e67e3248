"""What a user is told to do with a package that has arrived."""

import shlex
from pathlib import Path
from typing import get_args

import pytest

from workloads.data.packages.published import PACKAGES
from workloads.data.sources.opening import SourceKind, kind_of


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_leads_to_importing_the_folder_it_lies_in(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    package = PACKAGES[name]
    steps = package.next_steps(folder)
    commands = [shlex.split(step.split(": ", 1)[1]) for step in steps if ": clibd " in step]
    importing = next(words for words in commands if words[2] == "import")
    assert importing == ["clibd", "data", "import", str(folder), "--kind", package.kind, "--to", "specimens.parquet"]
    assert package.kind in get_args(SourceKind)
    assert not any(package.file_name in words[3] for words in commands if words[2] == "import")


@pytest.mark.parametrize("name", [name for name, package in PACKAGES.items() if package.beside is None])
def test_a_table_is_recognised_as_the_kind_its_steps_say_and_names_what_belongs_beside(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / PACKAGES[name].file_name).write_bytes(b"")
    assert kind_of(tmp_path) == PACKAGES[name].kind
    beside = [other.name for other in PACKAGES.values() if other.beside == name]
    assert beside
    assert all(other in PACKAGES[name].next_steps(tmp_path)[0] for other in beside)


@pytest.mark.parametrize("name", [name for name, package in PACKAGES.items() if package.beside is not None])
def test_what_belongs_beside_a_table_asks_for_the_table_only_where_it_is_missing(name: str, tmp_path: Path) -> None:
    table = PACKAGES[PACKAGES[name].beside or ""]
    assert table.kind == PACKAGES[name].kind
    assert f"Next: clibd data download {table.name} --to {tmp_path}" in PACKAGES[name].next_steps(tmp_path)
    (tmp_path / table.file_name).write_bytes(b"")
    steps = PACKAGES[name].next_steps(tmp_path)
    assert not any("download" in step for step in steps)
    assert any(step.startswith("Next: clibd data import") for step in steps)


def test_split_lists_can_also_be_given_to_specimens_imported_before(tmp_path: Path) -> None:
    lists = shlex.quote(str(tmp_path / "CLIBD_partitioning.zip"))
    assert (
        f"clibd data partition specimens.parquet --lists {lists}"
        in PACKAGES["clibd-partition"].next_steps(tmp_path)[-1]
    )
    assert [name for name, package in PACKAGES.items() if package.is_lists] == ["clibd-partition"]
