"""Splits of people's own: words for train, val and test, and the rule for small sets."""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.outlook import outlook, too_few
from workloads.data.specimens.own_splits import (
    OWN_PROTOCOL,
    SMALL,
    part_of_word,
    small_parts,
    splits_of_words,
    with_keys,
)
from workloads.data.specimens.partition import Shares, check_partition, partition
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import UsageError

PROTOCOL = PROTOCOLS[OWN_PROTOCOL]
rows_of_words = st.lists(
    st.tuples(st.sampled_from([None, *"abcdefg"]), st.sampled_from(["train", "val", "test"])), min_size=1, max_size=60
)


def text(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def by_species(species: list[str | None], splits: list[str]) -> dict[str | None, Counter[str]]:
    found: dict[str | None, Counter[str]] = defaultdict(Counter)
    for name, split in zip(species, splits, strict=True):
        found[name][split] += 1
    return found


@settings(max_examples=60, deadline=None)
@given(rows_of_words, st.integers(0, 3))
def test_given_words_become_a_partition_that_can_be_believed(rows: list[tuple[str | None, str]], seed: int) -> None:
    species, words = [list(column) for column in zip(*rows, strict=True)]
    splits = with_keys(text(species), np.array(words, dtype=object), seed).to_pylist()
    check_partition(PROTOCOL, text(species), text(splits))
    for name, word, split in zip(species, words, splits, strict=True):
        if word == "train":
            assert split == ("no_split" if name is None else "train_seen")
        elif name is None:
            assert split == "other_heldout"
        else:
            assert split in {f"{word}_seen", f"{word}_unseen", "unseen_keys", "single_species"}
    trained = {name for name, word in rows if word == "train"}
    for name, counts in by_species(species, splits).items():
        size = counts.total()
        if name is not None and name not in trained:
            asking = counts["val_unseen"] + counts["test_unseen"]
            assert (counts["single_species"], counts["unseen_keys"]) == ((1, 0) if size == 1 else (0, size - size // 2))
            assert asking == (0 if size == 1 else size // 2)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        *(("Train", "train"), ("TRAINING", "train"), ("training set", "train"), ("trainset", "train"), ("tr", "train")),
        *(("valid", "val"), ("Validation", "val"), ("dev", "val"), ("val_set", "val"), ("eval", "val")),
        *(("test", "test"), ("Test-Set", "test"), ("hold-out", "test"), ("held out", "test")),
        *(("train_seen", None), ("0", None), ("", None), ("set", None), ("contest", None), ("TR1", None)),
    ],
)
def test_the_usual_words_are_understood(word: str, part: str | None) -> None:
    assert part_of_word(word) == part


def test_words_beside_others_are_refused_with_what_they_are() -> None:
    species = text(["a", "a", "a"])
    with pytest.raises(UsageError, match=r"'extra', which is no word .* --recipe small"):
        splits_of_words(species, text(["train", "val", "extra"]))
    with pytest.raises(UsageError, match="nothing"):
        splits_of_words(species, text(["train", "val", None]))
    kept, protocol = splits_of_words(species, text(["train_seen", "seen_keys", "val_seen"]))
    assert (kept.to_pylist(), protocol) == (["train_seen", "seen_keys", "val_seen"], None)
    made, protocol = splits_of_words(species, text(["train", "val", "test"]))
    assert (made.to_pylist(), protocol) == (["train_seen", "val_seen", "test_seen"], OWN_PROTOCOL)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(0, 9), st.integers(0, 3))
def test_the_small_rule_leaves_most_to_training_and_every_seen_species_trains(
    sizes: list[int], unnamed: int, seed: int
) -> None:
    species: list[str | None] = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    species += [None] * unnamed
    splits = with_keys(text(species), small_parts(text(species), seed), seed).to_pylist()
    check_partition(PROTOCOL, text(species), text(splits))
    found = by_species(species, splits)
    assert found.pop(None, Counter()) == Counter({"no_split": unnamed} if unnamed else {})
    several = [counts for counts in found.values() if counts.total() > 1]
    unseen = [counts for counts in several if counts["unseen_keys"]]
    assert len(several) - len(unseen) == round(SMALL.seen * len(several))
    seen = [counts for counts in several if not counts["unseen_keys"]]
    assert all(counts["train_seen"] for counts in seen)
    assert all(counts == {"train_seen": 1} for counts in found.values() if counts.total() == 1)
    records = sum(counts.total() for counts in seen)
    for part in ("val_seen", "test_seen"):
        assert sum(counts[part] for counts in seen) <= records / 10 + 1
    assert abs(sum(counts["val_unseen"] > 0 for counts in unseen) - sum(c["test_unseen"] > 0 for c in unseen)) <= 1


def test_two_thousand_specimens_of_pairs_and_singles_train_and_can_be_measured() -> None:
    sizes = [1] * 150 + [2] * 225 + [3] * 200 + [4] * 120 + [5] * 45 + [6] * 18
    species = text([f"s{number}" for number, size in enumerate(sizes) for _ in range(size)])
    counts = Counter(with_keys(species, small_parts(species)).to_pylist())
    assert counts["train_seen"] > 1000
    assert counts["val_seen"] > 100
    assert outlook(PROTOCOLS["clibd"], species, partition(species)).training == 0  # Appendix A leaves nothing


def test_shares_are_exact_in_both_rules() -> None:
    species = text([f"s{number % 10}" for number in range(1000)])
    shares = Shares(min_records=2, seen=Fraction(1), parts=(Fraction(6, 10), Fraction(3, 10), Fraction(1, 10)))
    small = Counter(with_keys(species, small_parts(species, 0, shares)).to_pylist())
    assert small == {"train_seen": 600, "val_seen": 300, "test_seen": 100}
    shares = Shares(min_records=2, seen=Fraction(1, 2), parts=(Fraction(1, 2), Fraction(1, 4), Fraction(1, 5)))
    paper = Counter(partition(species, "paper", 0, shares).to_pylist())
    assert {split: paper[split] for split in ("train_seen", "val_seen", "test_seen", "seen_keys")} == {
        "train_seen": 250,
        "val_seen": 125,
        "test_seen": 100,
        "seen_keys": 25,
    }


def test_what_is_too_few_is_said_with_numbers() -> None:
    species = text(["a"] * 40 + ["b"] * 9)
    splits = text(["train_seen"] * 24 + ["val_seen"] * 16 + ["val_unseen"] * 4 + ["unseen_keys"] * 5)
    found = outlook(PROTOCOL, species, splits)
    assert (found.training, found.keys, found.species_seen, found.species_unseen) == (24, 29, 1, 1)
    training, seen, unseen = too_few(OWN_PROTOCOL, found)
    assert training.startswith("24 specimens train, of 100")
    assert "val_seen has 16 queries: an accuracy is known to 24 points" in seen
    assert "val_unseen has 4 queries" in unseen
    many = outlook(PROTOCOL, text(["a"] * 400), text(["train_seen"] * 300 + ["val_seen"] * 60 + ["val_unseen"] * 40))
    assert too_few(OWN_PROTOCOL, many) == []
