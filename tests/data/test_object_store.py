"""The same preparation into an object store as onto a disk; a real S3 protocol, served on this machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workloads.data.files.image_source import ImageSource
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.errors import MissingPathError, RecordError
from workloads.storage import Folder

WANTED = DatasetOptions(name="insects", image_size=32)


def content(folder: Folder, inner: str = "") -> dict[str, bytes]:
    """Every file below a folder."""
    found = {f"{inner}{name}": folder.read(name) for name in folder.files()}
    for name in folder.folders():
        found |= content(folder / name, f"{inner}{name}/")
    return found


def test_a_data_set_in_an_object_store_is_the_one_on_the_disk(
    bucket: str, synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 40, 4)
    local, remote = Folder(tmp_path / "data"), Folder(f"{bucket}/data")
    facts = prepare(table, local, WANTED, map)
    assert prepare(table, remote, WANTED, map) == facts
    assert content(remote) == content(local)
    here, there = PreparedDataset(local), PreparedDataset(remote)
    assert there.open(["no_split"]).equals(here.open(["no_split"]))
    assert there.load(["no_split", "train_seen"]).equals(here.load(["no_split", "train_seen"]))


def test_a_specimen_table_can_lie_in_an_object_store(
    bucket: str, synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 30, 4)
    copy = SpecimenTable.at(f"{bucket}/tables/specimens.parquet")
    table.sorted_by_split(copy)
    assert copy.facts == table.facts
    assert sorted(copy.column("split").to_pylist()) == sorted(table.column("split").to_pylist())
    with pytest.raises(MissingPathError):
        len(SpecimenTable.at(f"{bucket}/tables/none.parquet"))


def test_a_table_that_breaks_off_is_not_in_the_store(bucket: str) -> None:
    folder = Folder(f"{bucket}/broken")

    def broken_off() -> None:
        with SpecimenTable(folder, "t.parquet").writer(TableFacts(source="test")):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        broken_off()
    assert folder.files() == []


def test_images_are_read_from_an_object_store(bucket: str) -> None:
    Folder(f"{bucket}/images").write("a.jpg", b"content")
    with ImageSource(f"{bucket}/images") as images:
        assert images.read("a.jpg") == b"content"
        with pytest.raises(RecordError):
            images.read("b.jpg")
        with pytest.raises(RecordError):
            images.read("../images/a.jpg")
