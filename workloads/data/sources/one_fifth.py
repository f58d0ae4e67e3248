"""The fifth of BIOSCAN-5M on which the paper's authors train to compare it with BIOSCAN-1M."""

import random
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source
from workloads.data.specimens.schema import PROTOCOLS, clean_name
from workloads.errors import RecordError, SourceError

NUM_TRAINING_1M = 1_080_142
"""Training records of BIOSCAN-1M (paper, Fig. 2): no_split 1,043,863 and train_seen 36,279."""


def one_fifth(source: Source, *, num_wanted: int = NUM_TRAINING_1M, seed: int = 42) -> Source:
    """Thin the training records of a source to about a number; keys and queries stay as they are.

    What is known, from the authors' script: the ratio r is the training records of BIOSCAN-1M over those of BIOSCAN-5M
    (1,080,142 / 4,966,959). The unlabelled records are drawn first, then the species one after another, in the order in
    which they first appear among the training records; of n records, round(r n) are drawn, half to even, but at least
    one. The numbers are drawn by Python's `random.sample`, seeded once with 42.

    What is a choice here: the draws go by the order of the source. On the published table this is the authors' order,
    but they left out records whose image they did not have, and we do not know which. Records that the import refuses
    later have been counted. Kept records stay in the order of the source.

    The source is read twice; its species and 4 bytes a training record are held.

    Args:
        source: with splits, and with records that can be read more than once, as those of `bioscan5m_source`.
        num_wanted: training records to keep, roughly: rounding moves it by less than one a species.
        seed: of the draws.

    Returns:
        The thinned source; its notes say how many records were kept.

    Raises:
        SourceError: while reading, where there are fewer training records than wanted.
    """
    if iter(source.records) is source.records or not source.has_splits:
        raise SourceError(source.name, "", "a fifth is only drawn from records with splits that can be read twice")
    return replace(source, records=ReadAnew(lambda: _thinned(source, num_wanted, seed)))


def _thinned(source: Source, num_wanted: int, seed: int) -> Iterator[RawRecord | Refused]:
    training = PROTOCOLS[source.protocol].training

    def is_training(record: RawRecord | Refused) -> bool:
        return not isinstance(record, Refused) and record.get("split") in training

    kept = _draw(source.name, filter(is_training, source.records), num_wanted, seed)
    numbers = iter(kept)
    for record in source.records:
        if not is_training(record) or next(numbers):
            yield record
    note = f"{sum(kept):,} of {len(kept):,} training records were drawn (seed {seed})"
    source.notes[:] = [*(known for known in source.notes if known != note), note]


def _draw(name: str, training: Iterable[RawRecord | Refused], num_wanted: int, seed: int) -> bytearray:
    """One byte for each training record: whether it is kept."""
    rows: dict[str | None, array[int]] = {None: array("I")}
    total = 0
    for record in training:
        rows.setdefault(_species(record), array("I")).append(total)
        total += 1
    if total < num_wanted:
        raise SourceError(name, "", f"{total:,} training records, fewer than the {num_wanted:,} to be drawn")
    ratio = num_wanted / max(total, 1)
    kept, draws = bytearray(total), random.Random(seed)
    for numbers in filter(None, rows.values()):
        share = len(numbers) * ratio
        for place in draws.sample(range(len(numbers)), 1 if share < 1 else round(share)):
            kept[numbers[place]] = 1
    return kept


def _species(record: RawRecord | Refused) -> str | None:
    name = None if isinstance(record, Refused) else record.get("species")
    try:
        return clean_name(name)
    except RecordError:
        return str(name)
