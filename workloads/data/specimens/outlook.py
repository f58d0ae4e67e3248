"""What a partition leaves to train and to measure, said before it is written, and what is too few of it."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.specimens.partition import TextColumn
from workloads.data.specimens.schema import PROTOCOLS, SplitProtocol, part_of

FEWEST_TRAINING, FEWEST_QUERIES = 100, 30
"""Below 100 specimens a tower learns little more than their names. An accuracy of one half has an interval of 0.98 over
the square root of the number of queries on either side: 18 points of 30."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Counts of one partition."""

    training: int
    keys: int
    """Those that train as well included."""
    queries: dict[str, int]
    """By their split, such as `val_seen`; of the partitions' both subsets, in the protocol's order."""
    unused: int
    species_seen: int
    """Species among the labelled training specimens."""
    species_unseen: int


def outlook(protocol: SplitProtocol, species: TextColumn, splits: TextColumn) -> Outlook:
    """Count a partition."""
    counts = {item["values"]: item["counts"] for item in pc.value_counts(splits).to_pylist()}

    def records(*names: str) -> int:
        return sum(counts.get(name, 0) for name in names)

    def num_species(*names: str) -> int:
        within = pc.is_in(splits, value_set=pa.array(names, pa.string()))
        return len(pc.unique(pc.filter(species, within)).drop_null())

    unseen = [split for split in protocol.splits_of("unseen") if split not in protocol.unused]
    return Outlook(
        training=records(*protocol.training),
        keys=records(*protocol.keys),
        queries={split: records(split) for split in protocol.asking()},
        unused=records(*protocol.unused),
        species_seen=num_species(*protocol.training),
        species_unseen=num_species(*unseen),
    )


def too_few(protocol: str, found: Outlook) -> list[str]:
    """What cannot be trained or measured with a partition, in sentences; none where all can."""
    said = []
    if found.training < FEWEST_TRAINING:
        said.append(f"{found.training:,} specimens train, of {FEWEST_TRAINING} that learning takes at least.")
    for split in PROTOCOLS[protocol].asking():
        if (num := found.queries[split]) < FEWEST_QUERIES and part_of(split) == "val":
            points = (
                f"an accuracy is known to {98 / num**0.5:.0f} points on either side; {FEWEST_QUERIES} make it 18"
                if num
                else "nothing is measured"
            )
            said.append(f"{split} has {num:,} queries: {points}.")
    return said
