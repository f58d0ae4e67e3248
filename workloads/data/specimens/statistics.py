"""What a partitioned specimen table holds: records and taxa of every split, and what follows from their counts.

The numbers of the paper's Figure 2 and Appendix A: Table 5 (records per taxon), Table 6 (taxa that are seen and
unseen), Table 7 (majority and chance) and Figure 8 (records per species). All follow from one matrix a rank, records of
each taxon in each split. A record without a label at a rank is no record of any taxon of that rank.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices
from workloads.averages import harmonic_mean
from workloads.data.specimens.partition_checks import key_splits
from workloads.data.specimens.schema import Protocol
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank

# fmt: off
Role = Literal[
    "train_seen", "key_seen", "val_query_seen", "test_query_seen",
    "val_key_unseen", "val_query_unseen", "test_key_unseen", "test_query_unseen",
]
# fmt: on
ROLES: tuple[Role, ...] = get_args(Role)
"""The columns of Table 5. `train_seen` is all of training, unlabelled records included, as printed: its 18 orders with
60,007.72 records are the 1.08 million training records, and only the seen species have a name there."""


@dataclass(frozen=True, slots=True)
class TaxonCounts:
    """How many records each taxon has in each split."""

    protocol: Protocol
    num_records: Mapping[str, int]
    """Of each split, labelled or not."""
    taxa: Mapping[Rank, Indices]
    """Of each rank: records, (splits of the protocol, taxa in alphabetical order)."""

    def of(self, rank: Rank, splits: Sequence[str]) -> Indices:
        """Records of each taxon in several splits together, (taxa,)."""
        rows = [self.protocol.splits.index(split) for split in splits]
        return np.asarray(self.taxa[rank][rows].sum(axis=0))

    def num_taxa(self, rank: Rank, splits: Sequence[str]) -> int:
        """How many taxa have a record in any of these splits."""
        return int(np.count_nonzero(self.of(rank, splits)))


def count_taxa(table: SpecimenTable) -> TaxonCounts:
    """Count a partitioned specimen table, one column after another.

    Raises:
        UsageError: specimens have no split.
    """
    return count_columns(table.column, table.protocol)


def count_columns(column: Callable[[str], pa.ChunkedArray | pa.Array], protocol: Protocol) -> TaxonCounts:
    """Count the columns `split` and the four ranks, whatever gives them.

    Raises:
        UsageError: specimens have no split of the protocol.
    """
    codes = pc.index_in(column("split"), value_set=pa.array(protocol.splits))
    if codes.null_count:
        lacking = f"{codes.null_count:,} of {len(codes):,} specimens have no split"
        raise UsageError(f"{lacking}; run `clibd data partition` first")
    splits = codes.to_numpy().astype(np.int64)
    totals = np.bincount(splits, minlength=len(protocol.splits)).tolist()
    taxa = {rank: _records_of_taxa(column(rank), splits, len(protocol.splits)) for rank in RANKS}
    return TaxonCounts(protocol, dict(zip(protocol.splits, totals, strict=True)), taxa)


def _records_of_taxa(names: pa.ChunkedArray | pa.Array, splits: Indices, num_splits: int) -> Indices:
    names = names.cast(pa.string())
    taxa = pc.unique(names).drop_null().sort()
    width = len(taxa) + 1  # the last column: no label
    members = pc.index_in(names, value_set=taxa).fill_null(len(taxa)).to_numpy()
    cells = np.bincount(splits * width + members, minlength=num_splits * width)
    return np.ascontiguousarray(cells.reshape(num_splits, width)[:, :-1])


# --- Table 5 and Figure 8 -----------------------------------------------------------------------------------------


def splits_of_roles(protocol: Protocol) -> dict[Role, tuple[str, ...]]:
    """Which splits make up each column of Table 5; none where a protocol has no such column."""
    asking = protocol.asking
    answering = {
        part: key_splits(protocol, part, "unseen") if asking(part, "unseen") else () for part in ("val", "test")
    }
    return {
        "train_seen": protocol.training,
        "key_seen": key_splits(protocol, "val", "seen"),
        "val_query_seen": asking("val", "seen"),
        "test_query_seen": asking("test", "seen"),
        "val_key_unseen": answering["val"],
        "val_query_unseen": asking("val", "unseen"),
        "test_key_unseen": answering["test"],
        "test_query_unseen": asking("test", "unseen"),
    }


def mean_records(counts: TaxonCounts, rank: Rank, role: Role) -> float | None:
    """Table 5: records that have a label at the rank, over the number of their taxa; None without any."""
    records = counts.of(rank, splits_of_roles(counts.protocol)[role])
    return float(records.sum() / np.count_nonzero(records)) if records.any() else None


def records_per_taxon(counts: TaxonCounts, rank: Rank, role: Role) -> dict[int, int]:
    """Figure 8: how many taxa have one record, two, and so on; ascending."""
    records = counts.of(rank, splits_of_roles(counts.protocol)[role])
    sizes, taxa = np.unique(records[records > 0], return_counts=True)
    return dict(zip(sizes.tolist(), taxa.tolist(), strict=True))


# --- Table 6 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxaOverlap:
    """Table 6, one rank: how many taxa stand on which side."""

    pretrain_total: int
    """Among the training records without a species."""
    pretrain_seen: int
    """Those of them that the seen species have too."""
    pretrain_unseen: int
    """Those of them that the unseen species have too."""
    pretrain_overlap: int
    """Those of them that both have."""
    seen: int
    """Among train, val, test and keys of the seen species."""
    unseen: int
    """Among val, test and keys of the unseen species."""
    overlap: int
    everywhere: int
    """Among all of these together."""


def taxa_overlap(counts: TaxonCounts, rank: Rank) -> TaxaOverlap:
    """Table 6 for one rank. Taxa of unused splits, such as species of a single record, do not count."""
    pretrain, seen, unseen = (counts.of(rank, splits) > 0 for splits in _sides(counts.protocol))
    sets = {
        "pretrain_total": pretrain,
        "pretrain_seen": pretrain & seen,
        "pretrain_unseen": pretrain & unseen,
        "pretrain_overlap": pretrain & seen & unseen,
        "seen": seen,
        "unseen": unseen,
        "overlap": seen & unseen,
        "everywhere": pretrain | seen | unseen,
    }
    return TaxaOverlap(**{name: int(np.count_nonzero(taxa)) for name, taxa in sets.items()})


def _sides(protocol: Protocol) -> tuple[list[str], list[str], list[str]]:
    """Splits without species, with seen species and with unseen ones."""
    pretrain = [split for split in protocol.training if split == "no_split"]
    others = {*pretrain, *protocol.unused}
    seen, unseen = ([s for s in protocol.splits_of(subset) if s not in others] for subset in ("seen", "unseen"))
    return pretrain, seen, unseen


# --- Table 7 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Table 7, one rank of one partition; shares in [0, 1], None without queries or keys."""

    micro_seen: float | None
    micro_unseen: float | None
    micro_harmonic_mean: float | None
    macro_seen: float | None
    macro_unseen: float | None
    macro_harmonic_mean: float | None


def chance(counts: TaxonCounts, rank: Rank, part: str) -> Chance:
    """Table 7 for one rank of a partition, val or test.

    Micro: the most frequent taxon among the keys of the subset is the answer to every query; the share of labelled
    queries that it is right for. Macro: one taxon guessed whatever the query, so one over the number of the queries'
    taxa. The harmonic means are of this partition's own seen and unseen values.
    """
    shares: dict[str, float | None] = {}
    for average, share in (("micro", _majority), ("macro", _one_of)):
        seen, unseen = (share(counts, rank, part, subset) for subset in ("seen", "unseen"))
        both = None if seen is None or unseen is None else harmonic_mean(seen, unseen)
        shares |= {f"{average}_seen": seen, f"{average}_unseen": unseen, f"{average}_harmonic_mean": both}
    return Chance(**shares)


def _majority(counts: TaxonCounts, rank: Rank, part: str, subset: str) -> float | None:
    keys = counts.of(rank, key_splits(counts.protocol, part, subset))
    queries = counts.of(rank, counts.protocol.asking(part, subset))
    if not keys.any() or not queries.any():
        return None
    return float(queries[keys.argmax()] / queries.sum())  # of equally frequent taxa the alphabetically first


def _one_of(counts: TaxonCounts, rank: Rank, part: str, subset: str) -> float | None:
    num_taxa = counts.num_taxa(rank, counts.protocol.asking(part, subset))
    return 1 / num_taxa if num_taxa else None
