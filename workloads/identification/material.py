"""What a database is made of: the named specimens of a prepared data set, or those of any source of the import."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from workloads.command_line import Tell
from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import shrink
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.shards import picture_at
from workloads.data.sources.cleaning import AS_USUAL, Rules
from workloads.data.sources.collect import cleaned
from workloads.data.sources.source import Source
from workloads.data.specimens.schema import subset_of
from workloads.errors import RecordError
from workloads.identification.query import PICTURE_SIZE, Query
from workloads.identification.writing import Known, Refuse
from workloads.spec import RANKS

_AT_ONCE = 1024
"""Specimens that are held at a time: some 8 MB of images that are as small as those of a data set."""
Looks = Literal["pictures", "features"]
"""What the image tower of a run takes."""
Trained = Callable[[str | None], bool | None]
"""Whether a run learned from specimens of a species; None without a run, or without a species."""
Stream = Callable[[Tell, Refuse], Iterator[list[Known]]]
"""Gives some specimens at a time; is told how to say how far it is, and which records cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Named specimens that can be streamed."""

    name: str
    """What the specimens are of."""
    known: Stream
    """Those that become keys."""
    calibrating: Stream | None = None
    """Those that the run did not train on and that are no keys, by which confidence is calibrated."""
    synthetic: bool = False
    """Whether they were drawn."""
    noticed: Callable[[], Sequence[str]] = tuple
    """Gives what was noticed of them and not hidden, such as ids that came twice; to be asked when all have come."""


def untrained(species: str | None) -> bool | None:
    """Of a database without a run nothing is known."""
    return None


def of_dataset(dataset: PreparedDataset, trained: Trained = untrained) -> Material:
    """The specimens of a prepared data set that train or answer; those that ask in validation calibrate.

    What asks in the test partition is left for `clibd db check`.

    Raises:
        MissingPathError: there is no prepared data set.
        DamagedError: it is not what was written.
    """
    facts, protocol = dataset.facts, dataset.facts.splits
    asking = {*protocol.asking()}
    keys = [split for split in dict.fromkeys((*protocol.training, *protocol.keys)) if split not in asking]
    queries = [split for split in protocol.asking("val") if facts.num_specimens.get(split)]
    both = {subset_of(split) for split in queries} == {"seen", "unseen"}
    return Material(
        name=facts.name,
        known=partial(_of_splits, dataset, keys, trained),
        calibrating=partial(_of_splits, dataset, queries, trained) if both else None,
        synthetic=facts.synthetic,
    )


def of_test_queries(dataset: PreparedDataset, trained: Trained = untrained) -> Material:
    """The specimens of a prepared data set that ask in its test partition, by which a promise is checked.

    Raises:
        MissingPathError: there is no prepared data set.
        DamagedError: it is not what was written.
    """
    facts = dataset.facts
    splits = [split for split in facts.splits.asking("test") if facts.num_specimens.get(split)]
    return Material(name=facts.name, known=partial(_of_splits, dataset, splits, trained), synthetic=facts.synthetic)


def _of_splits(
    dataset: PreparedDataset, splits: list[str], trained: Trained, tell: Tell, refuse: Refuse
) -> Iterator[list[Known]]:
    facts = dataset.facts
    total, done = sum(facts.num_specimens.get(split, 0) for split in splits), 0
    for batch in dataset.batches(splits, ["specimen_id", "image", "image_features", "barcode", *RANKS, "bin"]):
        for rows in _pieces(batch):
            yield [_known(row, row["image"], trained, facts.name) for row in rows]
            done += len(rows)
            tell(done, total)


def of_source(
    source: Source, trained: Trained = untrained, rules: Rules = AS_USUAL, looks: Looks | None = None
) -> Material:
    """The specimens of a FASTA file, a table, or whatever else `clibd data import` reads, cleaned as it does.

    Args:
        source: what to read.
        trained: of the run.
        rules: for names and barcodes.
        looks: what is read of images; None: nothing, as for a database without a model.
    """
    return Material(
        name=Path(source.name).name,
        known=partial(_of_records, source, trained, rules, looks),
        synthetic=source.synthetic_seed is not None,
        noticed=source.findings.sentences,
    )


def _of_records(
    source: Source, trained: Trained, rules: Rules, looks: Looks | None, tell: Tell, refuse: Refuse
) -> Iterator[list[Known]]:
    name, num_read, done = Path(source.name).name, 0, 0

    def on_record(count: int) -> None:  # most sources are read whole first, so that their number is known by then
        nonlocal num_read
        num_read = count
        tell(count, source.total)

    with ImageSource(source.root, source.follow_links) as pictures:
        for batch in cleaned(source, lambda refused: refuse(refused.identifier, refused.reason), on_record, rules):
            for rows in _pieces(batch):
                yield [_read(row, looks, pictures, trained, name) for row in rows]
                done += len(rows)
                tell(done, source.total or max(num_read, done))


def _read(row: Mapping[str, Any], looks: Looks | None, pictures: ImageSource, trained: Trained, source: str) -> Known:
    """A specimen with its features, or the first of its images, if that is to be read and can be."""
    if looks != "features":
        row = {**row, "image_features": None}
    if looks != "pictures" or row["image"] is None:
        return _known(row, None, trained, source)
    try:
        content = shrink(picture_at(row["image"].split("\n")[0], pictures), PICTURE_SIZE)
    except RecordError as error:
        return replace(_known(row, None, trained, source), lost={"image": str(error)})
    return _known(row, content, trained, source)


def _known(row: Mapping[str, Any], image: bytes | None, trained: Trained, source: str) -> Known:
    features = row["image_features"]
    given = image if features is None else np.array(features, dtype=np.float32)
    query = Query(row["specimen_id"], image=given, barcode=row["barcode"])
    return Known(query, {rank: row[rank] for rank in RANKS}, row["bin"], trained(row["species"]), source)


def _pieces(batch: pa.RecordBatch) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(batch), _AT_ONCE):
        yield batch.slice(start, _AT_ONCE).to_pylist()
