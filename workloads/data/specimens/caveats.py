"""What to know of the specimens: lineages that contradict each other, and barcodes and images that splits share.

Nothing is merged or mended here, and nothing refused; what is found is told to the user.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Codes, Digests, Mask
from workloads.data.specimens.schema import text_digests
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.spec import RANKS

RankNames = tuple[str | None, str | None, str | None, str | None]
"""Order, family, genus and species; None where unknown."""

_Upper = tuple[str | None, ...]


def contradictions(lineages: Iterable[RankNames]) -> list[str]:
    """What cannot be right about the lineages of a data set, by rank and name: one taxon under two parents, and species
    called after another genus. A genus under two orders is probably a homonym, two taxa that share a name.

    Two lineages of a taxon contradict each other at the lowest rank above it that both of them know, if the names there
    differ. If these names agree, the taxon is in order, and what may differ further up is said of its parent. Missing
    ranks contradict nothing.

    Args:
        lineages: one a record, cleaned; only the distinct ones are held.

    Returns:
        A sentence a taxon, with what it stands under and in how many records, the most frequent first, such as
        `genus Zoro: contradictory lineage: family Zoridae (Diptera) 2x, family Aridae (Diptera) 1x`.
    """
    counts = Counter(lineages)
    sentences = []
    for rank in range(1, len(RANKS)):
        uppers: defaultdict[str, Counter[_Upper]] = defaultdict(Counter)
        for lineage, count in counts.items():
            name = lineage[rank]
            if name is not None:
                uppers[name][lineage[:rank]] += count
        for name in sorted(uppers):
            if (where := _parted_at(uppers[name])) is not None:
                orders = {upper[0] for upper in uppers[name] if upper[where] is not None and upper[0] is not None}
                homonym = "homonym, or a " if RANKS[rank] == "genus" and len(orders) > 1 else ""
                parents = _parents(where, uppers[name])
                sentences.append(f"{RANKS[rank]} {name}: {homonym}contradictory lineage: {parents}")
    return sentences + _misnamed(counts)


def _parted_at(uppers: Collection[_Upper]) -> int | None:
    """The lowest rank at which what stands above a taxon differs; None where it agrees."""
    if len({upper[-1] for upper in uppers if upper[-1] is not None}) > 1:
        return len(next(iter(uppers))) - 1
    partings = (_parting(one, other) for one, other in combinations(uppers, 2))
    return max((parting for parting in partings if parting is not None), default=None)


def _parting(one: _Upper, other: _Upper) -> int | None:
    """The lowest rank that both know, if they differ there."""
    for rank in reversed(range(len(one))):
        if one[rank] is not None and other[rank] is not None:
            return rank if one[rank] != other[rank] else None
    return None


def _parents(rank: int, uppers: Mapping[_Upper, int]) -> str:
    """Parents at a rank with their order, and their numbers of records."""
    counts: Counter[str] = Counter()
    for upper, count in uppers.items():
        if upper[rank] is not None:
            order = f" ({upper[0]})" if rank > 0 and upper[0] is not None else ""
            counts[f"{RANKS[rank]} {upper[rank]}{order}"] += count
    return _by_count(counts)


def _misnamed(counts: Mapping[RankNames, int]) -> list[str]:
    """Species whose first word is not their genus."""
    genera: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (_, _, genus, species), count in counts.items():
        if genus is not None and species is not None and species.split()[:1] != [genus]:
            genera[species][f"genus {genus}"] += count
    problem = "its name does not begin with its genus"
    return [f"species {name}: {problem}: {_by_count(genera[name])}" for name in sorted(genera)]


def _by_count(counts: Mapping[str, int]) -> str:
    return ", ".join(
        f"{name} {count:,}x" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


# --- Barcodes and images ----------------------------------------------------------------------------------------------


def shared_barcodes(table: SpecimenTable) -> list[str]:
    """How many specimens of each split have the exact barcode of a specimen elsewhere, in sentences.

    That some have is a fact of the data (paper, Appendix A), which the reader of an accuracy should know. Told are, of
    every split of queries, and of keys that do not train themselves, those whose barcode a training record has too, or
    a key; and how many training records without a species have the barcode of an unseen one, which thereby trains
    without its name. Nothing is said of splits without barcodes.

    The barcodes are read in batches and kept as hashes of 64 bits. Among 1.13 million different barcodes the chance
    that any two hashes agree is 1.13e6^2 / 2^65, about 3 in 100 million.
    """
    protocol = table.protocol
    hashes, splits, labelled = _hashed(table, "barcode")
    within = {name: splits == code for code, name in enumerate(protocol.splits)}
    trains, answers, unseen = (
        np.logical_or.reduce([within[split] for split in chosen])
        for chosen in (protocol.training, protocol.keys, protocol.splits_of("unseen"))
    )
    sentences = []
    for split in (*protocol.asking(), *(key for key in protocol.keys if key not in protocol.training)):
        if len(own := hashes[within[split]]):
            keys = f", {_num_among(own, hashes[answers]):,} among the keys" if split in protocol.asking() else ""
            training = f"{_num_among(own, hashes[trains]):,} also in training"
            sentences.append(f"{split}: {len(own):,} barcodes, {training}{keys}.")
    if len(unlabelled := hashes[trains & ~labelled]):
        known = _num_among(unlabelled, hashes[unseen])
        sentences.append(
            f"{known:,} of {len(unlabelled):,} unlabelled training records ({known / len(unlabelled):.2%}) "
            "have the barcode of an unseen species."
        )
    return sentences


def shared_images(table: SpecimenTable) -> list[str]:
    """How many image files of each split are those of a specimen of another split too, in sentences.

    Told by the names of the files, of all views; no image is read. Nothing is said of splits without images.
    """
    protocol = table.protocol
    hashes, splits, _ = _hashed(table, "image")
    sentences = []
    for code, split in enumerate(protocol.splits):
        if len(own := hashes[splits == code]):
            others = _num_among(own, hashes[splits != code])
            sentences.append(f"{split}: {len(own):,} image files, {others:,} also of a specimen of another split.")
    return sentences


def _num_among(hashes: Digests, others: Digests) -> int:
    return int(np.isin(hashes, others).sum())


def _hashed(table: SpecimenTable, column: str) -> tuple[Digests, Codes, Mask]:
    """Hash of each line of a column, number of the split, and whether the species is known, where there is a split."""
    names = pa.array(table.protocol.splits)
    hashes, splits, labelled = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.bool_)]
    for batch in table.batches([column, "species", "split"]):
        codes = pc.index_in(batch["split"], value_set=names)
        kept = batch.filter(pc.and_(pc.is_valid(batch[column]), pc.is_valid(codes)))
        lines = pc.split_pattern(kept[column], "\n")
        rows = pc.list_parent_indices(lines)
        hashes.append(text_digests(pc.list_flatten(lines).to_pylist()))
        splits.append(pc.index_in(kept["split"], value_set=names).take(rows).to_numpy(zero_copy_only=False))
        labelled.append(pc.is_valid(kept["species"]).take(rows).to_numpy(zero_copy_only=False))
    return np.concatenate(hashes), np.concatenate(splits), np.concatenate(labelled)
