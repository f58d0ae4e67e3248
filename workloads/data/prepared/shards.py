"""From rows of a partitioned specimen table to one shard of a prepared data set.

Which rows form which shard depends on the table alone, so any number of workers makes the same shards, byte for byte.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import KmerIds
from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import shrink
from workloads.data.prepared.dataset import SPECIMEN_TABLE, DatasetFacts
from workloads.data.specimens.barcode import authors_token_ids, placed, token_ids
from workloads.data.specimens.schema import DNA_IDS, FEATURES, PREPARED_SCHEMA, SPECIMEN_SCHEMA, VIEWS, lineage_text
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import SCHEME, TreePlace
from workloads.errors import RecordError
from workloads.spec import RANKS
from workloads.storage import Folder

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
    folder, report_name = Folder(target), f"{shard.path}.json"
    table = SpecimenTable(folder, SPECIMEN_TABLE)
    if not withheld and folder.has(shard.path) and folder.has(report_name):
        stored = folder.read_json(report_name)
        if not stored.pop("rejects") and not stored.pop("lost_views", ()):  # else made again: some may be mended
            return ShardReport(**stored, rejects=())
    digest = hashlib.sha256()
    num_rows, num_labelled = 0, dict.fromkeys(map(str, RANKS), 0)
    refused: list[tuple[str, str]] = []
    lost: list[tuple[str, str]] = []
    with (
        ImageSource(table.facts.root, table.facts.follow_links) as images,
        folder.parquet_writer(
            shard.path, _schema(facts), compression=_compression(facts), use_dictionary=[*RANKS]
        ) as writer,
    ):
        for batch in table.slices(shard.start, shard.stop, ROWS_AT_ONCE):
            prepared, rejects = _prepared_rows(pa.Table.from_batches([batch]), facts, images, withheld, lost)
            if len(prepared):
                writer.write_table(prepared, ROWS_AT_ONCE)
            views = prepared[VIEWS.name].combine_chunks().flatten() if facts.views else ()
            for value in (*prepared["specimen_id"].cast(pa.binary()), *prepared["image"], *views):
                content = value.as_py()
                digest.update(b"-" if content is None else b"%d " % len(content) + content)
            num_rows += len(prepared)
            for rank in RANKS:
                num_labelled[rank] += len(prepared) - prepared[rank].null_count
            refused += rejects
    report = ShardReport(shard.split, num_rows, num_labelled, digest.hexdigest(), tuple(refused), tuple(lost))
    folder.write_json(report_name, asdict(report))
    return report


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
            _check(row, facts)
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
    columns["text"] = pa.array([lineage_text(row) for row in table.select(RANKS).to_pylist()], pa.string())
    columns["dna_ids"] = columns["authors_dna_ids"] = pa.nulls(len(table), DNA_IDS)
    if facts.barcodes:
        columns["dna_ids"] = _fixed(token_ids(placed(table["barcode"].to_pylist(), facts.frame)))
        as_given = pc.coalesce(table["barcode_as_given"], table["barcode"]).to_pylist()
        columns["authors_dna_ids"] = _fixed(authors_token_ids(as_given))
    schema = _schema(facts)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema), rejects


def _schema(facts: DatasetFacts) -> pa.Schema:
    """Columns of the shards; those of a data set with one image a specimen are as they ever were."""
    return PREPARED_SCHEMA.append(VIEWS) if facts.views else PREPARED_SCHEMA


def _compression(facts: DatasetFacts) -> dict[str, str]:
    return {**_COMPRESSION, f"{VIEWS.name}.list.element": "none"} if facts.views else _COMPRESSION


_TEXTS = [name for name in SPECIMEN_SCHEMA.names if name not in FEATURES]


def _check(row: Mapping[str, Any], facts: DatasetFacts) -> None:
    """Refuse a specimen that lacks what the others have.

    Args:
        row: its texts, and the lengths of its features.
        facts: what the others have.

    Raises:
        RecordError: it does.
    """
    for name, size in (("image_features", facts.image_feature_size), ("dna_features", facts.dna_feature_size)):
        if size is not None and row[name] != size:
            had = "no" if row[name] is None else f"{row[name]}"
            raise RecordError(f"{had} {FEATURES[name]}, and the other specimens have {size}")
    has = {
        "image": facts.image_feature_size is not None or row["image"] is not None,
        "dna": not facts.barcodes or row["barcode"] is not None,
        "text": any(row[rank] for rank in RANKS),
    }
    if lacking := [name for name in facts.modalities if not has[name]]:
        raise RecordError(f"no {' and no '.join(lacking)}, which the other specimens have")


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
            content = draw(TreePlace.parse(reference)) if reference.startswith(SCHEME) else images.read(reference)
            read.append(shrink(content, facts.image_size))
        except RecordError as error:
            faults[reference] = error
    if faults and not read:
        raise next(iter(faults.values()))
    return read, faults


def _fixed(ids: KmerIds) -> pa.Array:
    """A matrix as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), ids.shape[1])
