"""From rows of a partitioned specimen table to one shard of a prepared data set.

Which rows form which shard depends on the table alone, so any number of workers makes the same shards, byte for byte.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import shrink
from workloads.data.prepared.frame import placed
from workloads.data.specimens.barcode import NUM_TOKENS, authors_token_ids, token_ids
from workloads.data.specimens.schema import FEATURES, SPECIMEN_SCHEMA, lineage_text
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import SCHEME, Place
from workloads.errors import RecordError
from workloads.spec import RANKS, Modality
from workloads.storage import Folder

ROWS_PER_GROUP = 512
"""Rows that a task holds at a time, and that a reader fetches at once: about 4 MB with images."""
SHARD_BYTES = 128 * 2**20
_LEAST_SHARDS = 64
_JPEG_BYTES_PER_PIXEL = 0.12
"""BIOSCAN-1M's crops of 256 pixels have 7.3 kB."""
_OTHER_BYTES = 1000

DNA_IDS = pa.list_(pa.int16(), NUM_TOKENS)
PREPARED_SCHEMA = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("image", pa.binary()),  # JPEG
        ("image_features", pa.list_(pa.float32())),
        ("barcode", pa.string()),
        ("dna_ids", DNA_IDS),
        ("authors_dna_ids", DNA_IDS),
        ("dna_features", pa.list_(pa.float32())),
        ("text", pa.string()),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
    ]
)
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
    num_labelled: Mapping[str, int]
    """Rows with a name, by rank."""
    content: str
    """SHA-256 over the rows' ids and images: what their specimen table does not tell."""
    rejects: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is done to every row of a data set alike, and what every specimen of it must have."""

    root: str
    """Folder that image references are relative to."""
    modalities: tuple[Modality, ...]
    """What every specimen has."""
    image_size: int
    """Shorter side that larger images are reduced to, pixels."""
    image_feature_size: int | None
    """Length of every specimen's image features; None where images are pixels."""
    barcodes: bool
    """Whether every specimen has a barcode."""
    frame: str
    """Consensus that gives barcodes their common frame."""
    dna_feature_size: int | None
    """Length of every specimen's DNA features; None without."""


def rows_per_shard(num_rows: int, recipe: Recipe) -> int:
    """Rows that make about 128 MB, or fewer, so that even a small data set has some 64 shards to share among workers.

    A whole number of row groups. Depends on the data set alone, never on the workers.
    """
    size: float = _OTHER_BYTES
    size += 4 * ((recipe.image_feature_size or 0) + (recipe.dna_feature_size or 0))
    if "image" in recipe.modalities and recipe.image_feature_size is None:
        size += _JPEG_BYTES_PER_PIXEL * recipe.image_size**2
    wanted = min(SHARD_BYTES / size, num_rows / _LEAST_SHARDS)
    return max(1, math.ceil(wanted / ROWS_PER_GROUP)) * ROWS_PER_GROUP


def plan_shards(counts: Mapping[str, int], size: int) -> list[Shard]:
    """The shards of a specimen table that is sorted by split.

    Args:
        counts: rows of each split, in the table's order.
        size: rows a shard, at most.
    """
    shards, first = [], 0
    for split, count in counts.items():
        for number, start in enumerate(range(0, count, size)):
            shards.append(Shard(split, number, first + start, first + min(start + size, count)))
        first += count
    return shards


def make_shard(table: SpecimenTable, shard: Shard, recipe: Recipe, target: Folder) -> ShardReport:
    """Prepare the rows of one shard and write it, unless it is there already.

    Args:
        table: specimens, sorted by split.
        shard: which of its rows.
        recipe: what is done to them.
        target: folder of the prepared data set.
    """
    folder, report_name = target / shard.folder, f"{shard.name}.json"
    if folder.has(shard.name) and folder.has(report_name):
        stored = folder.read_json(report_name)
        if not stored.pop("rejects"):  # one with rejects is made again, since they may have been mended
            return ShardReport(**stored, rejects=())
    digest = hashlib.sha256()
    num_rows, num_labelled = 0, dict.fromkeys(map(str, RANKS), 0)
    refused: list[tuple[str, str]] = []
    with (
        ImageSource(recipe.root) as images,
        folder.parquet_writer(shard.name, PREPARED_SCHEMA, compression=_COMPRESSION, use_dictionary=[*RANKS]) as writer,
    ):
        for batch in table.slices(shard.start, shard.stop, ROWS_PER_GROUP):
            prepared, rejects = prepare_rows(pa.Table.from_batches([batch]), recipe, images)
            if len(prepared):
                writer.write_table(prepared, ROWS_PER_GROUP)
            for value in (*prepared["specimen_id"].cast(pa.binary()), *prepared["image"]):
                content = value.as_py()
                digest.update(b"-" if content is None else b"%d " % len(content) + content)
            num_rows += len(prepared)
            for rank in RANKS:
                num_labelled[rank] += len(prepared) - prepared[rank].null_count
            refused += rejects
    report = ShardReport(shard.split, num_rows, num_labelled, digest.hexdigest(), tuple(refused))
    folder.write_json(report_name, asdict(report))
    return report


def prepare_rows(rows: pa.Table, recipe: Recipe, images: ImageSource) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Specimens as the towers take them, and those that cannot be taken with the reason."""
    rejects, kept, pictures = [], [], []
    inspected = rows.select(_TEXTS)
    for name in FEATURES:
        inspected = inspected.append_column(name, pc.list_value_length(rows[name]))
    for number, row in enumerate(inspected.to_pylist()):
        try:
            _check(row, recipe)
            pictures.append(_picture(row["image"], recipe, images))
            kept.append(number)
        except RecordError as error:
            rejects.append((row["specimen_id"], str(error)))
    table = rows.take(pa.array(kept, pa.int64()))
    columns = {name: table[name] for name in ("specimen_id", *FEATURES, "barcode", *RANKS, "bin")}
    columns["image"] = pa.array(pictures, pa.binary())
    columns["text"] = pa.array([lineage_text(row) for row in table.select(RANKS).to_pylist()], pa.string())
    columns["dna_ids"] = columns["authors_dna_ids"] = pa.nulls(len(table), DNA_IDS)
    if recipe.barcodes:
        columns["dna_ids"] = _fixed(token_ids(placed(table["barcode"].to_pylist(), recipe.frame)))
        as_given = pc.coalesce(table["barcode_as_given"], table["barcode"]).to_pylist()
        columns["authors_dna_ids"] = _fixed(authors_token_ids(as_given))
    return pa.table({name: columns[name] for name in PREPARED_SCHEMA.names}, schema=PREPARED_SCHEMA), rejects


_TEXTS = [name for name in SPECIMEN_SCHEMA.names if name not in FEATURES]


def _check(row: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse a specimen that lacks what the others have.

    Args:
        row: its texts, and the lengths of its features.
        recipe: what the others have.

    Raises:
        RecordError: it does.
    """
    for name, size in (("image_features", recipe.image_feature_size), ("dna_features", recipe.dna_feature_size)):
        if size is not None and row[name] != size:
            had = "no" if row[name] is None else f"{row[name]}"
            raise RecordError(f"{had} {FEATURES[name]}, and the other specimens have {size}")
    has = {
        "image": recipe.image_feature_size is not None or row["image"] is not None,
        "dna": not recipe.barcodes or row["barcode"] is not None,
        "text": any(row[rank] for rank in RANKS),
    }
    if lacking := [name for name in recipe.modalities if not has[name]]:
        raise RecordError(f"no {' and no '.join(lacking)}, which the other specimens have")


def _picture(reference: str | None, recipe: Recipe, images: ImageSource) -> bytes | None:
    """The image of a specimen, none where the data set has features instead.

    Raises:
        RecordError: it cannot be read, or does not decode.
    """
    if recipe.image_feature_size is not None or reference is None or "image" not in recipe.modalities:
        return None
    content = draw(Place.parse(reference)) if reference.startswith(SCHEME) else images.read(reference)
    return shrink(content, recipe.image_size)


def _fixed(ids: npt.NDArray[np.int16]) -> pa.Array:
    """A matrix as a column of lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), ids.shape[1])
