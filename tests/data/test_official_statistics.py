"""Statistics of the official split: from its counts, and of its real queries."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from workloads.data.specimens.schema import PROTOCOLS, clean_name
from workloads.data.specimens.statistics import (
    ROLES,
    TaxonCounts,
    chance,
    count_taxa,
    mean_records,
    records_per_taxon,
    taxa_overlap,
)
from workloads.spec import RANKS, Rank

Rows = list[dict[str, str | None]]
CLIBD = PROTOCOLS["clibd"]
RANK_NAMES: tuple[Rank, ...] = RANKS

# Figure 2: records and species of each split.
OFFICIAL = {
    "no_split": (1_043_863, 0),
    "train_seen": (36_279, 916),
    "seen_keys": (6_350, 916),
    "val_seen": (4_878, 916),
    "test_seen": (4_878, 916),
    "val_unseen": (6_952, 1_771),
    "val_unseen_keys": (7_645, 1_771),
    "test_unseen": (6_448, 1_772),
    "test_unseen_keys": (7_123, 1_772),
    "single_species": (3_897, 3_897),
}
# Table 6: pretrain seen, unseen, overlap; seen, unseen, overlap; and its "total", which counts all of them together.
TABLE_6: Mapping[Rank, tuple[int, ...]] = {
    "order": (10, 13, 10, 10, 14, 10, 19),
    "family": (129, 219, 112, 132, 239, 113, 479),
    "genus": (351, 686, 234, 521, 1400, 279, 2731),
    "species": (0, 0, 0, 916, 3543, 0, 4459),
}
# Taxa of the unseen species of val and test. Table 7 prints one over them; those of val are those of the real queries,
# those of test the only ones (or, for genera, one of few) that give its printed numbers.
TAXA_OF_PART: Mapping[str, Mapping[Rank, int]] = {
    "val": {"order": 14, "family": 172, "genus": 853, "species": 1771},
    "test": {"order": 12, "family": 183, "genus": 865, "species": 1772},
}


def sides(rank: Rank) -> tuple[list[str], list[str], list[str]]:
    """Names for the taxa of pretrain, seen and unseen that overlap as Table 6 prints."""
    pre_seen, pre_unseen, pre_both, seen, unseen, both, everywhere = TABLE_6[rank]
    regions = {
        "PSU": pre_both,
        "PS": pre_seen - pre_both,
        "PU": pre_unseen - pre_both,
        "SU": both - pre_both,
        "S": seen - pre_seen - both + pre_both,
        "U": unseen - pre_unseen - both + pre_both,
    }
    regions["P"] = everywhere - sum(regions.values())
    names = {region: [f"{rank} {region} {number}" for number in range(size)] for region, size in regions.items()}
    pretrain, of_seen, of_unseen = ([n for region in names if side in region for n in names[region]] for side in "PSU")
    return pretrain, of_seen, of_unseen


def cycled(names: list[str], count: int) -> pa.StringArray:
    """As many labels as there are records, each name at least once."""
    if not names:
        return pa.nulls(count, pa.string())
    codes = np.arange(count, dtype=np.int32) % len(names)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names)).dictionary_decode()


def labels(split: str, rank: Rank) -> pa.StringArray:
    """The labels of a split at a rank, synthetic, in the official numbers."""
    pretrain, seen, unseen = sides(rank)
    num_records = OFFICIAL[split][0]
    if split == "no_split":
        return cycled(pretrain, num_records)
    if split == "single_species":
        return cycled([f"{rank} once {number}" for number in range(3_897)], num_records)
    if split in ("train_seen", "seen_keys", "val_seen", "test_seen"):
        return cycled(seen, num_records)
    part = "val" if split.startswith("val") else "test"
    size = TAXA_OF_PART[part][rank]
    return cycled(unseen[:size] if part == "val" else unseen[-size:], num_records)


@pytest.fixture(scope="module")
def official() -> TaxonCounts:
    """A table of 1,128,313 synthetic labels with exactly the official counts."""

    def column(name: str) -> pa.ChunkedArray:
        if name == "split":
            return pa.chunked_array([cycled([split], records) for split, (records, _) in OFFICIAL.items()])
        rank = next(rank for rank in RANK_NAMES if rank == name)
        return pa.chunked_array([labels(split, rank) for split in OFFICIAL])

    return count_taxa(column, CLIBD)


def test_figure_2_comes_out_on_the_official_counts(official: TaxonCounts) -> None:
    assert {s: (official.num_records[s], official.num_taxa("species", [s])) for s in CLIBD.splits} == OFFICIAL
    assert sum(official.num_records.values()) == 1_128_313
    assert sum(official.num_records[split] for split in CLIBD.training) == 1_080_142
    assert sum(official.num_records[split] for split in CLIBD.keys) == 21_118
    assert official.num_taxa("species", CLIBD.keys) == 4_459
    assert official.of("species", CLIBD.splits).sum() == 84_450


def test_table_5_comes_out_where_the_counts_decide_it(official: TaxonCounts) -> None:
    of_species = [f"{mean_records(official, 'species', role):.2f}" for role in ROLES]
    assert of_species == ["39.61", "6.93", "5.33", "5.33", "4.32", "3.93", "4.02", "3.64"]
    of_orders = [f"{mean_records(official, 'order', role):.2f}" for role in ROLES]
    # Printed: 60007.72, 634.80, 487.60, 487.60, 545.71, 496.29, 593.58, 537.33.
    assert of_orders == ["60007.89", "635.00", "487.80", "487.80", "546.07", "496.57", "593.58", "537.33"]


@pytest.mark.parametrize("rank", RANK_NAMES)
def test_table_6_comes_out_exactly_except_that_its_total_counts_more_than_pretrain(
    official: TaxonCounts, rank: Rank
) -> None:
    found = taxa_overlap(official, rank)
    pretrain = (found["pretrain_seen"], found["pretrain_unseen"], found["pretrain_overlap"])
    assert (*pretrain, found["seen"], found["unseen"], found["overlap"], found["everywhere"]) == TABLE_6[rank]
    assert found["pretrain_total"] == {"order": 18, "family": 457, "genus": 1892, "species": 0}[rank]


def test_18_orders_in_pretrain_agree_with_the_order_row_of_table_5(official: TaxonCounts) -> None:
    assert taxa_overlap(official, "order")["pretrain_total"] == 18
    assert abs(60_007.72 * 18 - 1_080_142) < 4


@pytest.mark.parametrize(
    ("rank", "printed", "harmonic_means"),
    [
        ("order", ("10.00", "7.14", "8.33"), ("8.33", "9.09")),  # printed: 9.09 and 7.69
        ("family", ("0.76", "0.58", "0.55"), ("0.66", "0.63")),  # printed: 0.63 and 0.56
        ("genus", ("0.19", "0.12", "0.12"), ("0.15", "0.14")),  # printed: 0.14 and 0.12
        ("species", ("0.11", "0.06", "0.06"), ("0.07", "0.07")),  # printed: 0.07 and 0.06
    ],
)
def test_macro_chance_of_table_7_comes_out_and_its_harmonic_means_are_of_one_partition(
    official: TaxonCounts, rank: Rank, printed: tuple[str, ...], harmonic_means: tuple[str, ...]
) -> None:
    val, test = chance(official, rank, "val"), chance(official, rank, "test")
    assert val["macro_seen"] == test["macro_seen"]
    found = (
        val["macro_seen"],
        val["macro_unseen"],
        test["macro_unseen"],
        val["macro_harmonic_mean"],
        test["macro_harmonic_mean"],
    )
    assert tuple(f"{100 * value:.2f}" for value in found if value is not None) == (*printed, *harmonic_means)


# --- The real queries ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def val_queries(real: Callable[[str], Path]) -> Rows:
    """The 11,830 validation queries of the official split."""
    path = real("bioscan1m_metadata") / "clibd_val_query_taxonomy.tsv"
    with path.open(newline="") as file:
        return [
            {"split": row["clibd_split"], **{rank: clean_name(row[rank]) for rank in RANKS}}
            for row in csv.DictReader(file, delimiter="\t")
        ]


def counted(rows: Rows) -> TaxonCounts:
    return count_taxa(lambda name: pa.array([row.get(name) for row in rows], pa.string()), CLIBD)


def test_the_real_queries_have_the_official_counts(val_queries: Rows) -> None:
    counts = counted(val_queries)
    for split in ("val_seen", "val_unseen"):
        assert (counts.num_records[split], counts.num_taxa("species", [split])) == OFFICIAL[split]


@pytest.mark.parametrize(
    ("rank", "seen", "unseen"),
    [
        ("order", ("487.80", "487.60"), ("496.57", "496.29")),
        ("family", ("36.95", "33.74"), ("40.42", "36.34")),
        ("genus", ("9.36", "5.17"), ("8.15", "4.73")),
        ("species", ("5.33", "1.99"), ("3.93", "1.92")),
    ],
)
def test_table_5_prints_the_sum_of_different_counts_not_of_all_counts(
    val_queries: Rows, rank: Rank, seen: tuple[str, str], unseen: tuple[str, str]
) -> None:
    counts = counted(val_queries)
    cells: tuple[tuple[str, tuple[str, str]], ...] = (("val_query_seen", seen), ("val_query_unseen", unseen))
    for role, (true, printed) in cells:
        records = records_per_taxon(counts, rank, role)
        assert f"{sum(records) / sum(records.values()):.2f}" == printed
        assert f"{mean_records(counts, rank, role):.2f}" == true


@pytest.mark.parametrize(
    ("rank", "num_seen", "macro"),
    [
        ("order", 10, ("10.00", "7.14", "8.33")),
        ("family", 132, ("0.76", "0.58", "0.66")),
        ("genus", 521, ("0.19", "0.12", "0.15")),
        ("species", 916, ("0.11", "0.06", "0.07")),
    ],
)
def test_the_real_queries_give_the_printed_numbers_of_classes(
    val_queries: Rows, rank: Rank, num_seen: int, macro: tuple[str, ...]
) -> None:
    counts = counted(val_queries)
    found = chance(counts, rank, "val")
    assert taxa_overlap(counts, rank)["seen"] == num_seen == TABLE_6[rank][3]
    shares = (found["macro_seen"], found["macro_unseen"], found["macro_harmonic_mean"])
    assert tuple(f"{100 * share:.2f}" for share in shares if share is not None) == macro
    assert counts.num_taxa(rank, ["val_unseen"]) == TAXA_OF_PART["val"][rank]


@pytest.mark.parametrize(
    ("rank", "seen", "unseen"),
    [
        ("order", ("62.30", 76.32), ("55.93", 58.46)),
        ("family", ("12.40", 15.33), ("24.34", 24.64)),
        ("genus", ("6.46", 7.46), ("23.95", 24.17)),
        ("species", ("5.19", 5.21), ("19.52", 19.52)),
    ],
)
def test_table_7_prints_more_right_answers_than_any_one_class_can_give(
    val_queries: Rows, rank: Rank, seen: tuple[str, float], unseen: tuple[str, float]
) -> None:
    # The keys are not at hand. With the queries themselves as keys the majority class is the best of all classes.
    own = [{**row, "split": {"val_seen": "seen_keys"}.get(str(row["split"]), "val_unseen_keys")} for row in val_queries]
    found = chance(counted([*val_queries, *own]), rank, "val")
    for share, (best, printed) in ((found["micro_seen"], seen), (found["micro_unseen"], unseen)):
        assert share is not None
        assert f"{100 * share:.2f}" == best
        assert printed >= float(best)
