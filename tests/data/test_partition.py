"""The partition: Appendix A on random species sizes, and the authors' script row by row."""

import gzip
import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.partition import COMMON, PartitionRecipe, check_partition, partition
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import UsageError

RECIPES: tuple[PartitionRecipe, ...] = ("paper", "authors")
SPLITS = PROTOCOLS["clibd"].splits
recipes = st.sampled_from(RECIPES)
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


def drawn(rows: list[str | None], recipe: PartitionRecipe = "paper", seed: int = 42) -> list[str]:
    return [str(name) for name in partition(rows, recipe, seed).to_pylist()]


def by_species(rows: list[str | None], splits: list[str]) -> dict[str | None, Counter[str]]:
    found: dict[str | None, Counter[str]] = defaultdict(Counter)
    for species, split in zip(rows, splits, strict=True):
        found[species][split] += 1
    return found


@settings(max_examples=60, deadline=None)
@given(sizes_of_species, st.integers(0, 20), recipes, st.integers(0, 5))
def test_every_species_has_one_role_and_its_shares(
    sizes: list[int], unnamed: int, recipe: PartitionRecipe, seed: int
) -> None:
    rows = records(sizes, unnamed, seed)
    splits = drawn(rows, recipe, seed)
    assert set(splits) <= set(SPLITS)
    found = by_species(rows, splits)
    assert found.pop(None, Counter()) == Counter({"no_split": unnamed} if unnamed else {})
    for counts in found.values():
        size = counts.total()
        assert sum(bool(set(counts) & role) for role in ROLES) == 1
        if size == 1:
            assert set(counts) == {"single_species"}
        elif set(counts) & SEEN:
            assert size >= COMMON[recipe]
            tenth, train = size // 10, size * 7 // 10
            assert (counts["train_seen"], counts["val_seen"], counts["test_seen"]) == (train, tenth, tenth)
            assert counts["seen_keys"] == size - train - 2 * tenth >= 1
        else:
            part = "val" if set(counts) & VAL_UNSEEN else "test"
            assert counts == {f"{part}_unseen": size // 2, f"{part}_unseen_keys": size - size // 2}


@settings(max_examples=60, deadline=None)
@given(sizes_of_species, recipes, st.integers(0, 5))
def test_species_are_shared_out_between_seen_validation_and_test(
    sizes: list[int], recipe: PartitionRecipe, seed: int
) -> None:
    rows = records(sizes, 0, seed)
    roles: Counter[tuple[str, str]] = Counter()
    for counts in by_species(rows, drawn(rows, recipe, seed)).values():
        size = counts.total()
        kind = "single" if size == 1 else "common" if size >= COMMON[recipe] else "tail"
        role = next(i for i, members in enumerate(ROLES) if set(counts) & members)
        roles[kind, ("seen", "val", "test", "single")[role]] += 1
    common = sum(size >= COMMON[recipe] for size in sizes)
    tail = sum(1 < size < COMMON[recipe] for size in sizes)
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
@given(sizes_of_species, st.integers(0, 9), recipes, st.integers(0, 5))
def test_what_is_drawn_passes_the_checks(sizes: list[int], unnamed: int, recipe: PartitionRecipe, seed: int) -> None:
    rows = records(sizes, unnamed, seed)
    check_partition(PROTOCOLS["clibd"], pa.array(rows, pa.string()), partition(rows, recipe, seed))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seed_gives_one_partition_and_another_seed_another(recipe: PartitionRecipe) -> None:
    rows = records([20] * 20, 5, 0)
    assert drawn(rows, recipe, 1) == drawn(rows, recipe, 1)
    assert drawn(rows, recipe, 1) != drawn(rows, recipe, 2)


def test_the_default_is_the_paper_with_seed_42() -> None:
    rows = records([20] * 5, 5, 0)
    assert partition(rows).to_pylist() == drawn(rows, "paper", 42)


def test_records_without_species_train_also_when_the_name_is_blank() -> None:
    assert drawn(["a", "a", "", None, " "])[2:] == ["no_split"] * 3


def test_lists_and_arrow_columns_of_any_cut_are_partitioned_alike() -> None:
    rows = records([3, 20, 11, 1], 7, 0)
    pieces = pa.chunked_array([pa.array(rows[:5], pa.string()), pa.array(rows[5:], pa.string())])
    for column in (pieces, pieces.combine_chunks(), pieces.dictionary_encode()):
        assert partition(column, "authors", 3).to_pylist() == drawn(rows, "authors", 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_threshold_makes_a_species_common(recipe: PartitionRecipe) -> None:
    threshold = COMMON[recipe]
    enough = drawn([f"s{i // threshold}" for i in range(threshold * 5)], recipe)
    few = drawn([f"s{i // (threshold - 1)}" for i in range((threshold - 1) * 5)], recipe)
    assert sum(split == "train_seen" for split in enough) == 4 * (7 * threshold // 10)
    assert not set(few) & SEEN


@pytest.mark.parametrize(
    ("records_of_species", "shares"), [(10, (7, 1, 1, 1)), (19, (13, 1, 1, 4)), (20, (14, 2, 2, 2)), (9, (6, 0, 0, 3))]
)
def test_a_seen_species_is_cut_as_published(records_of_species: int, shares: tuple[int, ...]) -> None:
    counted = Counter(drawn([f"s{i // records_of_species}" for i in range(records_of_species * 5)]))
    assert tuple(counted[name] // 4 for name in ("train_seen", "val_seen", "test_seen", "seen_keys")) == shares


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("rows", [["a", "b", None], [None, None], ["a"], []])
def test_species_of_single_records_alone_cannot_be_partitioned(rows: list[str | None], recipe: PartitionRecipe) -> None:
    with pytest.raises(UsageError, match="two records"):
        partition(rows, recipe)


# --- The authors' script ------------------------------------------------------------------------------------------


def arithmetic_table(num_species: int) -> list[str | None]:
    """Species of 1 to 37 records and half as many records without one, in an order that only arithmetic decides."""
    rows: list[str | None] = []
    for number in range(num_species):
        rows += [f"Genus{number * number % 17} species{number}"] * (1 + (7 * number * number + 3 * number) % 37)
    rows += [None] * (len(rows) // 2)
    step = 7919
    while math.gcd(step, len(rows)) != 1:
        step += 2
    return [rows[place * step % len(rows)] for place in range(len(rows))]


# SHA-256 of the splits, one a line, that the authors' own `create_splits.py` (bioscan-ml/bioscan-clip at b14caa86,
# under pandas 3.1 and numpy 2.4) assigned to this table; its names for the keys are replaced by ours.
AUTHORS_SCRIPT = {
    (40, 0): "d3fe18e3166e5000ef94c950bf7a9bf95571c33b4f7e98370038eaf1b6085377",
    (40, 42): "63943ebf6ea1de26e1d82c26482f1fc68c7dc231e009e98c14e47463ab2eb4e2",
    (300, 0): "1a48060ac5532baf0da423658bb76952b5dc96ffecdfb8cf377250d8bfcd2f10",
    (300, 42): "fd9afe48ef8e17597f0997c9e7d91e08e5cacf3640105d7d7ba160a66d73f5a9",
    (1500, 0): "0aecb03d4162f79a265a425ed4032466fc2d5d259cbc3c0078301b0609c83b12",
    (1500, 42): "7528484cadae27a08bd2512e01ad6c5b614f5cce229f0b032bfaebacb7b8edde",
}


@pytest.mark.parametrize(("num_species", "seed"), AUTHORS_SCRIPT)
def test_the_authors_recipe_equals_the_authors_script_row_by_row(num_species: int, seed: int) -> None:
    splits = drawn(arithmetic_table(num_species), "authors", seed)
    assert hashlib.sha256("\n".join(splits).encode()).hexdigest() == AUTHORS_SCRIPT[num_species, seed]


def test_the_papers_recipe_draws_what_it_has_always_drawn() -> None:
    splits = drawn(arithmetic_table(300), "paper", 42)
    digest = hashlib.sha256("\n".join(splits).encode()).hexdigest()
    assert digest == "7b85010d58efdef89b27b69cf93179d63b817fa8f9beb0e7fc1c9495533b2f5c"


def steps_of_the_authors(species: list[str | None], seed: int) -> list[str]:
    """The script's steps in plain lists, slowly: a fresh random stream for each call that draws."""

    def cut(members: list[int], shares: tuple[str, ...], random: np.random.Generator) -> list[list[int]]:
        order = [members[place] for place in random.permutation(len(members))]
        sizes = [int(Decimal(share) * len(members)) for share in shares]
        bounds = [0, *(sum(sizes[: place + 1]) for place in range(len(sizes))), len(members)]
        return [order[a:b] for a, b in pairwise(bounds)]

    def species_of(rows: list[int]) -> list[str | None]:
        return list(dict.fromkeys(species[row] for row in rows))

    def halve_species(rows: list[int], share: str) -> list[list[int]]:
        names = species_of(rows)
        chosen = cut(list(range(len(names))), (share,), np.random.default_rng(seed))
        return [[row for row in rows if species[row] in {names[place] for place in part}] for part in chosen]

    def assign(rows: list[int], shares: tuple[str, ...], names: tuple[str, ...]) -> None:
        random = np.random.default_rng(seed)
        for name in species_of(rows):
            parts = cut([row for row in rows if species[row] == name], shares, random)
            for split, part in zip(names, parts, strict=True):
                for row in part:
                    splits[row] = split

    splits = ["no_split"] * len(species)
    counts = Counter(species)
    named = [row for row, name in enumerate(species) if name is not None]
    seen, unseen = halve_species([row for row in named if counts[species[row]] >= 10], "0.8")
    assign(seen, ("0.7", "0.1", "0.1"), ("train_seen", "val_seen", "test_seen", "seen_keys"))
    for rows in (unseen, [row for row in named if 2 <= counts[species[row]] < 10]):
        for part, members in zip(("val", "test"), halve_species(rows, "0.5"), strict=True):
            assign(members, ("0.5",), (f"{part}_unseen", f"{part}_unseen_keys"))
    for row in named:
        if counts[species[row]] == 1:
            splits[row] = "single_species"
    return splits


@settings(max_examples=60, deadline=None)
@given(sizes_of_species, st.integers(0, 20), st.integers(0, 1000))
def test_the_authors_recipe_equals_its_steps_in_plain_lists(sizes: list[int], unnamed: int, seed: int) -> None:
    rows = records(sizes, unnamed, seed)
    assert drawn(rows, "authors", seed) == steps_of_the_authors(rows, seed)


def test_the_authors_recipe_equals_the_authors_script_on_real_specimens(real: Callable[[str], Path]) -> None:
    packed = real("bioscan1m_metadata") / "bioscan1m_small_validation_metadata.tsv.gz"
    header, *lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    column = header.split("\t").index("species")
    names = [line.split("\t")[column] for line in lines]
    species = [None if name in ("", "not_classified") else name for name in names]
    splits = drawn(species, "authors", 42)
    # Digest of what the script assigned, as above; 2,253 of 15,705 specimens have a species.
    assert (
        hashlib.sha256("\n".join(splits).encode()).hexdigest()
        == "0de5571a66e284feb46f75cf176c90fdd86784889a0358f14881f34eb766ad72"
    )
