"""From any source to a specimen table: records are cleaned, bad ones listed, the rest streams to disk."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from workloads.arrays import Floats
from workloads.data.sources.findings import Findings
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.sources.views import with_views
from workloads.data.specimens.barcode import clean_barcode
from workloads.data.specimens.barcode_rule import AS_IT_COMES, BarcodeRule, usable
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
    rejects: tuple[tuple[str, str], ...]
    """(specimen, reason) of the first thousand refused records; `on_reject` was told all of them."""
    notes: tuple[str, ...]
    findings: Findings = field(default_factory=Findings)


def collect(
    source: Source,
    target: SpecimenTable,
    on_record: Callable[[int], None] = lambda done: None,
    on_reject: Callable[[str, str], None] = lambda identifier, reason: None,
    barcodes: BarcodeRule = AS_IT_COMES,
) -> ImportReport:
    """Clean every record of a source into a specimen table, written whole or not at all.

    Args:
        source: where the specimens come from.
        target: the table to write.
        on_record: told now and then how many records have been read.
        on_reject: told specimen and reason of each refused record.
        barcodes: what becomes of barcodes; those of a published data set or of synthetic insects are only counted.

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
    splits = PROTOCOLS[source.protocol].splits if source.has_splits else ()
    rule = _BarcodeCleaning(replace(barcodes, mends=barcodes.mends and not source.published), source.findings)
    kept: list[dict[str, Any]] = []
    rejects: list[tuple[str, str]] = []
    ids, filled, sizes = set[str](), set[str](), dict[str, int]()
    with target.writer(facts) as write:
        for number, record in enumerate(with_views(source.records), start=1):
            row = record if isinstance(record, Refused) else _cleaned(record, number, splits, ids, sizes, rule)
            if isinstance(row, Refused):
                if len(rejects) < _KEPT_REJECTS:
                    rejects.append((row.identifier, row.reason))
                on_reject(row.identifier, row.reason)
                continue
            if row["image"] and "\n" in row["image"]:
                source.findings.add("specimens with several images, which are kept as views", row["specimen_id"])
            ids.add(row["specimen_id"])
            kept.append(row)
            if len(kept) == _BATCH:
                write(_batch(kept, filled))
                kept = []
                on_record(number)
        if not ids:
            first = f"the first: {rejects[0][1]}" if rejects else "it is empty"
            reason = f"no record can be used ({first}). Labels and barcodes come from columns, which --map can name"
            raise SourceError(source.name, "", reason)
        write(_batch(kept, filled))
    return ImportReport(len(ids), offered(filled), tuple(rejects), tuple(source.notes), source.findings)


def _batch(rows: list[dict[str, Any]], filled: set[str]) -> pa.RecordBatch:
    """Rows as a batch; the columns in which one has a value are noted."""
    batch = pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA)
    filled |= filled_columns(batch)
    return batch


def _cleaned(
    raw: RawRecord,
    number: int,
    splits: tuple[str, ...],
    ids: Collection[str],
    sizes: dict[str, int],
    barcodes: "_BarcodeCleaning",
) -> dict[str, Any] | Refused:
    """One row of the specimen table, or why there is none.

    Args:
        raw: the record.
        number: its number.
        splits: that it may be in; none if the source has no partition.
        ids: of the records before it.
        sizes: of features, noted from the first record that has them.
        barcodes: the rule for its barcode, and where it is counted what was found.
    """
    identifier = (_said(str(raw.get("specimen_id") or "")) or "").strip()
    try:
        if not identifier:
            raise RecordError("no specimen id")
        if not identifier.isprintable() or len(identifier) > 200:
            raise RecordError(f"the specimen id {identifier[:40]!r} is not printable, or longer than 200 characters")
        if identifier in ids:
            kept = "; with its lines one after another, its images would be views of one specimen"
            raise RecordError(f"a second record with this id{kept if raw.get('image') else ''}")
        row: dict[str, Any] = {rank: clean_name(raw.get(rank)) for rank in RANKS}
        if not any(row.values()):
            raise RecordError("no label at any rank")
        given, image = (_said(raw.get(name)) for name in ("barcode", "image"))
        row["barcode"], why_none = barcodes(given, identifier) if given else (None, "")
        row |= {"image": image, **{name: raw.get(name) for name in FEATURES}}
        for name in FEATURES:
            _check_features(name, row[name], sizes)
        if splits and raw.get("split") not in splits:
            raise RecordError(f"the split {raw.get('split')!r} does not exist")
        if all(row[name] is None for name in ("image", "barcode", *FEATURES)):
            raise RecordError(why_none or "neither an image nor a barcode, nor features of one")
        return row | {
            "specimen_id": identifier,
            "barcode_as_given": given if row["barcode"] != given else None,
            "bin": clean_name(raw.get("bin")),
            "split": raw["split"] if splits else _said(raw.get("split")),  # one's own words, which `partition` reads
        }
    except RecordError as error:
        where = f"{raw['where']}: " if raw.get("where") else ""
        return Refused(identifier or f"record {number}", f"{where}{error}")


@dataclass(frozen=True, slots=True)
class _BarcodeCleaning:
    rule: BarcodeRule
    findings: Findings

    def __call__(self, given: str, identifier: str) -> tuple[str | None, str]:
        """The barcode, and in words for the list of rejects why there is none; what was found is counted."""
        barcode, kinds = usable(given, self.rule)
        for kind in kinds:
            self.findings.add(kind, identifier)
        return barcode, "" if barcode else _why_none(given, kinds)


def _why_none(given: str, kinds: list[str]) -> str:
    try:
        clean_barcode(given)
    except RecordError as error:
        return str(error)
    return f"it has nothing but one of the {kinds[-1]}"


def _check_features(name: str, features: Floats | None, sizes: dict[str, int]) -> None:
    if features is None:
        return
    if not np.isfinite(features).all():
        raise RecordError(f"the {FEATURES[name]} are not finite")
    if len(features) != sizes.setdefault(name, len(features)):
        raise RecordError(f"{len(features)} {FEATURES[name]}, and the first specimen has {sizes[name]}")


def _said(value: str | None) -> str | None:
    """A value, or None for the words that stand for a missing one: `NA` is no id, and no barcode of one base."""
    return None if value is None or stands_for_nothing(value) else value
