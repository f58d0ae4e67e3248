"""The paper's Figure 2 and Tables 5, 6 and 7 for a data set: ours, published, difference.

The published numbers describe BIOSCAN-1M under the authors' own split lists. Beside any other data set they stand for
reference, without a difference. A note marks what cannot be right as printed, and says why.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

from results.published import find_published
from results.sheet import Cell, Unit
from sweeps.table import SUBSETS
from workloads.data.prepared.official import BIOSCAN_1M_SPLITS
from workloads.data.specimens.statistics import ROLES, Role, TaxonCounts, chance, mean_records, taxa_overlap
from workloads.spec import RANKS, Rank

OTHERS = "published are the numbers of BIOSCAN-1M under the authors' split lists, and these are other specimens"

_OFFICIAL_TOTALS: Mapping[str, tuple[int, int | None]] = {
    "training": (1_080_142, 916),
    "all keys": (21_118, 4_459),
    "all records": (1_128_313, None),
}
_OFFICIAL_TAXA: Mapping[Rank, int] = {"order": 16, "family": 491, "genus": 3_441, "species": 8_355}


@dataclass(frozen=True, slots=True)
class _Counted:
    """A data set, as far as every cell of its tables says it."""

    counts: TaxonCounts
    dataset: str
    synthetic: bool
    official: bool

    def cell(self, table: str, row: str, column: str, ours: float | None, unit: Unit, **place: Any) -> Cell:
        """One number of ours with what is printed there."""
        return Cell(
            **place,
            table=table,
            row={"row": row},
            column=column,
            unit=unit,
            ours=ours,
            comparable=self.official,
            reason=None if self.official else OTHERS,
            dataset=self.dataset,
            synthetic=self.synthetic,
        )


def is_official(counts: TaxonCounts) -> bool:
    """Whether every split has the official numbers of records and species."""
    splits = counts.protocol.splits
    found = {split: (counts.num_records[split], counts.num_taxa("species", [split])) for split in splits}
    return found == dict(BIOSCAN_1M_SPLITS)


def statistic_cells(counts: TaxonCounts, dataset: str, synthetic: bool) -> Iterator[Cell]:
    """Figure 2 and Tables 5 to 7 of a data set, row by row within each block."""
    counted = _Counted(counts, dataset, synthetic, is_official(counts))
    for table in (_figure_2, _table_5, _table_6, _table_7):
        yield from table(counted)


# --- Figure 2 -----------------------------------------------------------------------------------------------------

_TAXA_NOTES: Mapping[Rank, str] = {
    "order": "Table 6 counts 19 orders, not 16",
    "species": "The boxes have 916 + 1,771 + 1,772 species, and 3,897 species have a single record: 8,356",
}


def _figure_2(counted: _Counted) -> Iterator[Cell]:
    counts, protocol = counted.counts, counted.counts.protocol
    rows: dict[str, tuple[str, ...]] = {split: (split,) for split in protocol.splits}
    rows |= {"training": protocol.training, "all keys": protocol.keys, "all records": protocol.splits}
    official: dict[str, tuple[int, int | None]] = {**BIOSCAN_1M_SPLITS, **_OFFICIAL_TOTALS}
    for row, splits in rows.items():
        records, species = (number or None for number in official.get(row, (None, None)))
        total = sum(counts.num_records[split] for split in splits)
        yield counted.cell("figure2", row, "Records", total, "records", block="Splits", published=records)
        taxa = counts.num_taxa("species", splits)
        yield counted.cell("figure2", row, "Species", taxa, "taxa", block="Splits", published=species)
    for rank, printed in _OFFICIAL_TAXA.items():
        place = {"block": "All records", "rank": rank, "published": printed, "published_note": _TAXA_NOTES.get(rank)}
        yield counted.cell("figure2", rank, "Taxa", counts.num_taxa(rank, protocol.splits), "taxa", **place)


# --- Table 5 ------------------------------------------------------------------------------------------------------


def _role_column(role: Role) -> tuple[str, str]:
    """Block and column: `val_query_seen` stands under Species seen, Val query."""
    *words, subset = role.split("_")
    return f"Species {subset}", " ".join(words).capitalize()


def _table_5(counted: _Counted) -> Iterator[Cell]:
    for rank, role in product(RANKS, ROLES):
        block, column = _role_column(role)
        printed = _printed(5, {"level": rank, "split": role})
        ours = mean_records(counted.counts, rank, role)
        yield counted.cell("5", rank, column, ours, "records", block=block, rank=rank, **printed)


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


def _table_6(counted: _Counted) -> Iterator[Cell]:
    for rank in RANKS:
        for name, taxa in asdict(taxa_overlap(counted.counts, rank)).items():
            block, column = _OVERLAP_COLUMNS[name]
            printed = _printed(6, {"level": rank, "split": name})
            yield counted.cell("6", rank, column, taxa, "taxa", block=block, rank=rank, **printed)


# --- Table 7 ------------------------------------------------------------------------------------------------------


def _table_7(counted: _Counted) -> Iterator[Cell]:
    values = {(rank, part): asdict(chance(counted.counts, rank, part)) for rank in RANKS for part in ("val", "test")}
    for average, rank, (head, subset), part in product(("micro", "macro"), RANKS, SUBSETS, ("val", "test")):
        where = {"average": average, "level": rank, "species": subset}
        printed = _printed(7, {**where, "partition": part}) or _printed(7, {**where, "partition": "val/test"})
        place = {"block": average.title(), "rank": rank, "average": average, "subset": subset, "partition": part}
        method = {"micro": "majority", "macro": "random_class"}[average]
        ours, column = values[rank, part][f"{average}_{subset}"], f"{head} {part}"
        yield counted.cell("7", rank, column, ours, "share", method=method, **place, **printed)


# --- What cannot be right as printed ------------------------------------------------------------------------------


@cache
def _notes() -> Sequence[Mapping[str, Any]]:
    """Why printed numbers cannot be right and, where that is known, what they come to `rightly`.

    Of Table 5 the official records by the official taxa; of Table 6 the printed total, less the union of seen and
    unseen, plus the part of that union that pretrain has; of Table 7 the most frequent class among the official
    validation queries, as no one class can be right more often.
    """
    text = resources.files("results.data").joinpath("notes_of_tables.json").read_text(encoding="utf-8")
    return list(json.loads(text))


def _printed(table: int, where: Mapping[str, str]) -> dict[str, Any]:
    """The published number at a place, with its note; nothing where the paper has a dash."""
    if not (found := find_published(table, where)):
        return {}
    notes = [entry["note"] for entry in _notes() if (entry["table"], entry["where"]) == (table, where)]
    return {"published": found.value, "published_note": next(iter(notes), None)}


def corrections(table: str) -> Iterator[str]:
    """What the marked numbers of a table come to where that is known, a line each."""
    yield from (entry["rightly"] for entry in _notes() if str(entry["table"]) == table and "rightly" in entry)
