"""Data sets that a sweep prepares itself: known before, and not taken for others that lie in their place."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.prepare import OwnDataset
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError
from workloads.storage import Folder


def test_what_a_data_set_will_be_is_known_before_and_others_are_refused(
    synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    one = synthetic_table(tmp_path / "one.parquet", 40, 5)
    other = synthetic_table(tmp_path / "other.parquet", 60, 5)
    folder, wanted = Folder(tmp_path / "data"), DatasetOptions(name="insect", image_size=32)

    def own(table: SpecimenTable, compared: bool = True) -> OwnDataset:
        return OwnDataset(folder, wanted, lambda scratch: table, compared)

    before = own(one).facts
    assert not folder.has("dataset.json")
    prepare(one, folder, wanted, map)
    stored = PreparedDataset(folder).facts
    assert (before.fingerprint, before.data) == (stored.fingerprint, stored.data)
    assert own(one).facts == own(other, compared=False).facts == stored
    with pytest.raises(UsageError, match="another INSECT"):
        _ = own(other).facts
