"""From any source to a specimen table: records are cleaned, bad ones listed, the rest streams to disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.barcode import clean_barcode
from workloads.data.specimens.schema import (
    FEATURES,
    PROTOCOLS,
    SPECIMEN_SCHEMA,
    clean_name,
    filled_columns,
    offered,
    stands_for_nothing,
)
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.errors import RecordError, SourceError
from workloads.spec import RANKS, Modality

_BATCH = 4096
_KEPT_REJECTS = 1000
"""Rejects that a report holds; a source of millions may have millions."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a source."""

    num_specimens: int
    modalities: tuple[Modality, ...]
    num_rejects: int
    rejects: tuple[tuple[str, str], ...]
    """(specimen, reason) of the first thousand refused records; `on_reject` was told all of them."""
    notes: tuple[str, ...]


def collect(
    source: Source,
    target: SpecimenTable,
    on_record: Callable[[int], None] = lambda done: None,
    on_reject: Callable[[str, str], None] = lambda identifier, reason: None,
) -> ImportReport:
    """Clean every record of a source into a specimen table, written whole or not at all.

    Args:
        source: where the specimens come from.
        target: the table to write.
        on_record: told now and then how many records have been read.
        on_reject: told specimen and reason of each refused record.

    Raises:
        SourceError: not one record can be used, or the source breaks off.
    """
    facts = TableFacts(
        source=source.name,
        root=source.root,
        protocol=source.protocol,
        partition="source" if source.has_splits else None,
        synthetic_seed=source.synthetic_seed,
    )
    cleaner = _Cleaner(PROTOCOLS[source.protocol].splits if source.has_splits else (), on_reject)
    with target.writer(facts) as write:
        for number, record in enumerate(source.records, start=1):
            cleaner.take(record, number)
            if len(cleaner.kept) == _BATCH:
                write(cleaner.batch())
                on_record(number)
        if not cleaner.seen_ids:
            first = f"the first: {cleaner.rejects[0][1]}" if cleaner.rejects else "it is empty"
            reason = f"no record can be used ({first}). Labels and barcodes come from columns, which --map can name"
            raise SourceError(source.name, "", reason)
        write(cleaner.batch())
    rejects = tuple(cleaner.rejects)
    return ImportReport(
        len(cleaner.seen_ids), offered(cleaner.filled), cleaner.num_rejects, rejects, tuple(source.notes)
    )


class _Cleaner:
    """Cleaned records on their way to the table, and the refused ones."""

    def __init__(self, splits: tuple[str, ...], on_reject: Callable[[str, str], None]) -> None:
        self.kept: list[dict[str, Any]] = []
        self.num_rejects = 0
        self._on_reject = on_reject
        self.rejects: list[tuple[str, str]] = []
        self.filled: set[str] = set()
        self._splits = splits
        self.seen_ids: set[str] = set()

    def take(self, record: RawRecord | Refused, number: int) -> None:
        if isinstance(record, Refused):
            self._reject(record.identifier, record.reason)
            return
        identifier = (_said(str(record.get("specimen_id") or "")) or "").strip()
        where = record.get("where")
        try:
            self.kept.append(self._clean(identifier, record))
        except RecordError as error:
            self._reject(identifier or f"record {number}", f"{where}: {error}" if where else str(error))
        else:
            self.seen_ids.add(identifier)

    def _reject(self, identifier: str, reason: str) -> None:
        self.num_rejects += 1
        if self.num_rejects <= _KEPT_REJECTS:
            self.rejects.append((identifier, reason))
        self._on_reject(identifier, reason)

    def batch(self) -> pa.RecordBatch:
        """The kept records as a batch; the next ones start a new one."""
        batch = pa.RecordBatch.from_pylist(self.kept, schema=SPECIMEN_SCHEMA)
        self.filled |= filled_columns(batch)
        self.kept = []
        return batch

    def _clean(self, identifier: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        """One row of the specimen table.

        Raises:
            RecordError: no or a repeated id, a barcode or name that is none, no label at any rank, features with NaN,
                or a split that does not exist.
        """
        if not identifier:
            raise RecordError("no specimen id")
        if not identifier.isprintable() or len(identifier) > 200:
            raise RecordError(f"the specimen id {identifier[:40]!r} is not printable, or longer than 200 characters")
        if identifier in self.seen_ids:
            raise RecordError("a second record with this id")
        row: dict[str, Any] = {rank: clean_name(raw.get(rank)) for rank in RANKS}
        if not any(row.values()):
            raise RecordError("no label at any rank")
        given, image = (_said(raw.get(name)) for name in ("barcode", "image"))
        barcode = clean_barcode(given) if given else None
        features = {name: raw.get(name) for name in FEATURES}
        if odd := [name for name, own in features.items() if own is not None and not np.isfinite(own).all()]:
            raise RecordError(f"the {FEATURES[odd[0]]} are not finite")
        split = raw.get("split")
        if self._splits and split not in self._splits:
            raise RecordError(f"the split {split!r} does not exist")
        row |= {
            "specimen_id": identifier,
            "image": image,
            **features,
            "barcode": barcode,
            "barcode_as_given": given if barcode != given else None,
            "bin": clean_name(raw.get("bin")),
            "split": split if self._splits else None,
        }
        if all(value is None for value in (image, barcode, *features.values())):
            raise RecordError("neither an image nor a barcode, nor features of one")
        return row


def _said(value: str | None) -> str | None:
    """A value, or None for the words that stand for a missing one: `NA` is no id, and no barcode of one base."""
    return None if value is None or stands_for_nothing(value) else value
