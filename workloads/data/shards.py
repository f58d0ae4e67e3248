"""From rows of a partitioned specimen table to one shard of a prepared data set.

Which rows form which shard depends on the table alone, so any number of workers makes the same shards.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.barcode import token_ids
from workloads.data.frame import place
from workloads.data.images import read_image_file, shrink
from workloads.data.schema import SPECIMEN_SCHEMA, SPLITS, lineage_text
from workloads.data.synthetic import SCHEME, Place
from workloads.data.synthetic_images import draw
from workloads.errors import RecordError, UsageError
from workloads.spec import RANKS, Modality
from workloads.storage import Folder

ROWS_PER_SHARD = 512

PREPARED_SCHEMA = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("image", pa.binary()),  # JPEG
        ("image_features", pa.list_(pa.float32())),
        ("barcode", pa.string()),
        ("dna_ids", pa.list_(pa.int16())),
        ("text", pa.string()),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of rows of one split."""

    split: str
    number: int
    start: int
    """First row, counted within the split."""
    stop: int

    @property
    def folder(self) -> str:
        """Folder of the shard inside the data set."""
        return f"split={self.split}"

    @property
    def name(self) -> str:
        """File name of the shard."""
        return f"part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard's rows; kept beside the shard, so a finished shard is not made again."""

    split: str
    num_rows: int
    rejects: tuple[tuple[str, str], ...]


def plan_shards(table: pa.Table, rows_per_shard: int = ROWS_PER_SHARD) -> list[Shard]:
    """The shards of a partitioned specimen table.

    Raises:
        UsageError: a specimen has no split, or one that does not exist.
    """
    counts = {item["values"]: item["counts"] for item in pc.value_counts(table["split"]).to_pylist()}
    if unknown := set(counts) - set(SPLITS):
        raise UsageError(
            f"the specimen table has no split for some specimens ({', '.join(map(str, unknown))}); "
            "run `clibd data partition` first"
        )
    return [
        Shard(split, number, start, min(start + rows_per_shard, counts[split]))
        for split in SPLITS
        if split in counts
        for number, start in enumerate(range(0, counts[split], rows_per_shard))
    ]


def make_shard(
    rows: pa.Table,
    shard: Shard,
    root: str,
    image_size: int,
    modalities: tuple[Modality, ...],
    frame: str,
    target: Folder,
) -> ShardReport:
    """Prepare the rows of one shard and write it, unless it is there already.

    Args:
        rows: the shard's rows of the specimen table.
        root: folder that image names are relative to.
        image_size: shorter side that larger images are reduced to, pixels.
        modalities: what every specimen of the data set must have.
        frame: consensus that gives barcodes their common frame.
        target: folder of the prepared data set.
    """
    folder, report_name = target / shard.folder, f"{shard.name}.json"
    if folder.has(shard.name) and folder.has(report_name):
        stored = folder.read_json(report_name)
        return ShardReport(shard.split, stored["num_rows"], tuple((a, b) for a, b in stored["rejects"]))
    kept, rejects = [], []
    for row in rows.to_pylist():
        try:
            kept.append(_prepare(row, root, image_size, modalities))
        except RecordError as error:
            rejects.append((row["specimen_id"], str(error)))
    if "dna" in modalities:
        for prepared, ids in zip(kept, token_ids([place(row["barcode"], frame) for row in kept]), strict=True):
            prepared["dna_ids"] = ids
    report = ShardReport(shard.split, len(kept), tuple(rejects))
    folder.write_table(shard.name, pa.Table.from_pylist(kept, schema=PREPARED_SCHEMA))
    folder.write_json(report_name, asdict(report))
    return report


def _prepare(row: Mapping[str, Any], root: str, image_size: int, modalities: tuple[Modality, ...]) -> dict[str, Any]:
    """One specimen as the towers take it, its barcode still without token ids.

    Raises:
        RecordError: it lacks what the other specimens have, or its image does not decode.
    """
    has = {
        "image": row["image"] is not None or row["image_features"] is not None,
        "dna": row["barcode"] is not None,
        "text": any(row[rank] for rank in RANKS),
    }
    if lacking := [name for name in modalities if not has[name]]:
        raise RecordError(f"no {' and no '.join(lacking)}, which the other specimens have")
    image = None
    if row["image_features"] is None and "image" in modalities:
        image = shrink(_image_bytes(row["image"], root), image_size)
    copied = ("specimen_id", "image_features", "barcode", *RANKS, "bin")
    return {name: row[name] for name in copied} | {"image": image, "dna_ids": None, "text": lineage_text(row)}


def _image_bytes(reference: str, root: str) -> bytes:
    if reference.startswith(SCHEME):
        return draw(Place.parse(reference))
    return read_image_file(Path(root), reference)


def rows_of_shards(table: pa.Table, shards: list[Shard]) -> Iterator[tuple[Shard, pa.Table]]:
    """Each shard with its rows, in the order of the plan."""
    by_split = {
        split: table.filter(pc.equal(table["split"], split)).select(SPECIMEN_SCHEMA.names)
        for split in {shard.split for shard in shards}
    }
    for shard in shards:
        yield shard, by_split[shard.split].slice(shard.start, shard.stop - shard.start)
