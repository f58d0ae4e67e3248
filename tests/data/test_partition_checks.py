"""The checks of a partition find what is planted."""

import pyarrow as pa
import pytest

from workloads.data.specimens.partition import check_partition
from workloads.data.specimens.schema import PROTOCOLS
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
    rows = [*GOOD["clibd"], ("seen", "train_seen")]
    with pytest.raises(PartitionError, match=r"\(0 in no_split and train_seen\)"):
        check("clibd", rows, [str(number % len(GOOD["clibd"])) for number in range(len(rows))])


def test_keys_belong_to_the_partition_they_are_named_after_or_to_both() -> None:
    assert PROTOCOLS["clibd"].answering("val", "unseen") == ("val_unseen_keys",)
    assert PROTOCOLS["clibd"].answering("test", "unseen") == ("test_unseen_keys",)
    assert PROTOCOLS["clibd"].answering("test", "seen") == ("seen_keys",)
    assert PROTOCOLS["bioscan_5m"].answering("val", "unseen") == ("unseen_keys",)
    assert PROTOCOLS["bioscan_5m"].answering("test", "seen") == ("train_seen",)
    assert PROTOCOLS["insect"].answering("test", "seen") == ("train_seen", "val_classes")
    assert PROTOCOLS["insect"].answering("test", "unseen") == ()
