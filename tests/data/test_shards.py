"""Shards: every row is prepared once, and what cannot be prepared is listed."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from workloads.data.files.images import open_image
from workloads.data.prepared.dataset import SCHEMA_VERSION, SPECIMEN_TABLE, DatasetFacts
from workloads.data.prepared.shards import (
    ROWS_AT_ONCE,
    Shard,
    ShardReport,
    make_shard,
    plan_shards,
)
from workloads.data.specimens.barcode import authors_token_ids, token_ids
from workloads.data.specimens.schema import PREPARED_SCHEMA, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.data.synthetic.drawings import SIDE
from workloads.data.synthetic.insects import specimens as synthetic_specimens
from workloads.spec import Modality
from workloads.storage import Folder

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]

SHARD = Shard("train_seen", 0, 0, 2)
ALL: tuple[Modality, ...] = ("image", "dna", "text")
FACTS = DatasetFacts(
    schema_version=SCHEMA_VERSION,
    name="beetles",
    fingerprint="0123abcd-256",
    content="",
    synthetic=False,
    source="test",
    seed=None,
    protocol="clibd",
    partition="paper, seed 42",
    modalities=ALL,
    image_size=256,
    jpeg_quality=90,
    text_tokenizer="word pieces",
    barcodes=True,
    frame="",
    image_feature_size=None,
    dna_feature_size=None,
    num_specimens={},
    num_labelled={},
    num_rejects=0,
    reject_reasons={},
)


def specimens(*rows: Mapping[str, object]) -> pa.Table:
    defaults = dict.fromkeys(SPECIMEN_SCHEMA.names) | {"order": "Diptera", "barcode": "ACGTA", "split": "train_seen"}
    return pa.Table.from_pylist([{**defaults, **row} for row in rows], schema=SPECIMEN_SCHEMA)


def made(
    rows: pa.Table,
    target: Folder,
    root: str = "",
    image_size: int = 64,
    modalities: tuple[Modality, ...] = ALL,
    image_feature_size: int | None = None,
    dna_feature_size: int | None = None,
    barcodes: bool | None = None,
    frame: str = "",
) -> ShardReport:
    """One shard of all these rows, through a specimen table on the disk."""
    table = SpecimenTable(target, SPECIMEN_TABLE)
    with table.writer(TableFacts(source="test", root=root)) as write:
        for batch in rows.to_batches():
            write(batch)
    facts = replace(
        FACTS,
        modalities=modalities,
        image_size=image_size,
        image_feature_size=image_feature_size,
        dna_feature_size=dna_feature_size,
        barcodes="dna" in modalities if barcodes is None else barcodes,
        frame=frame,
    )
    return make_shard(str(target), facts, replace(SHARD, stop=len(rows)))


@pytest.mark.parametrize("scale", [1, 50, 3000])
def test_the_plan_covers_every_row_exactly_once(scale: int) -> None:
    counts = {"no_split": 20 * scale, "val_seen": 7 * scale, "test_seen": scale}
    shards = plan_shards(replace(FACTS, num_specimens=counts))
    rows = [row for shard in shards for row in range(shard.start, shard.stop)]
    assert rows == list(range(28 * scale))
    assert Counter(s.split for s in shards for _ in range(s.start, s.stop)) == counts
    assert len({shard.path for shard in shards}) == len(shards)


def rows_per_shard(num_rows: int, facts: DatasetFacts) -> int:
    first = plan_shards(replace(facts, num_specimens={"no_split": num_rows}))[0]
    return first.stop - first.start


@pytest.mark.parametrize(
    ("num_rows", "facts", "row_size"),
    [
        (1_128_313, FACTS, 7300 + 1000),
        (20_000_000, replace(FACTS, modalities=("dna", "text")), 1000),
        (5_000_000, replace(FACTS, image_feature_size=768), 4 * 768 + 1000),
        (5_000_000, replace(FACTS, image_feature_size=768, dna_feature_size=512), 4 * (768 + 512) + 1000),
        (1_128_313, replace(FACTS, dna_feature_size=768), 7300 + 4 * 768 + 1000),
    ],
)
def test_shards_of_large_data_sets_have_64_to_256_megabytes(num_rows: int, facts: DatasetFacts, row_size: int) -> None:
    # BIOSCAN-1M's crops have 7.3 kB on average; the rest of a specimen about 1 kB.
    assert 64e6 <= rows_per_shard(num_rows, facts) * row_size <= 256e6


def test_small_data_sets_still_have_shards_to_share() -> None:
    assert rows_per_shard(3000, FACTS) == ROWS_AT_ONCE
    shards = plan_shards(replace(FACTS, num_specimens={"no_split": 300_000}))
    assert 50 <= len(shards) <= 64


def test_a_shard_holds_what_the_towers_take(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    (tmp_path / "1.png").write_bytes(encode(noise(40, 30)))
    rows = specimens(
        {"specimen_id": "a", "image": "1.png", "barcode": "ACGTACC", "genus": "Zoro", "species": "Zoro bus"},
        {"specimen_id": "b", "image": "1.png", "bin": "BOLD:1"},
    )
    target = Folder(tmp_path / "out")
    report = made(rows, target, str(tmp_path), 16)
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
    report = made(rows, Folder(tmp_path / "out"), str(tmp_path), 64)
    assert (report.num_rows, report.having) == (2, {"image+dna+text": 1, "dna+text": 1})
    reasons = dict(report.rejects)
    assert list(reasons) == ["cut.jpg", "none.jpg", "../good.jpg"]
    assert "does not decode" in reasons["cut.jpg"]
    assert "cannot be read" in reasons["none.jpg"]
    assert "leads out" in reasons["../good.jpg"]


def test_a_specimen_with_too_little_is_left_out_and_is_no_reject(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    both = made(rows, Folder(tmp_path / "both"), modalities=("dna", "text"))
    assert (both.rejects, both.left_out) == ((), (("a", "no dna, and one that trains needs two"),))
    assert made(rows, Folder(tmp_path / "both"), modalities=("dna", "text")) == both, "as it was made"
    assert made(rows, Folder(tmp_path / "text"), modalities=("text",)).num_rows == 2


@pytest.mark.parametrize("split", ["seen_keys", "val_seen", "single_species"])
def test_a_query_or_key_needs_one_modality_alone(split: str, tmp_path: Path) -> None:
    rows = specimens(
        {"specimen_id": "a", "barcode": None, "split": split},
        {"specimen_id": "b", "barcode": None, "order": None, "split": split},
    )
    report = made(rows, Folder(tmp_path))
    assert report.having == {"text": 1}
    assert report.left_out == (("b", "no image and no dna and no text, and nothing else is left of it"),)


def test_features_stand_for_the_image(tmp_path: Path) -> None:
    rows = specimens(
        {"specimen_id": "a", "image_features": [0.5, 2.0]},
        {"specimen_id": "b", "image_features": [0.5]},
        {"specimen_id": "c", "image": "c.jpg"},
    )
    report = made(rows, Folder(tmp_path), image_feature_size=2)
    assert report.rejects == (("b", "1 image features, and the other specimens have 2"),)
    table = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert report.having == {"image+dna+text": 1, "dna+text": 1}
    assert table["image_features"].to_pylist() == [[0.5, 2.0], None]
    assert table["image"].to_pylist() == [None, None]


def test_features_of_dna_stand_beside_the_barcode_or_for_it(tmp_path: Path) -> None:
    rows = specimens(
        {"specimen_id": "a", "dna_features": [0.5, 2.0]},
        {"specimen_id": "b", "dna_features": [0.5, 2.0, 1.0]},
        {"specimen_id": "c"},
        {"specimen_id": "d", "dna_features": [1.0, 1.0], "barcode": None},
    )
    misfits = [
        ("b", "3 DNA features, and the other specimens have 2"),
        ("c", "no DNA features, and the other specimens have 2"),
    ]
    both = made(rows, Folder(tmp_path / "both"), modalities=("dna", "text"), dna_feature_size=2)
    assert list(both.rejects) == misfits
    assert both.left_out == (("d", "no dna, and one that trains needs two"),)
    table = (Folder(tmp_path / "both") / "split=train_seen").read_table("part-00000.parquet")
    assert table["dna_features"].to_pylist() == [[0.5, 2.0]]
    assert table["dna_ids"].to_pylist() == token_ids(["ACGTA"]).tolist()
    alone = made(rows, Folder(tmp_path / "alone"), modalities=("dna", "text"), dna_feature_size=2, barcodes=False)
    assert list(alone.rejects) == misfits[:1]
    assert alone.left_out == (("c", "no dna, and one that trains needs two"),)
    table = (Folder(tmp_path / "alone") / "split=train_seen").read_table("part-00000.parquet")
    assert table["dna_features"].to_pylist() == [[0.5, 2.0], [1.0, 1.0]]
    assert table["dna_ids"].to_pylist() == [None, None]


def test_half_of_what_stands_for_a_barcode_is_refused(tmp_path: Path) -> None:
    half = {"image_features": [1.0], "dna_features": [1.0, 1.0], "barcode": None}
    report = made(specimens({"specimen_id": "a", **half}), Folder(tmp_path), image_feature_size=1, dna_feature_size=2)
    assert report.rejects == (("a", "no dna, which the other specimens have"),)


def test_a_shard_of_rejects_alone_is_an_empty_shard(tmp_path: Path) -> None:
    report = made(specimens({"specimen_id": "a", "barcode": None}), Folder(tmp_path))
    assert report.num_rows == 0
    table = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert (len(table), table.schema.equals(PREPARED_SCHEMA)) == (0, True)


def test_a_finished_shard_is_not_made_again(tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a"}, {"specimen_id": "b"})
    target = Folder(tmp_path)
    first = made(rows, target, modalities=("dna",))
    shard = tmp_path / "split=train_seen" / "part-00000.parquet"
    before = shard.stat().st_mtime_ns
    # Other rows than before: were the shard made again, its report and its file would tell.
    assert made(specimens({"specimen_id": "c"}), target, modalities=("dna",)) == first
    assert shard.stat().st_mtime_ns == before


def test_a_shard_with_rejects_is_made_again_since_they_may_have_been_mended(
    tmp_path: Path, encode: Encode, noise: Noise
) -> None:
    rows = specimens({"specimen_id": "a", "image": "a.jpg"})
    target = Folder(tmp_path / "out")
    assert made(rows, target, str(tmp_path)).num_rows == 0
    (tmp_path / "a.jpg").write_bytes(encode(noise(), "JPEG"))
    assert made(rows, target, str(tmp_path)).num_rows == 1


def test_the_content_of_a_shard_is_told_by_ids_and_images(tmp_path: Path, encode: Encode, noise: Noise) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(noise(seed=0), "JPEG"))
    (tmp_path / "b.jpg").write_bytes(encode(noise(seed=1), "JPEG"))
    kinds = [("x", "a.jpg"), ("x", "b.jpg"), ("y", "a.jpg")]
    contents = [
        made(
            specimens({"specimen_id": name, "image": image}), Folder(tmp_path / f"{name}{image}"), str(tmp_path)
        ).content
        for name, image in kinds
    ]
    again = made(specimens({"specimen_id": "x", "image": "a.jpg"}), Folder(tmp_path / "again"), str(tmp_path))
    assert len(set(contents)) == 3
    assert again.content == contents[0]


@pytest.mark.parametrize("lost", ["part-00000.parquet", "part-00000.parquet.json"])
def test_a_shard_that_is_only_half_there_is_made_again(lost: str, tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    first = made(rows, Folder(tmp_path), modalities=("dna",))
    (tmp_path / "split=train_seen" / lost).unlink()
    assert made(rows, Folder(tmp_path), modalities=("dna",)) == first
    assert (tmp_path / "split=train_seen" / lost).is_file()


@pytest.mark.parametrize("damaged", ["part-00000.parquet", "part-00000.parquet.json"])
def test_a_shard_that_is_not_what_was_written_is_made_again(damaged: str, tmp_path: Path) -> None:
    rows = specimens({"specimen_id": "a", "barcode": None}, {"specimen_id": "b"})
    first, path = made(rows, Folder(tmp_path), modalities=("dna",)), tmp_path / "split=train_seen" / damaged
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert made(rows, Folder(tmp_path), modalities=("dna",)) == first
    assert path.read_bytes() == whole


def test_synthetic_references_are_drawn(tmp_path: Path) -> None:
    table = specimens(*synthetic_specimens(4, seed=2))
    report = made(table, Folder(tmp_path))
    stored = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert report.num_rows == 4
    assert {open_image(content).size for content in stored["image"].to_pylist()} == {(SIDE, SIDE)}


def test_the_authors_ids_are_of_the_barcode_as_it_was_given(tmp_path: Path) -> None:
    row = {"specimen_id": "a", "image": None, "barcode": "ACGTACC", "barcode_as_given": "NNACG-TACC"}
    made(specimens(row, {"specimen_id": "b"}), Folder(tmp_path), modalities=("dna", "text"))
    stored = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    assert stored["authors_dna_ids"].to_pylist() == authors_token_ids(["NNACG-TACC", "ACGTA"]).tolist()
    assert stored["dna_ids"].to_pylist() == token_ids(["ACGTACC", "ACGTA"]).tolist()


def test_barcodes_are_laid_into_the_frame_and_kept_as_they_are(tmp_path: Path) -> None:
    stream = random.Random(4)
    frame = "".join(stream.choices("ACGT", k=600))
    late, early = frame[7:], "ACGTTGCAACG" + frame
    rows = specimens({"specimen_id": "a", "barcode": late}, {"specimen_id": "b", "barcode": early})
    report = made(rows, Folder(tmp_path), modalities=("dna",), frame=frame)
    assert report.rejects == ()
    prepared = (Folder(tmp_path) / "split=train_seen").read_table("part-00000.parquet")
    # 5-mers begin with a base of the frame, so those of the late barcode are those of the frame but for the first two.
    assert prepared["dna_ids"].to_pylist() == token_ids(["NNNNNNN" + late, frame]).tolist()
    assert prepared["dna_ids"][0].as_py()[3:] == prepared["dna_ids"][1].as_py()[3:]
    assert prepared["barcode"].to_pylist() == [late, early]
    assert prepared["authors_dna_ids"].to_pylist() == authors_token_ids([late, early]).tolist()
