"""Shards: every row is prepared once, and what cannot be prepared is listed."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from workloads.data.barcode import token_ids
from workloads.data.images import open_image
from workloads.data.readers import import_synthetic
from workloads.data.schema import SPECIMEN_SCHEMA, SPLITS
from workloads.data.shards import PREPARED_SCHEMA, Shard, make_shard, plan_shards, rows_of_shards
from workloads.data.synthetic_images import SIDE
from workloads.errors import DamagedError, UsageError
from workloads.spec import Modality
from workloads.storage import Folder

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]

SHARD = Shard("train_seen", 0, 0, 2)
ALL: tuple[Modality, ...] = ("image", "dna", "text")


def specimens(*rows: Mapping[str, object]) -> pa.Table:
    defaults = dict.fromkeys(SPECIMEN_SCHEMA.names) | {"order": "Diptera", "barcode": "ACGTA", "split": "train_seen"}
    return pa.Table.from_pylist([{**defaults, **row} for row in rows], schema=SPECIMEN_SCHEMA)


def split_as(*splits: str | None) -> pa.Table:
    return specimens(*({"specimen_id": f"s{number}", "split": split} for number, split in enumerate(splits)))


@pytest.mark.parametrize("rows_per_shard", [1, 3, 7, 1000])
def test_the_plan_covers_every_row_exactly_once(rows_per_shard: int) -> None:
    table = split_as(*(SPLITS[number * 7 % 5] for number in range(53)))
    shards = plan_shards(table, rows_per_shard)
    covered: Counter[str] = Counter()
    for shard, rows in rows_of_shards(table, shards):
        assert len(rows) == shard.stop - shard.start <= rows_per_shard
        assert set(rows["split"].to_pylist()) == {shard.split}
        covered.update(rows["specimen_id"].to_pylist())
    assert covered == Counter(table["specimen_id"].to_pylist())
    assert len({(shard.folder, shard.name) for shard in shards}) == len(shards)


def test_rows_keep_their_order_within_a_split() -> None:
    table = split_as("val_seen", "no_split", "val_seen", "no_split", "val_seen")
    found = {shard: rows["specimen_id"].to_pylist() for shard, rows in rows_of_shards(table, plan_shards(table, 2))}
    assert found == {
        Shard("no_split", 0, 0, 2): ["s1", "s3"],
        Shard("val_seen", 0, 0, 2): ["s0", "s2"],
        Shard("val_seen", 1, 2, 3): ["s4"],
    }


@pytest.mark.parametrize("split", [None, "train", ""])
def test_a_specimen_without_a_known_split_stops_the_plan(split: str | None) -> None:
    with pytest.raises(UsageError, match="clibd data partition"):
        plan_shards(split_as("no_split", split))


def test_a_shard_holds_what_the_towers_take(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    (tmp_path / "1.png").write_bytes(encode(noise(40, 30)))
    rows = specimens(
        {"specimen_id": "a", "image": "1.png", "barcode": "ACGTACC", "genus": "Zoro", "species": "Zoro bus"},
        {"specimen_id": "b", "image": "1.png", "bin": "BOLD:1"},
    )
    target = Folder(tmp_path / "out")
    report = make_shard(rows, SHARD, str(tmp_path), 16, ALL, "", target)
    assert (report.split, report.num_rows, report.rejects) == ("train_seen", 2, ())
    table = (target / "split=train_seen").read_table("part-00000.parquet")
    assert table.schema.equals(PREPARED_SCHEMA)
    assert table["text"].to_pylist() == ["Diptera Zoro bus", "Diptera"]
    assert table["dna_ids"].to_pylist() == token_ids(["ACGTACC", "ACGTA"]).tolist()
    assert table["bin"].to_pylist() == [None, "BOLD:1"]
    assert min(open_image(table["image"][0].as_py()).size) == 16


def test_a_bad_image_becomes_a_reject_and_the_others_go_on(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")
    (tmp_path / "good.jpg").write_bytes(content)
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    names = ("good.jpg", "cut.jpg", "none.jpg", "../good.jpg", None)
    rows = specimens(*({"specimen_id": str(name), "image": name} for name in names))
    report = make_shard(rows, SHARD, str(tmp_path), 64, ALL, "", Folder(tmp_path / "out"))
    assert report.num_rows == 1
    reasons = dict(report.rejects)
    assert list(reasons) == ["cut.jpg", "none.jpg", "../good.jpg", "None"]
    assert "does not decode" in reasons["cut.jpg"]
    assert "cannot be read" in reasons["none.jpg"]
    assert "leads out" in reasons["../good.jpg"]
    assert "no image, which the other specimens have" in reasons["None"]


def test_a_specimen_lacking_a_modality_is_rejected_only_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    both = make_shard(rows, SHARD, "", 64, ("dna", "text"), "", Folder(tmp_path / "both"))
    assert both.rejects == (("a", "no dna, which the other specimens have"),)
    assert make_shard(rows, SHARD, "", 64, ("text",), "", Folder(tmp_path / "text")).num_rows == 2


def test_features_stand_for_the_image(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "image_features": [0.5, 2.0]})
    report = make_shard(rows, SHARD, "", 64, ALL, "", Folder(tmp_path))
    table = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert report.num_rows == 1
    assert table["image_features"].to_pylist() == [[0.5, 2.0]]
    assert table["image"].to_pylist() == [None]


def test_a_shard_of_rejects_alone_is_an_empty_shard(tmp_path: Path) -> None:
    report = make_shard(specimens({"specimen_id": "a"}), SHARD, "", 64, ALL, "", Folder(tmp_path))
    assert report.num_rows == 0
    table = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert (len(table), table.schema.equals(PREPARED_SCHEMA)) == (0, True)


def test_a_finished_shard_is_not_made_again(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    target = Folder(tmp_path)
    first = make_shard(rows, SHARD, "", 64, ("dna",), "", target)
    shard = tmp_path / "split=train_seen" / "part-00000.parquet"
    before = shard.stat().st_mtime_ns
    # Other rows than before: were the shard made again, its report and its file would tell.
    assert make_shard(specimens({"specimen_id": "c"}), SHARD, "", 64, ("dna",), "", target) == first
    assert shard.stat().st_mtime_ns == before


@pytest.mark.parametrize("lost", ["part-00000.parquet", "part-00000.parquet.json"])
def test_a_shard_that_is_only_half_there_is_made_again(lost: str, tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    first = make_shard(rows, SHARD, "", 64, ("dna",), "", Folder(tmp_path))
    (tmp_path / "split=train_seen" / lost).unlink()
    assert make_shard(rows, SHARD, "", 64, ("dna",), "", Folder(tmp_path)) == first
    assert (tmp_path / "split=train_seen" / lost).is_file()


def test_a_damaged_report_is_said_to_be_damaged(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a"})
    make_shard(rows, SHARD, "", 64, ("dna",), "", Folder(tmp_path))
    (tmp_path / "split=train_seen" / "part-00000.parquet.json").write_text("{")
    with pytest.raises(DamagedError, match=r"part-00000\.parquet\.json"):
        make_shard(rows, SHARD, "", 64, ("dna",), "", Folder(tmp_path))


def test_synthetic_references_are_drawn(tmp_path: Path) -> None:
    table = import_synthetic(4, seed=2).table
    report = make_shard(table, replace(SHARD, stop=4), "", 64, ALL, "", Folder(tmp_path))
    stored = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert report.num_rows == 4
    assert {open_image(content).size for content in stored["image"].to_pylist()} == {(SIDE, SIDE)}
