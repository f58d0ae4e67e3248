"""Statistics of a partition, against plain loops."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from workloads.data.specimens.partition import partition
from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.data.specimens.statistics import (
    ROLES,
    TaxonCounts,
    chance,
    count_taxa,
    mean_records,
    records_per_taxon,
    splits_of_roles,
    taxa_overlap,
)
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank

Rows = list[dict[str, str | None]]
CLIBD = PROTOCOLS["clibd"]
RANK_NAMES: tuple[Rank, ...] = RANKS


def counted(rows: Rows, protocol: str = "clibd") -> TaxonCounts:
    return count_taxa(
        lambda name: pa.array([row.get(name) for row in rows], pa.string()),
        PROTOCOLS[protocol],
    )


def invented(count: int, seed: int, protocol: str = "clibd") -> Rows:
    """A taxonomy with gaps at every rank; splits by the paper, or at random where the protocol is another one."""
    chance = random.Random(seed)
    rows: Rows = []
    for _ in range(count):
        species = int(chance.paretovariate(0.7)) % 40
        lineage = (f"o{species % 3}", f"f{species % 7}", f"g{species % 15}", f"s{species}")
        rows.append({rank: None if chance.random() < 0.15 else name for rank, name in zip(RANKS, lineage, strict=True)})
    splits = (
        partition([row["species"] for row in rows], "paper", seed).to_pylist()
        if protocol == "clibd"
        else chance.choices(PROTOCOLS[protocol].splits, k=count)
    )
    return [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]


def names_of(rows: Rows, rank: str, splits: tuple[str, ...]) -> list[str]:
    return [str(row[rank]) for row in rows if row["split"] in splits and row[rank] is not None]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rank", RANK_NAMES)
def test_records_per_taxon_are_as_counted_one_by_one(protocol: str, rank: Rank) -> None:
    rows = invented(500, 3, protocol)
    counts = counted(rows, protocol)
    for role in ROLES:
        found = Counter(names_of(rows, rank, splits_of_roles(PROTOCOLS[protocol])[role]))
        expected = found.total() / len(found) if found else None
        assert mean_records(counts, rank, role) == expected
        assert records_per_taxon(counts, rank, role) == dict(sorted(Counter(found.values()).items()))


@pytest.mark.parametrize("rank", RANK_NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_overlap_of_taxa_is_that_of_sets(rank: Rank, seed: int) -> None:
    rows = invented(500, seed)
    seen_splits = ("train_seen", "val_seen", "test_seen", "seen_keys")
    pretrain = set(names_of(rows, rank, ("no_split",)))
    seen = set(names_of(rows, rank, seen_splits))
    unseen = set(names_of(rows, rank, ("val_unseen", "val_unseen_keys", "test_unseen", "test_unseen_keys")))
    found = taxa_overlap(counted(rows), rank)
    assert (found["pretrain_total"], found["seen"], found["unseen"]) == (len(pretrain), len(seen), len(unseen))
    assert (found["pretrain_seen"], found["pretrain_unseen"]) == (len(pretrain & seen), len(pretrain & unseen))
    assert (found["pretrain_overlap"], found["overlap"]) == (len(pretrain & seen & unseen), len(seen & unseen))
    assert found["everywhere"] == len(pretrain | seen | unseen)


@pytest.mark.parametrize("rank", RANK_NAMES)
@pytest.mark.parametrize("part", ["val", "test"])
def test_the_majority_is_that_of_the_keys_and_is_right_for_some_queries(rank: Rank, part: str) -> None:
    rows = invented(900, 4)
    found = chance(counted(rows), rank, part)
    micro, macro = [], []
    for queries, keys in ((f"{part}_seen", "seen_keys"), (f"{part}_unseen", f"{part}_unseen_keys")):
        asked = names_of(rows, rank, (queries,))
        votes = Counter(sorted(names_of(rows, rank, (keys,))))
        answer = votes.most_common(1)[0][0]
        micro.append(asked.count(answer) / len(asked))
        right = [asked.count(name) / asked.count(name) if name == answer else 0.0 for name in set(asked)]
        macro.append(sum(right) / len(right) if answer in asked else 1 / len(set(asked)))
    assert (found["micro_seen"], found["micro_unseen"]) == pytest.approx(tuple(micro), abs=1e-15)
    assert (found["macro_seen"], found["macro_unseen"]) == pytest.approx(tuple(macro), abs=1e-15)
    for (a, b), mean in ((micro, found["micro_harmonic_mean"]), (macro, found["macro_harmonic_mean"])):
        assert mean == pytest.approx(2 / (1 / a + 1 / b) if a and b else 0.0, abs=1e-15)


def test_equally_frequent_taxa_are_each_counted() -> None:
    rows: Rows = [{"species": name, "split": "seen_keys"} for name in "aaaaabbbbbcc"]
    assert mean_records(counted(rows), "species", "key_seen") == 4.0  # (5 + 5 + 2) / 3, not (5 + 2) / 3


def test_of_equally_frequent_taxa_the_first_by_name_is_the_majority() -> None:
    keys: Rows = [{"order": name, "split": "seen_keys"} for name in "bbaac"]
    queries: Rows = [{"order": name, "split": "val_seen"} for name in "aabbbbcc"]
    assert chance(counted([*keys, *queries]), "order", "val")["micro_seen"] == 2 / 8


def test_without_queries_or_keys_there_is_no_number() -> None:
    counts = counted([{"species": "a", "split": "train_seen"}])
    found = chance(counts, "species", "val")
    assert (found["micro_seen"], found["macro_seen"], found["micro_harmonic_mean"]) == (None, None, None)
    assert mean_records(counts, "order", "train_seen") is None
    assert mean_records(counts, "species", "train_seen") == 1.0


def test_a_majority_that_no_query_has_is_never_right() -> None:
    rows: Rows = [{"order": "a", "split": "seen_keys"}, {"order": "b", "split": "val_seen"}]
    assert chance(counted(rows), "order", "val")["micro_seen"] == 0.0


def test_each_protocol_has_the_columns_that_it_can_fill() -> None:
    assert splits_of_roles(CLIBD) == {
        "train_seen": ("no_split", "train_seen"),
        "key_seen": ("seen_keys",),
        "val_query_seen": ("val_seen",),
        "test_query_seen": ("test_seen",),
        "val_key_unseen": ("val_unseen_keys",),
        "val_query_unseen": ("val_unseen",),
        "test_key_unseen": ("test_unseen_keys",),
        "test_query_unseen": ("test_unseen",),
    }
    of_5m = splits_of_roles(PROTOCOLS["bioscan_5m"])
    assert of_5m["val_key_unseen"] == of_5m["test_key_unseen"] == ("unseen_keys",)
    assert of_5m["key_seen"] == ("train_seen",)
    of_insect = splits_of_roles(PROTOCOLS["insect"])
    assert {role for role, splits in of_insect.items() if splits} == {"train_seen", "key_seen", "test_query_seen"}


def test_specimens_without_a_split_must_be_partitioned_first() -> None:
    with pytest.raises(UsageError, match=r"1 of 2 .*`clibd data partition`"):
        counted([{"species": "a", "split": "train_seen"}, {"species": "b"}])


def test_a_table_on_disk_counts_as_its_rows_do(tmp_path: Path) -> None:
    rows = invented(700, 5)
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    with table.writer(TableFacts(source="test")) as write:
        for start in range(0, len(rows), 90):
            write(pa.RecordBatch.from_pylist(rows[start : start + 90], schema=SPECIMEN_SCHEMA))
    on_disk, in_memory = count_taxa(table.column, table.protocol), counted(rows)
    assert on_disk.num_records == in_memory.num_records == {s: sum(r["split"] == s for r in rows) for s in CLIBD.splits}
    assert all(np.array_equal(on_disk.taxa[rank], in_memory.taxa[rank]) for rank in RANK_NAMES)
