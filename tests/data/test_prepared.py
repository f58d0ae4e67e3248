"""Prepared data sets as their readers find them."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from workloads.data.prepared.dataset import (
    SCHEMA_VERSION,
    DatasetFacts,
    PreparedDataset,
    labels_of,
)
from workloads.data.specimens.schema import PREPARED_SCHEMA
from workloads.errors import DamagedError, MissingPathError
from workloads.storage import Folder

FACTS = DatasetFacts(
    schema_version=SCHEMA_VERSION,
    name="beetles",
    fingerprint="0123abcd-64",
    content="0123456789abcdef",
    synthetic=False,
    source="beetles.tsv",
    seed=None,
    protocol="clibd",
    partition="paper, seed 42",
    modalities=("image", "dna"),
    image_size=64,
    jpeg_quality=90,
    text_tokenizer="word pieces",
    frame="ACGT",
    barcodes=True,
    image_feature_size=None,
    dna_feature_size=None,
    num_specimens={"no_split": 3, "train_seen": 4, "val_seen": 5},
    num_labelled={},
    num_rejects=1,
    reject_reasons={"no label": 1},
)


def write_shard(folder: Folder, split: str, number: int, *ids: str) -> None:
    rows = [{**dict.fromkeys(PREPARED_SCHEMA.names), "specimen_id": name, "order": "Diptera"} for name in ids]
    table = pa.Table.from_pylist(rows, schema=PREPARED_SCHEMA)
    (folder / f"split={split}").write_table(f"part-{number:05d}.parquet", table)


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    Folder(tmp_path).write_json("dataset.json", asdict(FACTS))
    assert PreparedDataset(Folder(tmp_path)).facts == FACTS


def test_only_the_training_splits_count_as_training() -> None:
    assert FACTS.num_training == 7


def test_a_folder_without_facts_is_no_prepared_data_set(tmp_path: Path) -> None:
    write_shard(Folder(tmp_path), "no_split", 0, "a")
    with pytest.raises(MissingPathError, match="clibd data prepare"):
        _ = PreparedDataset(Folder(tmp_path)).facts


@pytest.mark.parametrize(
    "change",
    [{"schema_version": SCHEMA_VERSION + 1}, {"schema_version": None}, {"new": 1}, {"name": ...}, {"modalities": ...}],
)
def test_facts_of_another_version_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    Folder(tmp_path).write_json("dataset.json", asdict(FACTS))
    content = {**json.loads((tmp_path / "dataset.json").read_text()), **change}
    kept = {name: value for name, value in content.items() if value is not ...}
    Folder(tmp_path).write_json("dataset.json", kept)
    with pytest.raises(DamagedError, match=r"dataset\.json"):
        _ = PreparedDataset(Folder(tmp_path)).facts


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_damaged_facts_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DamagedError):
        _ = PreparedDataset(Folder(tmp_path)).facts


def described(folder: Folder, **num_specimens: int) -> PreparedDataset:
    folder.write_json("dataset.json", asdict(replace(FACTS, num_specimens=num_specimens)))
    return PreparedDataset(folder)


def test_splits_are_loaded_in_the_asked_order_and_shards_by_number(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_shard(folder, "val_seen", 1, "v3")
    write_shard(folder, "val_seen", 0, "v1", "v2")
    write_shard(folder, "no_split", 0, "n1")
    (folder / "split=val_seen").write_json("part-00000.parquet.json", {})
    table = described(folder, no_split=1, val_seen=3).load(["val_seen", "no_split"])
    assert table["specimen_id"].to_pylist() == ["v1", "v2", "v3", "n1"]
    assert table["split"].to_pylist() == ["val_seen"] * 3 + ["no_split"]


def test_a_split_that_no_specimen_is_in_adds_nothing(tmp_path: Path) -> None:
    write_shard(Folder(tmp_path), "no_split", 0, "n1")
    assert len(described(Folder(tmp_path), no_split=1, train_seen=0).load(["train_seen", "no_split"])) == 1


def test_only_the_asked_columns_are_loaded(tmp_path: Path) -> None:
    write_shard(Folder(tmp_path), "no_split", 0, "n1")
    table = described(Folder(tmp_path), no_split=1).load(["no_split"], ["specimen_id", "species"])
    assert table.column_names == ["specimen_id", "species", "split"]


def test_splits_without_any_specimen_are_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="val_seen, val_unseen"):
        described(Folder(tmp_path), no_split=1).load(["val_seen", "val_unseen"])


def test_labels_are_none_where_a_rank_is_missing(tmp_path: Path) -> None:
    write_shard(Folder(tmp_path), "no_split", 0, "n1", "n2")
    labels = labels_of(described(Folder(tmp_path), no_split=2).load(["no_split"]))
    assert labels["order"].tolist() == ["Diptera", "Diptera"]
    assert labels["species"].tolist() == [None, None]


def test_the_tokenizer_is_read_as_it_was_written(tmp_path: Path) -> None:
    Folder(tmp_path).write("tokenizer.json", '{"é": 1}'.encode())
    assert PreparedDataset(Folder(tmp_path)).tokenizer_json().decode() == '{"é": 1}'


def test_a_sample_is_evenly_spaced_over_splits_and_shards(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_json("dataset.json", asdict(replace(FACTS, num_specimens={"no_split": 3, "train_seen": 4})))
    write_shard(folder, "no_split", 0, "n1", "n2")
    write_shard(folder, "no_split", 1, "n3")
    write_shard(folder, "train_seen", 0, "t1", "t2", "t3", "t4")
    dataset = PreparedDataset(folder)
    for at_most, expected in (
        (100, ["n1", "n2", "n3", "t1", "t2", "t3", "t4"]),
        (4, ["n1", "n3", "t2", "t4"]),
        (1, ["n1"]),
    ):
        sample = dataset.sample(["no_split", "train_seen"], ["specimen_id"], at_most)
        assert sample["specimen_id"].to_pylist() == expected
    with pytest.raises(MissingPathError, match="val_seen"):
        dataset.sample(["val_seen"], ["specimen_id"], 10)


def test_specimens_are_found_by_their_ids_in_the_asked_splits_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_shard(folder, "no_split", 0, "n1", "n2")
    write_shard(folder, "val_seen", 0, "v1", "v2")
    write_shard(folder, "val_seen", 1, "v3")
    dataset = described(folder, no_split=2, val_seen=3)
    found = dataset.find(["val_seen"], ["barcode"], {"v3", "v1", "n1", "stranger"})
    assert found.column_names == ["specimen_id", "barcode", "split"]
    assert found["specimen_id"].to_pylist() == ["v1", "v3"]
    assert len(dataset.find(["val_seen", "no_split"], [], [])) == 0


@pytest.mark.parametrize("lost", ["a shard", "all shards"])
def test_a_lost_shard_is_noticed_however_the_data_set_is_read(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    folder = Folder(tmp_path / "data")
    if lost == "a shard":
        write_shard(folder, "val_seen", 0, "v1", "v2")
    dataset = described(folder, val_seen=4)
    reads: list[Callable[[], object]] = [
        lambda: dataset.load(["val_seen"], ["specimen_id"]),
        lambda: dataset.sample(["val_seen"], ["specimen_id"], 10),
        lambda: dataset.open(["val_seen"]),
        lambda: dataset.find(["val_seen"], ["barcode"], {"v1"}),
    ]
    for read in reads:
        with pytest.raises(DamagedError, match=r"split=val_seen: [02] .* 4\."):
            read()
