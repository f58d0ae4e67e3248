"""Records that share an id: the first is the specimen's, and later ones complete it; what is left out is counted.

Of two barcodes that of COI-5P is kept, then the one with more known bases, then the first; images are kept as views.
Records of one id mostly stand together, and are one at once. Those that come later are held, in some 2 kB each, until
the first ones pass by again.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from workloads.data.sources.findings import Findings
from workloads.data.specimens.schema import FEATURES, SPECIMEN_SCHEMA, with_view
from workloads.errors import UsageError
from workloads.spec import RANKS

COMPLETED = "records that complete an earlier one of their id"
EQUAL = "records that repeat an id and say nothing new, left out"
OTHER_NAMES = "records that give an earlier id other names; the first names are kept"
MORE_IMAGES = "further images of specimens, kept as views"
OTHER_SPLITS = "records that give an earlier id another split; the first is kept"
FIRST_KEPT = "second barcodes of a specimen; the first is kept, which has no fewer known bases"
LONGER_KEPT = "second barcodes of a specimen; the later is kept, which has more known bases"
COI_5P_KEPT = "second barcodes of a specimen; the one that is COI-5P is kept"

_KNOWN = re.compile("[ACGTU]")
_BARCODE = ("barcode", "barcode_as_given", "marker")
_GAPS = ("image", *FEATURES, "bin", "split")
_MOST_HELD = 1_000_000

Row = dict[str, Any]
"""A row of the specimen table, with the key `marker` for how well that of its barcode fits."""


class Repeats:
    """Ids that have passed, and the later records of some of them."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._ids: set[str] = set()
        self._markers: dict[str, int] = {}
        self._later: dict[str, list[Row]] = {}
        self._num_later = 0
        self._last: Row = {}

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self._ids)

    def __contains__(self, identifier: object) -> bool:
        """Whether an id has passed."""
        return identifier in self._ids

    def is_first(self, row: Row) -> bool:
        """Whether a row is the first of its id; a later one completes it at once if it follows it, or else is held.

        Raises:
            UsageError: a million later ones are held.
        """
        identifier = row["specimen_id"]
        if identifier not in self._ids:
            self._ids.add(identifier)
            if row["marker"] == 2:  # most tables name no marker, or the same one everywhere
                self._markers[identifier] = row["marker"]
            self._last = row
            return True
        if identifier == self._last["specimen_id"]:
            self._complete(self._last, {key: value for key, value in row.items() if value is not None})
            if self._last["marker"] == 2:
                self._markers[identifier] = 2
            return False
        self._num_later += 1
        if self._num_later > _MOST_HELD:
            raise UsageError(
                f"more than {_MOST_HELD:,} records stand apart from the first of their id, such as of {identifier!r}: "
                "sort the table by its ids, so that they stand together"
            )
        self._later.setdefault(identifier, []).append({key: value for key, value in row.items() if value is not None})
        return False

    def completed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches of first rows, each completed by what came later under its id."""
        for batch in batches:
            known = (
                [identifier in self._later for identifier in batch["specimen_id"].to_pylist()] if self._later else []
            )
            yield self._folded(batch) if any(known) else batch

    def _folded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.to_pylist()
        for row in rows:
            row["marker"] = self._markers.get(row["specimen_id"], 1)
            for later in self._later.pop(row["specimen_id"], ()):
                self._complete(row, later)
        return pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA)

    def _complete(self, row: Row, later: Row) -> None:
        """Fill what the first record lacks, and choose among two barcodes."""
        identifier = row["specimen_id"]
        names = {rank: later[rank] for rank in RANKS if rank in later}
        differ = {rank for rank, name in names.items() if row[rank] not in (None, name)}
        gaps = [name for name in _GAPS if row[name] is None and name in later]
        gaps += [] if differ else [rank for rank in names if row[rank] is None]
        if row["barcode"] is None and "barcode" in later:
            gaps += _BARCODE
        row |= {name: later.get(name) for name in gaps}
        found = [COMPLETED] if gaps else []
        found += [OTHER_NAMES] if differ else []
        found += [OTHER_SPLITS] if later.get("split") not in (None, row["split"]) else []
        if (image := later.get("image")) is not None and image not in row["image"].split("\n"):
            row["image"] = with_view(row["image"], image)
            found.append(MORE_IMAGES)
        if later.get("barcode") not in (None, row["barcode"]):
            found.append(self._choose_barcode(row, later))
        for kind in found or [EQUAL]:
            self._findings.add(kind, identifier)

    def _choose_barcode(self, row: Row, later: Row) -> str:
        """Keep the better of two barcodes; the kind of what was decided."""
        ours, theirs = ((own["marker"], len(_KNOWN.findall(own["barcode"]))) for own in (row, later))
        if theirs > ours:
            row |= {name: later.get(name) for name in _BARCODE}
        if ours[0] != theirs[0]:
            return COI_5P_KEPT
        return LONGER_KEPT if theirs > ours else FIRST_KEPT
