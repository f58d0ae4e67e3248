"""From rows of a partitioned specimen table to one shard of a prepared data set.

Which rows form which shard depends on the table alone, so any number of workers makes the same shards, byte for byte.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices, KmerIds
from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import shrink
from workloads.data.prepared.dataset import SPECIES, SPECIMEN_TABLE, DatasetFacts
from workloads.data.specimens.barcode import authors_token_ids, placed, token_ids
from workloads.data.specimens.schema import DNA_IDS, FEATURES, PREPARED_SCHEMA, SPECIMEN_SCHEMA, VIEWS, lineage_text
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import SCHEME, TreePlace
from workloads.errors import DamagedError, RecordError
from workloads.seals import with_seal, without_seal
from workloads.spec import RANKS
from workloads.storage import Folder, parquet_into

ROWS_AT_ONCE = 512
"""Rows that a task holds at a time, and that a reader fetches at once: about 4 MB with images."""
_SHARD_BYTES = 128 * 2**20
_LEAST_SHARDS = 64
_JPEG_BYTES_PER_PIXEL = 0.12
"""BIOSCAN-1M's crops of 256 pixels have 7.3 kB."""
_OTHER_BYTES = 1000

NO_KEY_LEFT = "a query without a key, as all keys of its species were refused"

_COMPRESSION = {
    "image": "none",  # JPEG does not become smaller
    **dict.fromkeys(("specimen_id", "barcode", "text", *RANKS, "bin"), "zstd"),
    **{f"{name}.list.element": "zstd" for name in (*FEATURES, "dna_ids", "authors_dna_ids")},
}


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of rows of one split."""

    split: str
    number: int
    start: int
    """First row, counted within the specimen table, which is sorted by split."""
    stop: int

    @property
    def path(self) -> str:
        """The shard's place in the data set."""
        return f"split={self.split}/part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard's rows; kept beside the shard, so a finished shard is not made again."""

    split: str
    num_rows: int
    num_labelled: Mapping[str, int]
    """Rows with a name, by rank."""
    content: str
    """SHA-256 over the rows' ids and images: what their specimen table does not tell."""
    rejects: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    """Specimens that are good as they are, but have too little of what the others have, with the reason."""
    having: Mapping[str, int]
    """How many have what, as in `DatasetFacts.having`."""
    sha256: str = ""
    """Of the shard's file, as it was written."""
    lost_views: tuple[tuple[str, str], ...] = ()
    """(specimen, reason) of images that cannot be read beside another one of their specimen."""


def plan_shards(facts: DatasetFacts) -> list[Shard]:
    """The shards of a specimen table that is sorted by split.

    Each has a whole number of row groups, about 128 MB, or fewer, so that even a small data set has some 64 shards to
    share among workers. Depends on the data set alone, never on the workers.
    """
    row_bytes: float = _OTHER_BYTES + 4 * ((facts.image_feature_size or 0) + (facts.dna_feature_size or 0))
    if "image" in facts.modalities and facts.image_feature_size is None:
        row_bytes += _JPEG_BYTES_PER_PIXEL * facts.image_size**2
    wanted = min(_SHARD_BYTES / row_bytes, sum(facts.num_specimens.values()) / _LEAST_SHARDS)
    size = max(1, math.ceil(wanted / ROWS_AT_ONCE)) * ROWS_AT_ONCE
    shards, first = [], 0
    for split, count in facts.num_specimens.items():
        for number, start in enumerate(range(0, count, size)):
            shards.append(Shard(split, number, first + start, first + min(start + size, count)))
        first += count
    return shards


def make_shard(target: str, facts: DatasetFacts, shard: Shard, withheld: Collection[str] = frozenset()) -> ShardReport:
    """Prepare the rows of one shard and write it, unless it is there already; travels to the processes that do it.

    Args:
        target: folder of the prepared data set, with its specimen table, which is sorted by split.
        facts: what is done to every row alike, and what every specimen must have.
        shard: which of the rows.
        withheld: ids of queries whose keys have been refused; a shard in which some are is made again.
    """
    folder = Folder(target)
    table = SpecimenTable(folder, SPECIMEN_TABLE)
    if not withheld and (kept := _kept(folder, shard)):
        return kept
    digest = hashlib.sha256()
    num_rows, num_labelled, having = 0, dict.fromkeys(map(str, RANKS), 0), Counter[str]()
    refused: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    lost: list[tuple[str, str]] = []
    with (
        ImageSource(table.facts.root, table.facts.follow_links) as images,
        folder.aside(shard.path) as aside,
    ):
        how: dict[str, Any] = {"compression": _compression(facts), "use_dictionary": [*RANKS]}
        with parquet_into(aside, _schema(facts), **how) as writer:
            for batch in table.slices(shard.start, shard.stop, ROWS_AT_ONCE):
                rows = pa.Table.from_batches([batch])
                enough, lacking = _with_enough(rows, facts)
                prepared, rejects = _prepared_rows(
                    rows.take(pa.array(enough, pa.int64())), facts, images, withheld, lost
                )
                if len(prepared):
                    writer.write_table(prepared, ROWS_AT_ONCE)
                views = prepared[VIEWS.name].combine_chunks().flatten() if facts.views else ()
                for value in (*prepared["specimen_id"].cast(pa.binary()), *prepared["image"], *views):
                    content = value.as_py()
                    digest.update(b"-" if content is None else b"%d " % len(content) + content)
                num_rows += len(prepared)
                having.update(_whats(prepared, facts))
                for rank in RANKS:
                    num_labelled[rank] += len(prepared) - prepared[rank].null_count
                refused += rejects
                left_out += lacking
        written = Folder(Path(aside).parent).digest(Path(aside).name)
    report = ShardReport(
        split=shard.split,
        num_rows=num_rows,
        num_labelled=num_labelled,
        content=digest.hexdigest(),
        rejects=tuple(refused),
        left_out=tuple(left_out),
        having=dict(having),
        sha256=written,
        lost_views=tuple(lost),
    )
    folder.write_json(f"{shard.path}.json", with_seal(asdict(report)))
    return report


def _kept(folder: Folder, shard: Shard) -> ShardReport | None:
    """What became of the rows of a shard that is there and whole.

    None where it is made again: as it is damaged, or as what was refused may have been mended since.
    """
    report_name = f"{shard.path}.json"
    if not (folder.has(shard.path) and folder.has(report_name)):
        return None
    try:
        stored = without_seal(folder.read_json(report_name), report_name)
        if stored.pop("rejects") or stored.pop("lost_views", ()) or stored["sha256"] != folder.digest(shard.path):
            return None
        too_little = tuple((identifier, reason) for identifier, reason in stored.pop("left_out"))
        return ShardReport(**stored, rejects=(), left_out=too_little)
    except (DamagedError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _prepared_rows(
    rows: pa.Table,
    facts: DatasetFacts,
    images: ImageSource,
    withheld: Collection[str],
    lost: list[tuple[str, str]],
) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Specimens as the towers take them, and those that cannot be taken with the reason; views are added to `lost`."""
    rejects, kept, pictures = [], [], []
    inspected = rows.select(_TEXTS)
    for name in FEATURES:
        inspected = inspected.append_column(name, pc.list_value_length(rows[name]))
    for number, row in enumerate(inspected.to_pylist()):
        try:
            _check_features(row, facts)
            if row["specimen_id"] in withheld:
                raise RecordError(NO_KEY_LEFT)
            own, faults = _pictures(row["image"], facts, images)
            pictures.append(own)
            lost += [(row["specimen_id"], f"{reference}: {fault}") for reference, fault in faults.items()]
            kept.append(number)
        except RecordError as error:
            rejects.append((row["specimen_id"], str(error)))
    table = rows.take(pa.array(kept, pa.int64()))
    columns = {name: table[name] for name in ("specimen_id", *FEATURES, "barcode", *RANKS, "bin")}
    columns["image"] = pa.array([own[0] if own else None for own in pictures], pa.binary())
    columns[VIEWS.name] = pa.array([own[1:] for own in pictures], VIEWS.type)
    unnamed = None if "text" in facts.modalities else ""  # where nobody has a name the column is no modality
    texts = [lineage_text(row) or unnamed for row in table.select(RANKS).to_pylist()]
    columns["text"] = pa.array(texts, pa.string())
    columns["dna_ids"] = columns["authors_dna_ids"] = pa.nulls(len(table), DNA_IDS)
    if facts.barcodes:
        there = table["barcode"].is_valid()
        own = table.filter(there)
        as_given = pc.coalesce(own["barcode_as_given"], own["barcode"]).to_pylist()
        columns["dna_ids"] = _fixed(token_ids(placed(own["barcode"].to_pylist(), facts.frame)), there)
        columns["authors_dna_ids"] = _fixed(authors_token_ids(as_given), there)
    schema = _schema(facts)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema), rejects


def _schema(facts: DatasetFacts) -> pa.Schema:
    """Columns of the shards; those of a data set with one image a specimen are as they ever were."""
    return PREPARED_SCHEMA.append(VIEWS) if facts.views else PREPARED_SCHEMA


def _compression(facts: DatasetFacts) -> dict[str, str]:
    return {**_COMPRESSION, f"{VIEWS.name}.list.element": "none"} if facts.views else _COMPRESSION


_TEXTS = [name for name in SPECIMEN_SCHEMA.names if name not in FEATURES]


def _check_features(row: Mapping[str, Any], facts: DatasetFacts) -> None:
    """Refuse features that are not as long as those of the others, and half of what stands for a barcode.

    Args:
        row: texts of a specimen, and the lengths of its features.
        facts: what the others have.

    Raises:
        RecordError: they are not.
    """
    for name, size in (("image_features", facts.image_feature_size), ("dna_features", facts.dna_feature_size)):
        half = name == "dna_features" and facts.barcodes and row["barcode"] is not None
        if size is not None and row[name] != size and (half or row[name] is not None):
            had = "no" if row[name] is None else f"{row[name]}"
            raise RecordError(f"{had} {FEATURES[name]}, and the other specimens have {size}")
    if facts.barcodes and facts.dna_feature_size is not None and row["barcode"] is None and row["dna_features"]:
        raise RecordError("no dna, which the other specimens have")


def _columns(facts: DatasetFacts) -> dict[str, str]:
    """The columns of the specimen table that say who has which modality; names at any rank are text."""
    return {
        "image": "image" if facts.image_feature_size is None else "image_features",
        "dna": "barcode" if facts.barcodes else "dna_features",
    }


def _with_enough(rows: pa.Table, facts: DatasetFacts) -> tuple[Indices, list[tuple[str, str]]]:
    """Which specimens have enough of what the others have, and the others with the reason.

    A specimen trains in the pairs of modalities that it has, and is a query or a key in each modality. So one that
    only trains needs two, where the data set has as many, and any other needs one; unless all are asked of each.
    """
    has = {name: np.asarray(rows[column].is_valid()) for name, column in _columns(facts).items()}
    has["text"] = np.any([rows[rank].is_valid() for rank in RANKS], axis=0)
    splits, there = facts.splits, np.stack([has[name] for name in facts.modalities], axis=1)
    trains = np.isin(rows["split"].to_pylist(), [*{*splits.training} - {*splits.keys, *splits.asking()}])
    needed = np.where(trains, min(2, len(facts.modalities)), 1)
    enough = there.all(axis=1) if facts.complete else there.sum(axis=1) >= needed
    left_out = []
    for row in np.flatnonzero(~enough).tolist():
        lacking = " and no ".join(name for name, own in zip(facts.modalities, there[row], strict=True) if not own)
        why = "and one that trains needs two" if trains[row] else "and nothing else is left of it"
        reason = f"no {lacking}, {'which the other specimens have' if facts.complete else why}"
        left_out.append((rows["specimen_id"][row].as_py(), reason))
    return np.flatnonzero(enough), left_out


def _whats(rows: pa.Table, facts: DatasetFacts) -> Iterator[str]:
    """What each of some prepared specimens has, as in `DatasetFacts.having`."""
    columns: dict[str, str] = {"text": "text", SPECIES: SPECIES, **_columns(facts)}
    names = [*facts.modalities, SPECIES]
    has = [rows[columns[name]].is_valid().to_pylist() for name in names]
    return ("+".join(name for name, own in zip(names, row, strict=True) if own) for row in zip(*has, strict=True))


def _pictures(
    references: str | None, facts: DatasetFacts, images: ImageSource
) -> tuple[list[bytes], dict[str, RecordError]]:
    """The images of a specimen that can be read, in their order, and what is wrong with the others, by reference.

    There are none where the data set has features instead.

    Raises:
        RecordError: the first of them cannot be read or does not decode, and no other one does.
    """
    if facts.image_feature_size is not None or references is None or "image" not in facts.modalities:
        return [], {}
    read: list[bytes] = []
    faults: dict[str, RecordError] = {}
    for reference in references.split("\n"):
        try:
            read.append(shrink(picture_at(reference, images), facts.image_size))
        except RecordError as error:
            faults[reference] = error
    if faults and not read:
        raise next(iter(faults.values()))
    return read, faults


def picture_at(reference: str, images: ImageSource) -> bytes:
    """The encoded image of a reference, drawn where it is a synthetic insect's.

    Raises:
        RecordError: as `ImageSource.read`.
    """
    return draw(TreePlace.parse(reference)) if reference.startswith(SCHEME) else images.read(reference)


def _fixed(ids: KmerIds, there: pa.ChunkedArray) -> pa.Array:
    """A matrix as a column of lists of one length, null where there is no row of it."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), ids.shape[1])
    if len(column) == len(there):
        return column
    places = np.where(there, np.cumsum(there) - 1, 0)
    return column.take(pa.array(places, mask=~np.asarray(there)))
