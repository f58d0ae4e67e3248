"""The paper's Figure 2 and Tables 5, 6 and 7 for a data set: ours, published, difference.

The published numbers describe BIOSCAN-1M under the authors' own split lists. Beside any other data set they stand for
reference, without a difference. A note marks what cannot be right as printed, and says why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal

from results.published import find_published
from workloads.data.statistics import Role, TaxonCounts, chance, mean_records, taxa_overlap
from workloads.spec import RANKS, Rank

OFFICIAL_SPLITS: Mapping[str, tuple[int, int]] = {
    "no_split": (1_043_863, 0),
    "train_seen": (36_279, 916),
    "seen_keys": (6_350, 916),
    "val_unseen_keys": (7_645, 1_771),
    "test_unseen_keys": (7_123, 1_772),
    "val_seen": (4_878, 916),
    "val_unseen": (6_952, 1_771),
    "test_seen": (4_878, 916),
    "test_unseen": (6_448, 1_772),
    "single_species": (3_897, 3_897),
}
"""Records and species of each split of the official lists (Figure 2)."""

_OFFICIAL_TOTALS: Mapping[str, tuple[int, int | None]] = {
    "training": (1_080_142, 916),
    "all keys": (21_118, 4_459),
    "all records": (1_128_313, None),
}
_OFFICIAL_TAXA: Mapping[Rank, int] = {"order": 16, "family": 491, "genus": 3_441, "species": 8_355}


@dataclass(frozen=True, slots=True)
class Printed:
    """A published number."""

    value: float
    note: str | None = None
    """Why it cannot be right as printed."""
    rightly: str | None = None
    """What it comes to, where that is known."""


@dataclass(frozen=True, slots=True)
class StatisticCell:
    """One number of a table. Accuracies are shares in [0, 1]."""

    row: str
    block: str
    column: str
    unit: Literal["records", "taxa", "share"]
    ours: float | None
    printed: Printed | None
    comparable: bool
    """Whether ours is of the specimens that the published number is of."""

    @property
    def difference(self) -> float | None:
        """Ours minus published, where both are of the same specimens."""
        if not self.comparable or self.ours is None or self.printed is None:
            return None
        return self.ours - self.printed.value


@dataclass(frozen=True, slots=True)
class StatisticTable:
    """A table of statistics: its cells, row by row within each block."""

    name: str
    """Of its files."""
    title: str
    row_header: str
    decimals: int
    """Digits after the point, as printed; of percent where the cells are shares."""
    cells: tuple[StatisticCell, ...]


def is_official(counts: TaxonCounts) -> bool:
    """Whether every split has the official numbers of records and species."""
    splits = counts.protocol.splits
    found = {split: (counts.num_records[split], counts.num_taxa("species", [split])) for split in splits}
    return found == dict(OFFICIAL_SPLITS)


def statistic_tables(counts: TaxonCounts) -> tuple[StatisticTable, ...]:
    """Figure 2 and Tables 5 to 7 of a data set."""
    same = is_official(counts)
    chance_title = "Table 7. Accuracy of the most frequent class (micro) and of chance (macro), percent"
    return (
        StatisticTable("figure2", "Figure 2. Records and species", "Split", 0, tuple(_figure_2(counts, same))),
        StatisticTable(
            "table5", "Table 5. Average number of records per taxon", "Taxa", 2, tuple(_table_5(counts, same))
        ),
        StatisticTable("table6", "Table 6. Taxa of seen and unseen species", "Taxa", 0, tuple(_table_6(counts, same))),
        StatisticTable("table7", chance_title, "Taxa", 2, tuple(_table_7(counts, same))),
    )


# --- Figure 2 -----------------------------------------------------------------------------------------------------

_TAXA_NOTES: Mapping[Rank, str] = {
    "order": "Table 6 counts 19 orders, not 16",
    "species": "The boxes have 916 + 1,771 + 1,772 species, and 3,897 species have a single record: 8,356",
}


def _figure_2(counts: TaxonCounts, same: bool) -> Iterator[StatisticCell]:
    protocol = counts.protocol
    rows: dict[str, tuple[str, ...]] = {split: (split,) for split in protocol.splits}
    rows |= {"training": protocol.training, "all keys": protocol.keys, "all records": protocol.splits}
    official: dict[str, tuple[int, int | None]] = {**OFFICIAL_SPLITS, **_OFFICIAL_TOTALS}
    for row, splits in rows.items():
        records, species = (Printed(number) if number else None for number in official.get(row, (None, None)))
        total = sum(counts.num_records[split] for split in splits)
        yield StatisticCell(row, "Splits", "Records", "records", total, records, same)
        yield StatisticCell(row, "Splits", "Species", "taxa", counts.num_taxa("species", splits), species, same)
    for rank, taxa in _OFFICIAL_TAXA.items():
        printed = Printed(taxa, _TAXA_NOTES.get(rank))
        yield StatisticCell(rank, "All records", "Taxa", "taxa", counts.num_taxa(rank, protocol.splits), printed, same)


# --- Table 5 ------------------------------------------------------------------------------------------------------

_ROLE_COLUMNS: Mapping[Role, tuple[str, str]] = {
    "train_seen": ("Species seen", "Train"),
    "key_seen": ("Species seen", "Key"),
    "val_query_seen": ("Species seen", "Val query"),
    "test_query_seen": ("Species seen", "Test query"),
    "val_key_unseen": ("Species unseen", "Val key"),
    "val_query_unseen": ("Species unseen", "Val query"),
    "test_key_unseen": ("Species unseen", "Test key"),
    "test_query_unseen": ("Species unseen", "Test query"),
}
_ADDED_ONCE = (
    "The authors' script adds equal numbers of records once: taxa of 5, 5 and 2 records give (5 + 2) / 3, not 4"
)
_TRUE_MEANS: Mapping[Rank, Mapping[Role, str]] = {
    "order": {
        "train_seen": "1,080,142 records of 18 orders make 60,007.89",
        "key_seen": "6,350 records of 10 orders make 635.00",
        "val_query_seen": "4,878 records of 10 orders make 487.80",
        "test_query_seen": "4,878 records of 10 orders make 487.80",
        "val_key_unseen": "7,645 records of 14 orders make 546.07",
        "val_query_unseen": "6,952 records of 14 orders make 496.57",
    },
    "family": {
        "val_query_seen": "4,878 records of 132 families make 36.95",
        "val_query_unseen": "6,952 records of 172 families make 40.42",
    },
    "genus": {
        "val_query_seen": "4,878 records of 521 genera make 9.36",
        "val_query_unseen": "6,951 records of 853 genera make 8.15",
    },
    "species": {
        "train_seen": "36,279 records of 916 species make 39.61",
        "key_seen": "6,350 records of 916 species make 6.93",
        "val_query_seen": "4,878 records of 916 species make 5.33",
        "test_query_seen": "4,878 records of 916 species make 5.33",
        "val_key_unseen": "7,645 records of 1,771 species make 4.32",
        "val_query_unseen": "6,952 records of 1,771 species make 3.93",
        "test_key_unseen": "7,123 records of 1,772 species make 4.02",
        "test_query_unseen": "6,448 records of 1,772 species make 3.64",
    },
}
"""What the official numbers of records and taxa come to. The two cells of test in the order row are right."""


def _table_5(counts: TaxonCounts, same: bool) -> Iterator[StatisticCell]:
    for rank in RANKS:
        for role, (block, column) in _ROLE_COLUMNS.items():
            rightly = _TRUE_MEANS.get(rank, {}).get(role)
            wrong = rank != "order" or rightly is not None
            printed = _printed(5, {"level": rank, "split": role}, _ADDED_ONCE if wrong else None, rightly)
            yield StatisticCell(rank, block, column, "records", mean_records(counts, rank, role), printed, same)


# --- Table 6 ------------------------------------------------------------------------------------------------------

_OVERLAP_COLUMNS = {
    "pretrain_total": ("Pretrain (no species)", "Total"),
    "pretrain_seen": ("Pretrain (no species)", "Seen"),
    "pretrain_unseen": ("Pretrain (no species)", "Unseen"),
    "pretrain_overlap": ("Pretrain (no species)", "Overlap"),
    "seen": ("Train/val/test", "Seen"),
    "unseen": ("Train/val/test", "Unseen"),
    "overlap": ("Train/val/test", "Overlap"),
    "everywhere": ("Both together", "Total"),
}
_TOTAL = (
    "The printed totals count the taxa of pretrain, train, val and test together, or records without a species would "
    "have 4,459 species; from these totals and the printed overlaps follow those of pretrain"
)
_PRETRAIN_TOTALS: Mapping[Rank, str] = {
    "order": "18",
    "family": "457",
    "genus": "1,892",
    "species": "0",
}
"""The printed total, less the union of seen and unseen, plus the part of that union that pretrain has."""


def _table_6(counts: TaxonCounts, same: bool) -> Iterator[StatisticCell]:
    for rank in RANKS:
        for name, taxa in asdict(taxa_overlap(counts, rank)).items():
            block, column = _OVERLAP_COLUMNS[name]
            wrong = name == "pretrain_total"
            note, rightly = (_TOTAL, _PRETRAIN_TOTALS[rank]) if wrong else (None, None)
            printed = _printed(6, {"level": rank, "split": name}, note, rightly)
            yield StatisticCell(rank, block, column, "taxa", taxa, printed, same)


# --- Table 7 ------------------------------------------------------------------------------------------------------

_SUBSETS = {"seen": "Seen", "unseen": "Unseen", "harmonic_mean": "H.M."}
_MICRO = "Micro: the authors' script divides how many keys the most frequent class has by the number of queries"
_MACRO_VAL = "Macro, H.M. val: the printed mean is of seen and of test's unseen, not of val's unseen"
_MACRO_TEST = "Macro, H.M. test: the printed mean is of val's unseen and test's unseen, not of seen"
_VAL_MICRO: Mapping[tuple[Rank, str], str] = {
    ("order", "seen"): "3,039 of the 4,878 queries make 62.30",
    ("order", "unseen"): "3,888 of the 6,952 queries make 55.93",
    ("family", "seen"): "605 of the 4,878 queries make 12.40",
    ("family", "unseen"): "1,692 of the 6,952 queries make 24.34",
    ("genus", "seen"): "315 of the 4,878 queries make 6.46",
    ("genus", "unseen"): "1,665 of the 6,951 queries with a genus make 23.95",
    ("species", "seen"): "253 of the 4,878 queries make 5.19",
}
"""The most frequent class among the official validation queries: no one class can be right more often."""
_RIGHT: tuple[tuple[str, str, Rank, str], ...] = (
    ("micro", "val", "species", "unseen"),  # as many keys as queries, 1,357
    ("macro", "val", "species", "harmonic_mean"),  # val and test have 1,771 and 1,772 unseen species
)


def _table_7(counts: TaxonCounts, same: bool) -> Iterator[StatisticCell]:
    values = {(rank, part): asdict(chance(counts, rank, part)) for rank in RANKS for part in ("val", "test")}
    for average, rank, subset, part in product(("micro", "macro"), RANKS, _SUBSETS, ("val", "test")):
        where = {"average": average, "level": rank, "species": subset}
        note, rightly = _chance_note(average, part, rank, subset)
        printed = _printed(7, {**where, "partition": part}, note, rightly)
        printed = printed or _printed(7, {**where, "partition": "val/test"}, note, rightly)
        ours = values[rank, part][f"{average}_{subset}"]
        yield StatisticCell(rank, average.title(), f"{_SUBSETS[subset]} {part}", "share", ours, printed, same)


def _chance_note(average: str, part: str, rank: Rank, subset: str) -> tuple[str | None, str | None]:
    """Why a number of Table 7 cannot be right, and what it comes to."""
    if (average, part, rank, subset) in _RIGHT:
        return None, None
    if average == "macro":
        return ({"val": _MACRO_VAL, "test": _MACRO_TEST}[part] if subset == "harmonic_mean" else None), None
    return _MICRO, _VAL_MICRO.get((rank, subset)) if part == "val" else None


def _printed(table: int, where: Mapping[str, str], note: str | None, rightly: str | None) -> Printed | None:
    """The published number at a place, with the note that it came with, or else ours."""
    found = find_published(table, where)
    return Printed(found.value, found.note or note, rightly) if found else None
