"""What an evaluation leaves for looking at: pages of it need neither the data set nor embeddings afterwards.

    shown.parquet   specimen_id, thumbnail, barcode: some of its queries, each with its nearest keys
    map.parquet     specimen_id, partition, kind, modality, x, y: its embeddings in a plane

No number comes from them. `workloads.evaluation.looking` makes them, and evaluation.json says under `shown` and `map`
what of how much is in them. Folders of earlier versions have neither.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.errors import DamagedError
from workloads.run_files import read_rows
from workloads.seals import sealed_folder
from workloads.spec import MODALITIES
from workloads.storage import Folder

SHOWN, MAP = "shown.parquet", "map.parquet"
MOST_SHOWN = 2_000
"""Specimens that are shown; their thumbnails and barcodes take some 2 MB."""
LONGEST_SIDE = 96
"""Pixels of a thumbnail."""
MOST_POINTS = 1_000_000
"""Points of a map."""
SHOWN_SCHEMA = pa.schema({"specimen_id": pa.string(), "thumbnail": pa.binary(), "barcode": pa.string()})
MAP_SCHEMA = pa.schema(
    {
        **dict.fromkeys(("specimen_id", "partition", "kind", "modality"), pa.string()),
        **dict.fromkeys(("x", "y"), pa.float32()),
    }
)
QUERY, KEY = "query", "key"
"""Kinds of points; a key is of no partition."""
_MOST_BYTES = 3 * LONGEST_SIDE**2
"""Of a thumbnail: as many as its pixels have."""


class Shown:
    """Thumbnails and barcodes of the specimens that an evaluation shows."""

    def __init__(self, table: pa.Table) -> None:
        """Take the rows of `SHOWN_SCHEMA`."""
        self._table = table

    @cached_property
    def ids(self) -> Sequence[str]:
        """Of the specimens, as they were chosen: outcomes take turns, and a query comes before its nearest keys."""
        return tuple(self._table["specimen_id"].to_pylist())

    def thumbnail(self, specimen: str) -> bytes | None:
        """A WebP of at most 96 pixels a side; None of a specimen that has no image, or is not shown."""
        content = self._of(specimen, "thumbnail")
        return content if isinstance(content, bytes) else None

    def barcode(self, specimen: str) -> str | None:
        """The barcode as it was read; None of a specimen that has none, or is not shown."""
        text = self._of(specimen, "barcode")
        return text if isinstance(text, str) else None

    def rows_of(self, ids: Sequence[str]) -> pa.Table:
        """The rows of those of the specimens that are shown, in their order."""
        return self._table.take([self._rows[specimen] for specimen in ids if specimen in self._rows])

    def _of(self, specimen: str, column: str) -> object:
        row = self._rows.get(specimen)
        return None if row is None else self._table[column][row].as_py()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {specimen: row for row, specimen in enumerate(self.ids)}


def read_shown(folder: Folder) -> Shown | None:
    """What an evaluation shows; None where it has kept nothing, as those of earlier versions.

    Args:
        folder: a run, or an evaluation in it.

    Raises:
        DamagedError: the file is not what was written.
    """
    folder = sealed_folder(folder)
    if not folder.has(SHOWN):
        return None
    table = read_rows(folder, SHOWN, SHOWN_SCHEMA, nullable=("thumbnail", "barcode"), least=0)
    if reason := _not_shown(table):
        raise DamagedError(f"{folder}/{SHOWN}", reason)
    return Shown(table)


def _not_shown(table: pa.Table) -> str:
    """Why an evaluation cannot have shown these rows."""
    if len(table) > MOST_SHOWN:
        return f"it has {len(table):,} specimens, and {MOST_SHOWN:,} are shown at most"
    if len(pc.unique(table["specimen_id"])) < len(table):
        return "a specimen is there twice"
    for content in table["thumbnail"].drop_null():
        start = content.as_buffer()[:12].to_pybytes()
        if start[:4] + start[8:] != b"RIFFWEBP" or len(content.as_buffer()) > _MOST_BYTES:
            return "a thumbnail is none"
    return ""


def read_map(folder: Folder) -> pa.Table | None:
    """The points of an evaluation, each once; None where it has kept none, as those of earlier versions.

    The table's metadata has `method` (`umap` or `pca`), `points` (how many there are) and `of` (how many there could
    be), as evaluation.json has under `map`.

    Args:
        folder: a run, or an evaluation in it.

    Raises:
        DamagedError: the file is not what was written.
    """
    folder = sealed_folder(folder)
    if not folder.has(MAP):
        return None
    table = read_rows(folder, MAP, MAP_SCHEMA, nullable=("partition",))
    if reason := _no_map(table):
        raise DamagedError(f"{folder}/{MAP}", reason)
    return table


def _no_map(table: pa.Table) -> str:
    """Why no evaluation can have left these points."""
    if len(table) > MOST_POINTS:
        return f"it has {len(table):,} points, and there are {MOST_POINTS:,} at most"
    for name, known in (("kind", (QUERY, KEY)), ("modality", MODALITIES)):
        if not pc.all(pc.is_in(table[name], value_set=pa.array(known, pa.string()))).as_py():
            return f"there is no such {name}"
    if not pc.equal(table["kind"], KEY).equals(pc.is_null(table["partition"])):
        return "a query is of no partition, or a key is of one"
    if not all(np.isfinite(np.asarray(table[name])).all() for name in ("x", "y")):
        return "a point lies nowhere"
    if len(table.group_by(["specimen_id", "modality"]).aggregate([])) < len(table):
        return "a point is there twice"
    return ""
