"""What a page asks of a database beside names: a specimen, its small image, and the taxa that one may choose from."""

import threading
from bisect import bisect_right
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.identification.contents import taxa
from workloads.identification.database import THUMBNAILS, Database
from workloads.spec import RANKS, Rank

_GROUPS = 8
"""Row groups of small images that stay in memory, of some thousand each."""


class Reference:
    """Looks things up in a database, for several readers at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._reading = threading.Lock()
        self._group = lru_cache(_GROUPS)(self._read_group)

    def specimen(self, identifier: str) -> dict[str, Any] | None:
        """A specimen's row of `specimens.parquet`, without its keys, and whether it has a small image."""
        table = self.database.specimens
        row = pc.index(table["specimen_id"], identifier).as_py()
        if row < 0:
            return None
        names = [name for name in table.column_names if not name.endswith("_key")]
        found: dict[str, Any] = table.select(names).slice(row, 1).to_pylist()[0]
        return {**found, "thumbnail": identifier in self._places}

    def thumbnail(self, identifier: str) -> bytes | None:
        """The small image of a specimen, as WebP; None where it has none."""
        if (place := self._places.get(identifier)) is None:
            return None
        with self._reading:
            group = bisect_right(self._starts, place) - 1
            content: bytes | None = self._group(group)["thumbnail"][place - self._starts[group]].as_py()
        return content

    def taxa_like(self, words: str, rank: Rank | None, under: str | None, most: int) -> list[dict[str, Any]]:
        """Taxa whose names contain some words, those that begin with them first.

        Args:
            words: in any case; empty for all.
            rank: of the taxa; None for every rank, the highest first.
            under: only those within this taxon.
            most: how many to give.

        Returns:
            For each its rank, its name, the names above it, and how many specimens the database has.

        Raises:
            UsageError: the database has no such taxon to look under.
        """
        first, others = list[dict[str, Any]](), list[dict[str, Any]]()
        for each in RANKS if rank is None else (rank,):
            table = self._taxa(each) if under is None else taxa(self.database, each, under)
            begins = pc.starts_with(table[each], words, ignore_case=True)
            contains = pc.match_substring(table[each], words, ignore_case=True)
            first += _told(table.filter(begins).slice(0, most), each)
            others += _told(table.filter(pc.and_not(contains, begins)).slice(0, most), each)
        return [*first, *others][:most]

    @lru_cache(len(RANKS))  # noqa: B019 - it lives as long as the server
    def _taxa(self, rank: Rank) -> pa.Table:
        return taxa(self.database, rank)

    @cached_property
    def _file(self) -> Any:
        """Not by its seal, for which all of it would be read; each page of it has a checksum of its own."""
        folder = self.database.folder
        return folder.open_parquet(THUMBNAILS) if folder.has(THUMBNAILS) else None

    @cached_property
    def _starts(self) -> list[int]:
        """Number of the first row of each group."""
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        return [0, *accumulate(sizes)][:-1]

    @cached_property
    def _places(self) -> dict[str, int]:
        """The row of each specimen's small image."""
        if self._file is None:
            return {}
        with self._reading:
            ids = self._file.read(columns=["specimen_id"])["specimen_id"].to_pylist()
        return {identifier: row for row, identifier in enumerate(ids)}

    def _read_group(self, group: int) -> pa.Table:
        return self._file.read_row_group(group, columns=["thumbnail"])


def _told(table: pa.Table, rank: Rank) -> list[dict[str, Any]]:
    above = RANKS[: RANKS.index(rank)]
    return [
        {"rank": rank, "name": row[rank], **{upper: row[upper] for upper in above}, "specimens": row["specimens"]}
        for row in table.to_pylist()
    ]
