"""Whether a partition measures what it claims to, whoever drew it; and which barcodes stand on both sides of it.

The checks raise and cannot be switched off. The barcodes are a report: that some specimens have identical barcodes is a
fact of the data (paper, Appendix A), which the reader of an accuracy should know.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Mask
from workloads.data.specimens.schema import Protocol, subset_of
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import PartitionError

Column: TypeAlias = pa.ChunkedArray | pa.Array
Hashes = npt.NDArray[np.uint64]


def key_splits(protocol: Protocol, part: str, subset: str) -> tuple[str, ...]:
    """Splits with the keys of the seen or the unseen species of a partition, val or test.

    Keys of the seen species serve both partitions; keys of unseen species one of them if their split is named after it,
    such as `val_unseen_keys`, and else both, as in BIOSCAN-5M.
    """
    others = tuple(f"{other}_" for other in ("val", "test") if other != part)
    unseen = subset == "unseen"
    return tuple(s for s in protocol.keys if subset_of(s) == subset and not (unseen and s.startswith(others)))


def check_partition(protocol: Protocol, species: Column, splits: Column, ids: Column | None = None) -> None:
    """Check what every accuracy on this partition relies on.

    Args:
        protocol: which of the splits train, answer and ask.
        species: species of each specimen, null where it is not known, (n,).
        splits: split of each specimen, (n,).
        ids: id of each specimen, (n,), when the specimens come from lists that may repeat one.

    Raises:
        PartitionError: a specimen without a split or in two of them; an unseen species that trains or is seen
            elsewhere, or is both in val and test where each has its own keys; a query whose species has no key, or
            that has no species.
    """
    if ids is not None:
        check_one_split(ids, splits)
    presence = _Presence(protocol, species, splits)
    _check_unseen(protocol, presence)
    _check_queries(protocol, presence)


def check_one_split(ids: Column, splits: Column) -> None:
    """Check that no specimen stands twice.

    Raises:
        PartitionError: one does; the examples name its splits.
    """
    counted = pc.value_counts(ids)
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(repeated):
        return
    rows = pc.is_in(ids, value_set=repeated)
    found: dict[str, list[str]] = {}
    for identifier, split in zip(ids.filter(rows).to_pylist(), splits.filter(rows).to_pylist(), strict=True):
        found.setdefault(str(identifier), []).append(str(split))
    examples = [f"{identifier} in {' and '.join(where)}" for identifier, where in found.items()]
    raise PartitionError(f"{len(found):,} specimen(s) stand more than once", examples)


class _Presence:
    """Which species stand in which splits."""

    def __init__(self, protocol: Protocol, species: Column, splits: Column) -> None:
        codes = pc.index_in(splits, value_set=pa.array(protocol.splits))
        if codes.null_count:
            strange = pc.unique(pc.filter(splits, pc.is_null(codes))).to_pylist()
            problem = f"{codes.null_count:,} specimen(s) have no split that trains, asks or answers"
            raise PartitionError(problem, [repr(name) for name in strange])
        species = species.cast(pa.string())
        names = pc.unique(species).drop_null()
        members = pc.index_in(species, value_set=names).fill_null(len(names)).to_numpy()
        # The last column stands for records without a species.
        found = np.zeros((len(protocol.splits), len(names) + 1), dtype=np.bool_)
        found[codes.to_numpy(), members] = True
        self._names: list[str] = names.to_pylist()
        self._of_split = dict(zip(protocol.splits, found, strict=True))

    def lacks_species(self, split: str) -> bool:
        return bool(self._of_split[split][-1])

    def species_of(self, splits: Sequence[str]) -> Mask:
        """Which species stand in any of these splits, (number of species,)."""
        found = [np.zeros(len(self._names) + 1, dtype=np.bool_), *(self._of_split[split] for split in splits)]
        together: Mask = np.logical_or.reduce(found)[:-1]
        return together

    def listed(self, species: Mask) -> list[str]:
        return [self._names[number] for number in np.flatnonzero(species)]


def _check_unseen(protocol: Protocol, presence: _Presence) -> None:
    unseen = presence.species_of(protocol.splits_of("unseen"))
    seen = [split for split in protocol.splits_of("seen") if split not in protocol.unused]
    for split in seen:
        shared = unseen & presence.species_of([split])
        if shared.any():
            role = "trains" if split in protocol.training else "holds seen species"
            problem = f"{shared.sum():,} unseen species stand(s) in {split}, which {role}"
            raise PartitionError(problem, presence.listed(shared))
    sides = {
        part: {*protocol.asking(part, "unseen"), *key_splits(protocol, part, "unseen")} for part in protocol.queries
    }
    if len(sides) < 2 or set.intersection(*sides.values()):
        return  # one partition, or unseen keys that serve both: their unseen species are the same
    shared = np.logical_and.reduce([presence.species_of(sorted(side)) for side in sides.values()])
    if shared.any():
        parts = " and ".join(sides)
        raise PartitionError(f"{shared.sum():,} species are unseen in {parts}", presence.listed(shared))


def _check_queries(protocol: Protocol, presence: _Presence) -> None:
    answered = presence.species_of(protocol.keys)
    for split in _query_splits(protocol):
        if presence.lacks_species(split):
            raise PartitionError(f"queries without a species stand in {split}, and none could be found for them", ())
        missing = presence.species_of([split]) & ~answered
        if missing.any():
            raise PartitionError(f"{missing.sum():,} species of {split} have no key", presence.listed(missing))


def _query_splits(protocol: Protocol) -> list[str]:
    """Each split that asks."""
    return [split for part in protocol.queries.values() for split in part.values()]


@dataclass(frozen=True, slots=True)
class SharedBarcodes:
    """How many specimens of a split have the exact barcode of a specimen elsewhere."""

    split: str
    num_specimens: int
    """Those with a barcode."""
    num_in_training: int
    """Those whose barcode a training record has too."""
    num_in_keys: int | None
    """Those whose barcode a key has too; None for a split of keys."""


@dataclass(frozen=True, slots=True)
class BarcodeReport:
    """Identical barcodes across training, keys and queries."""

    shared: tuple[SharedBarcodes, ...]
    """For each split of queries, then of keys that do not train themselves."""
    num_unlabelled: int
    """Training records without a species, with a barcode."""
    num_unlabelled_of_unseen: int
    """Those that have the exact barcode of an unseen species' query or key: the species trains without its name."""

    def sentences(self) -> list[str]:
        """The report in words; nothing is said of splits without barcodes."""
        lines = []
        for row in self.shared:
            if not row.num_specimens:
                continue
            keys = "" if row.num_in_keys is None else f", {row.num_in_keys:,} among the keys"
            training = f"{row.num_in_training:,} also in training"
            lines.append(f"{row.split}: {row.num_specimens:,} barcodes, {training}{keys}.")
        if self.num_unlabelled:
            share = self.num_unlabelled_of_unseen / self.num_unlabelled
            lines.append(
                f"{self.num_unlabelled_of_unseen:,} of {self.num_unlabelled:,} unlabelled training records "
                f"({share:.2%}) have the barcode of an unseen species."
            )
        return lines


def barcode_report(table: SpecimenTable) -> BarcodeReport:
    """Count identical barcodes across the splits of a partitioned specimen table.

    The barcodes are read in batches and kept as hashes of 64 bits. Among 1.13 million different barcodes the chance
    that any two hashes agree is 1.13e6^2 / 2^65, about 3 in 100 million.
    """
    protocol = table.protocol
    hashes, splits, labelled = _hashed_barcodes(table)
    of_split = {name: hashes[splits == code] for code, name in enumerate(protocol.splits)}
    training = _together(of_split, protocol.training)
    keys = _together(of_split, protocol.keys)
    unseen = _together(of_split, protocol.splits_of("unseen"))
    trains = np.isin(splits, [protocol.splits.index(split) for split in protocol.training])
    unlabelled = hashes[trains & ~labelled]
    shared = [
        SharedBarcodes(split, len(of_split[split]), _num_among(of_split[split], training), among_keys)
        for split, among_keys in (
            *((split, _num_among(of_split[split], keys)) for split in _query_splits(protocol)),
            *((split, None) for split in protocol.keys if split not in protocol.training),
        )
    ]
    return BarcodeReport(tuple(shared), len(unlabelled), _num_among(unlabelled, unseen))


def _hashed_barcodes(table: SpecimenTable) -> tuple[Hashes, npt.NDArray[np.int8], Mask]:
    """Of the specimens with a barcode and a split: hash, number of the split, and whether the species is known."""
    names = pa.array(table.protocol.splits)
    hashes, splits, labelled = [np.empty(0, np.uint64)], [np.empty(0, np.int8)], [np.empty(0, np.bool_)]
    for batch in table.batches(["barcode", "species", "split"]):
        codes = pc.index_in(batch["split"], value_set=names)
        kept = batch.filter(pc.and_(pc.is_valid(batch["barcode"]), pc.is_valid(codes)))
        hashes.append(hashed(kept["barcode"]))
        splits.append(pc.index_in(kept["split"], value_set=names).to_numpy(zero_copy_only=False).astype(np.int8))
        labelled.append(pc.is_valid(kept["species"]).to_numpy(zero_copy_only=False))
    return np.concatenate(hashes), np.concatenate(splits), np.concatenate(labelled)


def hashed(texts: pa.StringArray) -> Hashes:
    """A hash of 64 bits of each text, the same in every process, (n,)."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts.to_pylist()]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _together(of_split: Mapping[str, Hashes], splits: Sequence[str]) -> Hashes:
    """The different barcodes of several splits, ascending."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *(of_split[split] for split in splits)]))


def _num_among(hashes: Hashes, ascending: Hashes) -> int:
    if not len(ascending):
        return 0
    places = np.searchsorted(ascending, hashes).clip(max=len(ascending) - 1)
    return int((ascending[places] == hashes).sum())
