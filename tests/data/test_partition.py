"""The partition against the words of the paper's Appendix A, on random species sizes."""

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.partition import COMMON, partition
from workloads.data.schema import SPLITS
from workloads.errors import UsageError

sizes_of_species = st.lists(st.one_of(st.integers(1, 12), st.integers(9, 60)), min_size=1, max_size=25).filter(
    lambda sizes: max(sizes) > 1
)

SEEN = {"train_seen", "val_seen", "test_seen", "seen_keys"}
VAL_UNSEEN = {"val_unseen", "val_unseen_keys"}
TEST_UNSEEN = {"test_unseen", "test_unseen_keys"}
ROLES = (SEEN, VAL_UNSEEN, TEST_UNSEEN, {"single_species"})


def records(sizes: list[int], unnamed: int, seed: int) -> list[str | None]:
    rows: list[str | None] = [f"species {number}" for number, size in enumerate(sizes) for _ in range(size)]
    rows += [None] * unnamed
    random.Random(seed).shuffle(rows)
    return rows


def by_species(rows: list[str | None], splits: list[str]) -> dict[str | None, Counter[str]]:
    found: dict[str | None, Counter[str]] = defaultdict(Counter)
    for species, split in zip(rows, splits, strict=True):
        found[species][split] += 1
    return found


@settings(max_examples=60, deadline=None)
@given(sizes_of_species, st.integers(0, 20), st.integers(0, 5))
def test_every_species_has_one_role_and_its_shares(sizes: list[int], unnamed: int, seed: int) -> None:
    rows = records(sizes, unnamed, seed)
    splits = partition(rows, seed)
    assert set(splits) <= set(SPLITS)
    found = by_species(rows, splits)
    assert found.pop(None, Counter()) == Counter({"no_split": unnamed} if unnamed else {})
    for counts in found.values():
        size = counts.total()
        assert sum(bool(set(counts) & role) for role in ROLES) == 1
        if size == 1:
            assert set(counts) == {"single_species"}
        elif set(counts) & SEEN:
            assert size >= COMMON
            tenth, train = size // 10, size * 7 // 10
            assert (counts["train_seen"], counts["val_seen"], counts["test_seen"]) == (train, tenth, tenth)
            assert counts["seen_keys"] == size - train - 2 * tenth >= 1
        else:
            part = "val" if set(counts) & VAL_UNSEEN else "test"
            assert counts == {f"{part}_unseen": size // 2, f"{part}_unseen_keys": size - size // 2}


@settings(max_examples=60, deadline=None)
@given(sizes_of_species, st.integers(0, 5))
def test_species_are_shared_out_between_seen_validation_and_test(sizes: list[int], seed: int) -> None:
    rows = records(sizes, 0, seed)
    roles: Counter[tuple[str, str]] = Counter()
    for counts in by_species(rows, partition(rows, seed)).values():
        size = counts.total()
        kind = "single" if size == 1 else "common" if size >= COMMON else "tail"
        role = next(i for i, members in enumerate(ROLES) if set(counts) & members)
        roles[kind, ("seen", "val", "test", "single")[role]] += 1
    common = sum(size >= COMMON for size in sizes)
    tail = sum(1 < size < COMMON for size in sizes)
    rest = common - common * 4 // 5
    expected = {
        ("common", "seen"): common * 4 // 5,
        ("common", "val"): rest // 2,
        ("common", "test"): rest - rest // 2,
        ("tail", "val"): tail // 2,
        ("tail", "test"): tail - tail // 2,
        ("single", "single"): sizes.count(1),
    }
    assert roles == {key: count for key, count in expected.items() if count}


@settings(max_examples=30, deadline=None)
@given(sizes_of_species, st.integers(0, 5))
def test_every_species_that_is_asked_for_has_a_key(sizes: list[int], seed: int) -> None:
    rows = records(sizes, 3, seed)
    splits = partition(rows, seed)
    asked = {
        s
        for s, split in zip(rows, splits, strict=True)
        if split.endswith(("_seen", "_unseen")) and "train" not in split
    }
    keyed = {s for s, split in zip(rows, splits, strict=True) if split.endswith("_keys")}
    assert asked <= keyed


def test_a_seed_gives_one_partition_and_another_seed_another() -> None:
    rows = records([20] * 20, 5, 0)
    assert partition(rows, 1) == partition(rows, 1)
    assert partition(rows, 1) != partition(rows, 2)


def test_the_default_seed_is_42() -> None:
    rows = records([20] * 5, 5, 0)
    assert partition(rows) == partition(rows, 42)


def test_records_without_species_train_also_when_the_name_is_blank() -> None:
    assert partition(["a", "a", "", None])[2:] == ["no_split", "no_split"]


def test_nine_records_make_a_species_common_and_eight_do_not() -> None:
    nine = partition([f"s{i // 9}" for i in range(9 * 5)])
    eight = partition([f"s{i // 8}" for i in range(8 * 5)])
    assert sum(split == "train_seen" for split in nine) == 4 * 6
    assert not set(eight) & SEEN


@pytest.mark.parametrize("rows", [["a", "b", None], [None, None], ["a"]])
def test_species_of_single_records_alone_cannot_be_partitioned(rows: list[str | None]) -> None:
    with pytest.raises(UsageError, match="two records"):
        partition(rows)
