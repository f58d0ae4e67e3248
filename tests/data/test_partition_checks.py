"""The checks of a partition find what is planted, and the barcode report counts as loops do."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from workloads.data.specimens.partition import partition
from workloads.data.specimens.partition_checks import (
    barcode_report,
    check_one_split,
    check_partition,
    hashed,
    key_splits,
)
from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.errors import PartitionError

Rows = list[tuple[str | None, str]]

GOOD: dict[str, Rows] = {
    "clibd": [
        (None, "no_split"),
        *(("seen", split) for split in ("no_split", "train_seen", "val_seen", "test_seen", "seen_keys")),
        *(("rare in val", split) for split in ("val_unseen", "val_unseen_keys")),
        *(("rare in test", split) for split in ("test_unseen", "test_unseen_keys")),
        ("once", "single_species"),
    ],
    "bioscan_5m": [
        (None, "no_split"),
        *(("seen", split) for split in ("train_seen", "val_seen", "test_seen")),
        *(("rare in both", split) for split in ("val_unseen", "test_unseen", "unseen_keys")),
        ("elsewhere", "other_heldout"),
    ],
    "insect": [
        *(("seen", split) for split in ("train_seen", "test_seen")),
        *(("kept for validation", split) for split in ("val_classes", "test_seen")),
        ("no picture among the keys", "test_unseen"),
    ],
}


def check(protocol: str, rows: Rows, ids: list[str] | None = None) -> None:
    species, splits = zip(*rows, strict=True)
    check_partition(
        PROTOCOLS[protocol],
        pa.array(species, pa.string()),
        pa.array(splits, pa.string()),
        None if ids is None else pa.array(ids),
    )


@pytest.mark.parametrize("protocol", GOOD)
def test_a_partition_by_the_protocol_passes(protocol: str) -> None:
    check(protocol, GOOD[protocol])
    check(protocol, GOOD[protocol], [str(number) for number in range(len(GOOD[protocol]))])


@pytest.mark.parametrize(
    ("protocol", "planted", "message"),
    [
        ("clibd", ("rare in val", "train_seen"), "train_seen, which trains (rare in val)"),
        ("clibd", ("rare in test", "no_split"), "no_split, which trains (rare in test)"),
        ("clibd", ("rare in val", "seen_keys"), "seen_keys, which holds seen species (rare in val)"),
        ("clibd", ("rare in val", "test_seen"), "test_seen, which holds seen species (rare in val)"),
        ("clibd", ("seen", "val_unseen"), "which trains (seen)"),
        ("clibd", ("rare in val", "test_unseen"), "unseen in val and test (rare in val)"),
        ("clibd", ("rare in test", "val_unseen_keys"), "unseen in val and test (rare in test)"),
        ("clibd", ("new", "val_unseen"), "1 species of val_unseen have no key (new)"),
        ("clibd", ("new", "test_seen"), "1 species of test_seen have no key (new)"),
        ("clibd", (None, "test_unseen"), "without a species stand in test_unseen"),
        ("clibd", ("seen", "elsewhere"), "no split that trains, asks or answers ('elsewhere')"),
        ("bioscan_5m", ("rare in both", "train_seen"), "train_seen, which trains (rare in both)"),
        ("bioscan_5m", ("rare in both", "no_split"), "no_split, which trains (rare in both)"),
        ("bioscan_5m", ("new", "test_unseen"), "1 species of test_unseen have no key (new)"),
        ("bioscan_5m", ("new", "val_seen"), "1 species of val_seen have no key (new)"),
        ("insect", ("no picture among the keys", "train_seen"), "train_seen, which trains (no picture among the keys)"),
        ("insect", ("new", "test_seen"), "1 species of test_seen have no key (new)"),
        ("insect", ("seen", "seen_keys"), "no split that trains, asks or answers ('seen_keys')"),
    ],
)
def test_what_is_planted_is_found_and_named(protocol: str, planted: tuple[str | None, str], message: str) -> None:
    with pytest.raises(PartitionError) as caught:
        check(protocol, [*GOOD[protocol], planted])
    assert message in str(caught.value)


def test_species_of_a_single_record_need_no_key() -> None:
    check("clibd", [*GOOD["clibd"], ("also once", "single_species")])


def test_a_specimen_without_a_split_is_found() -> None:
    with pytest.raises(PartitionError, match="1 specimen"):
        check_partition(PROTOCOLS["clibd"], pa.array(["a"]), pa.array([None], pa.string()))


def test_a_specimen_in_two_splits_is_named_with_both() -> None:
    with pytest.raises(PartitionError, match=r"1 specimen\(s\) stand more than once \(b in val_seen and test_seen\)"):
        check_one_split(pa.array(["a", "b", "b"]), pa.array(["train_seen", "val_seen", "test_seen"]))
    rows = [*GOOD["clibd"], ("seen", "train_seen")]
    with pytest.raises(PartitionError, match="0 in no_split and train_seen"):
        check("clibd", rows, [str(number % len(GOOD["clibd"])) for number in range(len(rows))])


def test_keys_belong_to_the_partition_they_are_named_after_or_to_both() -> None:
    assert key_splits(PROTOCOLS["clibd"], "val", "unseen") == ("val_unseen_keys",)
    assert key_splits(PROTOCOLS["clibd"], "test", "unseen") == ("test_unseen_keys",)
    assert key_splits(PROTOCOLS["clibd"], "test", "seen") == ("seen_keys",)
    assert key_splits(PROTOCOLS["bioscan_5m"], "val", "unseen") == ("unseen_keys",)
    assert key_splits(PROTOCOLS["bioscan_5m"], "test", "seen") == ("train_seen",)
    assert key_splits(PROTOCOLS["insect"], "test", "seen") == ("train_seen", "val_classes")
    assert key_splits(PROTOCOLS["insect"], "test", "unseen") == ()


# --- Barcodes -----------------------------------------------------------------------------------------------------


def written(folder: Path, rows: list[dict[str, str | None]], protocol: str = "clibd") -> SpecimenTable:
    """A specimen table of these rows, in batches of 100."""
    table = SpecimenTable.at(folder / "specimens.parquet")
    with table.writer(TableFacts(source="test", protocol=protocol)) as write:
        for start in range(0, len(rows), 100):
            write(pa.RecordBatch.from_pylist(rows[start : start + 100], schema=SPECIMEN_SCHEMA))
    return table


def specimens(count: int, seed: int) -> list[dict[str, str | None]]:
    """Specimens of few barcodes, partitioned; some have no barcode and some no species."""
    chance = random.Random(seed)
    rows: list[dict[str, str | None]] = []
    for number in range(count):
        species = chance.randrange(count // 12)
        barcode = "".join(random.Random(species * 3 + chance.randrange(3)).choices("ACGT", k=40))
        rows.append(
            {
                "specimen_id": str(number),
                "order": "Diptera",
                "species": None if chance.random() < 0.4 else f"species {species}",
                "barcode": None if chance.random() < 0.1 else barcode,
            }
        )
    splits = partition([row["species"] for row in rows], "paper", seed).to_pylist()
    return [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]


def counted_in_loops(rows: list[dict[str, str | None]], split: str, others: tuple[str, ...]) -> int:
    """Specimens of a split whose exact barcode any specimen of the other splits has."""
    return sum(
        row["split"] == split
        and row["barcode"] is not None
        and any(other["split"] in others and other["barcode"] == row["barcode"] for other in rows)
        for row in rows
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_shared_barcodes_are_counted_as_loops_count_them(tmp_path: Path, seed: int) -> None:
    rows = specimens(600, seed)
    report = barcode_report(written(tmp_path, rows))
    protocol = PROTOCOLS["clibd"]
    asking = ("val_seen", "val_unseen", "test_seen", "test_unseen")
    assert [row.split for row in report.shared] == [*asking, *protocol.keys]
    for row in report.shared:
        present = sum(r["split"] == row.split and r["barcode"] is not None for r in rows)
        assert (row.num_specimens, row.num_in_training) == (
            present,
            counted_in_loops(rows, row.split, protocol.training),
        )
        assert row.num_in_keys == (counted_in_loops(rows, row.split, protocol.keys) if row.split in asking else None)
    assert sum(row.num_in_training for row in report.shared) > 10
    unseen = {r["barcode"] for r in rows if "unseen" in str(r["split"])}
    unlabelled = [r["barcode"] for r in rows if r["split"] == "no_split" and r["barcode"] is not None]
    assert report.num_unlabelled == len(unlabelled)
    assert report.num_unlabelled_of_unseen == sum(barcode in unseen for barcode in unlabelled) > 10


def test_the_report_says_in_words_what_it_counted(tmp_path: Path) -> None:
    kinds = [
        (None, "no_split", "AC"),
        (None, "no_split", "GT"),
        ("s", "val_unseen", "AC"),
        ("s", "val_unseen_keys", "TT"),
    ]
    rows: list[dict[str, str | None]] = [
        {"specimen_id": str(n), "order": "Diptera", "species": s, "split": split, "barcode": barcode}
        for n, (s, split, barcode) in enumerate(kinds)
    ]
    lines = barcode_report(written(tmp_path, rows)).sentences()
    assert "val_unseen: 1 barcodes, 1 also in training, 0 among the keys." in lines
    assert "val_unseen_keys: 1 barcodes, 0 also in training." in lines
    assert "1 of 2 unlabelled training records (50.00%) have the barcode of an unseen species." in lines


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_table_without_barcodes_or_splits_gives_zeros(tmp_path: Path, protocol: str) -> None:
    rows: list[dict[str, str | None]] = [
        {"specimen_id": "a", "order": "Diptera", "split": "train_seen"},
        {"specimen_id": "b", "order": "Diptera", "barcode": "ACGT"},
    ]
    report = barcode_report(written(tmp_path, rows, protocol))
    assert {(row.num_specimens, row.num_in_training) for row in report.shared} == {(0, 0)}
    assert (report.num_unlabelled, report.num_unlabelled_of_unseen) == (0, 0)


def test_keys_that_train_are_not_reported_as_leaking_into_training(tmp_path: Path) -> None:
    rows: list[dict[str, str | None]] = [
        {"specimen_id": str(n), "order": "Diptera", "species": "s", "split": split, "barcode": "ACGT"}
        for n, split in enumerate(("train_seen", "val_seen"))
    ]
    report = barcode_report(written(tmp_path, rows, "bioscan_5m"))
    assert "train_seen" not in [row.split for row in report.shared]
    found = next(row for row in report.shared if row.split == "val_seen")
    assert (found.num_specimens, found.num_in_training, found.num_in_keys) == (1, 1, 1)


def test_hashes_are_fixed_and_tell_real_barcodes_apart(real: Callable[[str], Path]) -> None:
    assert hashed(pa.array(["ACGT", ""])).tolist() == [5148239889300062058, 13020603013274838756]
    import pyarrow.parquet as pq

    path = real("coi_canadian_invertebrates") / "coi_canadian_invertebrates.parquet"
    sequences = pq.read_table(path, columns=["sequence"])["sequence"].combine_chunks()
    assert len(np.unique(hashed(sequences))) == len(set(sequences.to_pylist())) > 1000
