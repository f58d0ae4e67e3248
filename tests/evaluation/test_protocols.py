"""Data sets with partitions of their own are searched among their own keys."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from tests.evaluation.measured import evaluate_embedded, floors_of
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.evaluation.embed import all_splits, embed_parts, parts_of
from workloads.evaluation.embedded import queries_of
from workloads.evaluation.evaluate import Questions
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "bioscan_5m": {
        "seen_keys": "train_seen",
        "val_unseen_keys": "unseen_keys",
        "test_unseen_keys": "unseen_keys",
        "single_species": "other_heldout",
    },
    "insect": {
        "seen_keys": "train_seen",
        "val_seen": "train_seen",
        "val_unseen": "val_classes",
        "val_unseen_keys": "val_classes",
        "test_unseen_keys": "test_unseen",
        "single_species": "no_split",
    },
}


def prepared_under(protocol: str, table: SpecimenTable, folder: Path) -> PreparedDataset:
    """The synthetic insects with the splits of another protocol."""
    names = OTHER_NAMES[protocol]
    splits = pa.array([names.get(split, split) for split in table.column("split").to_pylist()])
    other = SpecimenTable.at(folder / "other.parquet")
    table.with_splits(splits, "source", other, protocol)
    prepare(other, Folder(folder / "data"), DatasetOptions(name="other", image_size=32), map)
    return PreparedDataset(Folder(folder / "data"))


@pytest.mark.parametrize(
    ("protocol", "keys", "places"),
    [
        ("bioscan_5m", {"train_seen", "unseen_keys"}, {("val", "seen"), ("val", "unseen"), ("test", "unseen")}),
        ("insect", {"train_seen", "val_classes"}, {("test", "seen")}),
    ],
)
def test_a_data_set_is_measured_on_the_keys_and_queries_of_its_protocol(
    protocol: str,
    keys: set[str],
    places: set[tuple[str, str]],
    synthetic_table: Callable[[Path, int, int], SpecimenTable],
    tiny_spec: ExperimentSpec,
    tmp_path: Path,
) -> None:
    dataset = prepared_under(protocol, synthetic_table(tmp_path / "specimens.parquet", 150, 3), tmp_path)
    parts = embed_parts(open_untrained(tiny_spec, dataset), dataset, Placement())
    assert set(parts["keys"].split) == keys
    found = evaluate_embedded(parts["keys"], queries_of(parts), Questions(pairs=[("image", "dna")]))
    measured = {(row.partition, row.species) for row in found.measurements}
    assert places <= measured
    assert {(row.partition, row.species) for row in floors_of(dataset)} == measured
    if protocol == "insect":
        assert {partition for partition, _ in measured} == {"test"}
        assert "unseen" not in {species for _, species in measured}


@pytest.mark.parametrize(("protocol", "rest"), [("clibd", {"train_seen"}), ("insect", {"test_unseen"})])
def test_zero_shot_learning_gets_what_neither_answers_nor_asks(
    protocol: str, rest: set[str], synthetic_table: Callable[[Path, int, int], SpecimenTable], tmp_path: Path
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 150, 3)
    if protocol == "insect":
        dataset = prepared_under(protocol, table, tmp_path)
    else:
        prepare(table, Folder(tmp_path / "data"), DatasetOptions(name="own", image_size=32), map)
        dataset = PreparedDataset(Folder(tmp_path / "data"))
    parts = parts_of(dataset, with_rest=True)
    assert set(parts["rest"]) == rest
    assert ("rest" in parts_of(dataset)) == (protocol == "insect")  # whose unseen species are what it is for
    assert len(all_splits(parts)) == sum(map(len, parts.values()))
