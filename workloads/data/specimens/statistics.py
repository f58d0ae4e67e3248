"""What a partitioned specimen table holds: records and taxa of every split, and what follows from their counts.

The numbers of the paper's Figure 2 and Appendix A: Table 5 (records per taxon), Table 6 (taxa that are seen and
unseen), Table 7 (majority and chance) and Figure 8 (records per species). All follow from one matrix a rank, records of
each taxon in each split. A record without a label at a rank is no record of any taxon of that rank.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices
from workloads.averages import harmonic_mean
from workloads.data.specimens.partition import TextColumn, numbered
from workloads.data.specimens.schema import PROTOCOLS, SplitProtocol
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank


@dataclass(frozen=True, slots=True)
class TaxonCounts:
    """How many records each taxon has in each split."""

    protocol: SplitProtocol
    num_records: Mapping[str, int]
    """Records of each split, labelled or not."""
    taxa: Mapping[Rank, Indices]
    """Records by rank, (splits of the protocol, taxa in alphabetical order)."""

    def of(self, rank: Rank, splits: Sequence[str]) -> Indices:
        """Records of each taxon in several splits together, (taxa,)."""
        rows = [self.protocol.splits.index(split) for split in splits]
        return np.asarray(self.taxa[rank][rows].sum(axis=0))

    def num_taxa(self, rank: Rank, splits: Sequence[str]) -> int:
        """How many taxa have a record in any of these splits."""
        return int(np.count_nonzero(self.of(rank, splits)))


def count_taxa(column: Callable[[str], TextColumn], protocol: SplitProtocol) -> TaxonCounts:
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


def _records_of_taxa(names: TextColumn, splits: Indices, num_splits: int) -> Indices:
    taxa, members = numbered(names)
    width = len(taxa) + 1  # the last column: no label
    cells = np.bincount(splits * width + members, minlength=num_splits * width)
    return np.ascontiguousarray(cells.reshape(num_splits, width)[:, :-1])


# --- Table 5 and Figure 8 -----------------------------------------------------------------------------------------


def splits_of_roles(protocol: SplitProtocol) -> dict[str, tuple[str, ...]]:
    """Which splits make up each column of Table 5; none where a protocol has no such column."""
    asking, answering = protocol.asking, protocol.answering
    return {
        "train_seen": protocol.training,
        "key_seen": answering("val", "seen"),
        "val_query_seen": asking("val", "seen"),
        "test_query_seen": asking("test", "seen"),
        "val_key_unseen": answering("val", "unseen"),
        "val_query_unseen": asking("val", "unseen"),
        "test_key_unseen": answering("test", "unseen"),
        "test_query_unseen": asking("test", "unseen"),
    }


ROLES = tuple(splits_of_roles(PROTOCOLS["clibd"]))
"""The columns of Table 5. `train_seen` is all of training, unlabelled records included, as printed: its 18 orders with
60,007.72 records are the 1.08 million training records, and only the seen species have a name there."""


def mean_records(counts: TaxonCounts, rank: Rank, role: str) -> float | None:
    """Table 5: records that have a label at the rank, over the number of their taxa; None without any."""
    records = counts.of(rank, splits_of_roles(counts.protocol)[role])
    return float(records.sum() / np.count_nonzero(records)) if records.any() else None


def records_per_taxon(counts: TaxonCounts, rank: Rank, role: str) -> dict[int, int]:
    """Figure 8: how many taxa have one record, two, and so on; ascending."""
    records = counts.of(rank, splits_of_roles(counts.protocol)[role])
    sizes, taxa = np.unique(records[records > 0], return_counts=True)
    return dict(zip(sizes.tolist(), taxa.tolist(), strict=True))


# --- Table 6 ------------------------------------------------------------------------------------------------------


def taxa_overlap(counts: TaxonCounts, rank: Rank) -> dict[str, int]:
    """Table 6 for one rank: how many taxa stand on which side.

    Taxa of unused splits, such as species of a single record, do not count.

    Returns:
        `pretrain_total`: among the training records without a species; `pretrain_seen`, `pretrain_unseen`,
        `pretrain_overlap`: those of them that the seen species have too, that the unseen ones have, and that both have;
        `seen`, `unseen`: among training, queries and keys of the seen, or of the unseen species; `overlap`: among both;
        `everywhere`: among all of these together.
    """
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
    return {name: int(np.count_nonzero(taxa)) for name, taxa in sets.items()}


def _sides(protocol: SplitProtocol) -> tuple[list[str], list[str], list[str]]:
    """Splits without species, with seen species and with unseen ones."""
    pretrain = [split for split in protocol.training if split == "no_split"]
    others = {*pretrain, *protocol.unused}
    seen, unseen = ([s for s in protocol.splits_of(subset) if s not in others] for subset in ("seen", "unseen"))
    return pretrain, seen, unseen


# --- Table 7 ------------------------------------------------------------------------------------------------------


def chance(counts: TaxonCounts, rank: Rank, part: str) -> dict[str, float | None]:
    """Table 7 for one rank of a partition, val or test.

    Micro: the most frequent taxon among the keys of the subset is the answer to every query; the share of labelled
    queries that it is right for. Macro: one taxon guessed whatever the query, so one over the number of the queries'
    taxa. The harmonic means are of this partition's own seen and unseen values.

    Returns:
        Shares in [0, 1] as `micro_seen`, `micro_unseen`, `micro_harmonic_mean` and the same of `macro`; None without
        queries or keys.
    """
    shares: dict[str, float | None] = {}
    for average, share in (("micro", _majority), ("macro", _one_of)):
        seen, unseen = (share(counts, rank, part, subset) for subset in ("seen", "unseen"))
        both = None if seen is None or unseen is None else harmonic_mean(seen, unseen)
        shares |= {f"{average}_seen": seen, f"{average}_unseen": unseen, f"{average}_harmonic_mean": both}
    return shares


def _majority(counts: TaxonCounts, rank: Rank, part: str, subset: str) -> float | None:
    keys = counts.of(rank, counts.protocol.answering(part, subset))
    queries = counts.of(rank, counts.protocol.asking(part, subset))
    if not keys.any() or not queries.any():
        return None
    return float(queries[keys.argmax()] / queries.sum())  # of equally frequent taxa the alphabetically first


def _one_of(counts: TaxonCounts, rank: Rank, part: str, subset: str) -> float | None:
    num_taxa = counts.num_taxa(rank, counts.protocol.asking(part, subset))
    return 1 / num_taxa if num_taxa else None
