"""What preparation does for queries whose keys it had to refuse."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, prepare
from workloads.data.prepared.shards import NO_KEY_LEFT, Shard, ShardReport
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.storage import Folder

SPLITS = ("train_seen", "train_seen", "val_seen", "test_seen", "seen_keys", "seen_keys")
WANTED = DatasetOptions(name="bees", image_size=32, max_rejects=0.2)


def in_order(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, shards)


def bees(folder: Path, damaged: Sequence[str]) -> SpecimenTable:
    """Three species with all roles, of which some pictures are no pictures."""
    rows = []
    for species in ("Apis mellifera", "Bombus pratorum", "Osmia rufa"):
        for number, split in enumerate(SPLITS):
            name = f"{species.split()[0]}{number}"
            Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{name}.jpg")
            if name in damaged:
                (folder / f"{name}.jpg").write_bytes(b"no picture")
            about = {"order": "Hymenoptera", "species": species, "barcode": "ACGTT" * 20}
            rows.append({"specimen_id": name, "image": f"{name}.jpg", "split": split, **about})
    table = SpecimenTable.at(folder / "specimens.parquet")
    facts = TableFacts(source="bees", root=str(folder), protocol="clibd", partition="lists", synthetic_seed=None)
    with table.writer(facts) as write:
        write(pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA))
    return table


def test_queries_that_no_key_can_answer_any_more_are_refused_and_counted(tmp_path: Path) -> None:
    target = tmp_path / "data"
    facts = prepare(bees(tmp_path, ["Apis4", "Apis5"]), Folder(target), WANTED, in_order)
    assert facts.num_rejects == 4
    assert facts.reject_reasons[NO_KEY_LEFT] == 2
    refused = (target / "rejects.tsv").read_text()
    assert all(f"Apis{number}\t" in refused for number in (2, 3, 4, 5))
    data = PreparedDataset(Folder(target))
    assert data.load(["val_seen"])["species"].to_pylist() == ["Bombus pratorum", "Osmia rufa"]
    assert facts.num_specimens == {"train_seen": 6, "seen_keys": 4, "val_seen": 2, "test_seen": 2}
    assert len(data.open(list(facts.num_specimens))) == 14


def test_a_key_that_is_left_keeps_its_queries(tmp_path: Path) -> None:
    facts = prepare(bees(tmp_path, ["Apis4"]), Folder(tmp_path / "data"), WANTED, in_order)
    assert (facts.num_rejects, facts.num_specimens["val_seen"]) == (1, 3)


def test_a_mended_key_brings_its_queries_back(tmp_path: Path) -> None:
    table, target = bees(tmp_path, ["Apis4", "Apis5"]), Folder(tmp_path / "data")
    prepare(table, target, WANTED, in_order)
    Image.new("RGB", (40, 40)).save(tmp_path / "Apis4.jpg")
    facts = prepare(table, target, WANTED, in_order)
    assert (facts.num_rejects, facts.num_specimens["val_seen"]) == (1, 3)


@pytest.mark.parametrize("damaged", [[], ["Apis4", "Apis5"]])
def test_any_order_of_work_leaves_the_same_data_set(tmp_path: Path, damaged: list[str]) -> None:
    table = bees(tmp_path, damaged)
    one = prepare(table, Folder(tmp_path / "one"), WANTED, in_order)
    other = prepare(table, Folder(tmp_path / "other"), WANTED, lambda work, shards: map(work, reversed(shards)))
    assert (one.content, one.num_specimens) == (other.content, other.num_specimens)
