"""From any source to a specimen table: records are cleaned, bad ones listed, the rest streams to disk."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from tempfile import SpooledTemporaryFile, gettempdir
from typing import Any

import pyarrow as pa

from workloads.data.sources.cleaning import AS_USUAL, Cleaning, Rules
from workloads.data.sources.findings import Findings
from workloads.data.sources.repeats import Repeats
from workloads.data.sources.source import RawRecord, Records, Refused, Source
from workloads.data.sources.survey import Survey
from workloads.data.specimens.schema import SPECIMEN_SCHEMA, offered
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.disk_errors import naming
from workloads.errors import ClibdError, SourceError
from workloads.spec import Modality

_BATCH = 4096
_TOGETHER = 512
"""Records whose barcodes are looked at together; a share of a batch."""
_IN_MEMORY = 64 << 20
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
    findings: Findings
    survey: Survey


def collect(
    source: Source,
    target: SpecimenTable | None,
    on_record: Callable[[int], None] = lambda done: None,
    on_reject: Callable[[str, str], None] = lambda identifier, reason: None,
    rules: Rules = AS_USUAL,
    all_images: bool = False,
) -> ImportReport:
    """Clean every record of a source into a specimen table, written whole or not at all.

    Args:
        source: where the specimens come from.
        target: the table to write; None only looks at the source.
        on_record: told now and then how many records have been read.
        on_reject: told specimen and reason of each refused record.
        rules: for names and barcodes; those of a published data set stay as they are in any case.
        all_images: whether the references of all images are held for a survey, and not of the first 20,000 or so.

    Raises:
        SourceError: not one record can be used, or the source breaks off.
    """
    facts = TableFacts(
        source=source.name,
        root=source.root,
        follow_links=source.follow_links,
        protocol=source.protocol,
        partition="source" if source.has_splits else None,
        synthetic_seed=source.synthetic_seed,
    )
    survey, rejects = Survey(source.root, all_images), list[tuple[str, str]]()

    def refuse(refused: Refused) -> None:
        if len(rejects) < _KEPT_REJECTS:
            rejects.append((refused.identifier, refused.reason))
        on_reject(refused.identifier, refused.reason)

    with nullcontext(lambda batch: None) if target is None else target.writer(facts) as write:
        for batch in cleaned(source, refuse, on_record, rules):
            survey.add(batch)
            write(batch)
        if not survey.num_specimens:
            first = f"the first: {rejects[0][1]}" if rejects else "it is empty"
            reason = ". ".join([f"no record can be used ({first})", *source.notes, source.remedy])
            raise SourceError(source.name, "", reason)
    return ImportReport(
        survey.num_specimens, offered(survey.filled), tuple(rejects), tuple(source.notes), source.findings, survey
    )


def cleaned(
    source: Source,
    on_reject: Callable[[Refused], None],
    on_record: Callable[[int], None] = lambda done: None,
    rules: Rules = AS_USUAL,
) -> Iterator[pa.RecordBatch]:
    """The rows of a specimen table that a source gives, some 4,096 at a time.

    Args:
        source: where the specimens come from.
        on_reject: told of each refused record.
        on_record: told now and then how many records have been read.
        rules: for names and barcodes.
    """
    repeats = Repeats(source.findings)
    cleaning = Cleaning(source, rules, seen=repeats if source.published else ())

    def first_rows() -> Iterator[dict[str, Any]]:
        held: dict[str, Any] | None = None  # until no later record of its id can follow at once
        done = 0
        for some in _together(source.records):
            for row in cleaning.rows(some, done + 1):
                if isinstance(row, Refused):
                    on_reject(row)
                elif repeats.is_first(row):
                    if held is not None:
                        yield held
                    held = row
            done += len(some)
            if done % _BATCH == 0:
                on_record(done)
        if held is not None:
            yield held

    batches = _batches(first_rows())
    yield from batches if source.published else repeats.completed(_spooled(batches))


def _together(records: Records) -> Iterator[list[RawRecord | Refused]]:
    """Some hundred records at a time; where the source breaks off, those before it come first."""
    some: list[RawRecord | Refused] = []
    try:
        for record in records:
            some.append(record)
            if len(some) == _TOGETHER:
                yield some
                some = []
    except ClibdError:
        yield some
        raise
    yield some


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while kept := list(islice(rows, _BATCH)):
        yield pa.RecordBatch.from_pylist(kept, schema=SPECIMEN_SCHEMA)


def _spooled(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches when all of them have been made: the first 64 MB in memory, and the rest on the disk."""
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        packed = pa.ipc.IpcWriteOptions(compression="zstd")  # barcodes take a quarter of the disk, and no more time
        with naming(gettempdir()), pa.ipc.new_stream(file, SPECIMEN_SCHEMA, options=packed) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file.seek(0)
        yield from pa.ipc.open_stream(file)
