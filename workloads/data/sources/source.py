"""What every reader of a source gives: raw records one after another, and what is known of all of them.

Readers name things as a specimen table does and clean nothing: `collect` beside does that for all of them. They
stream, so that a source of any size is read in bounded memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workloads.data.sources.findings import Findings
from workloads.data.specimens.schema import clean_name
from workloads.errors import RecordError

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
RawRecord = Mapping[str, Any]
"""Values under the names of the specimen table, as the source has them (text, None, or an array of features);
`where` says where in the source the record stands, such as `line 17`. Absent names mean missing values."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the reader could not take apart."""

    identifier: str
    """Specimen id, or where the record stands."""
    reason: str


Records = Iterable[RawRecord | Refused]


class ReadAnew:
    """Records that can be read more than once: each iteration reads the source from its beginning."""

    def __init__(self, read: Callable[[], Iterator[RawRecord | Refused]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[RawRecord | Refused]:
        return self._read()


def each(items: Iterable[_Given | Refused], made: Callable[[_Given], _Made | Refused]) -> Iterator[_Made | Refused]:
    """What is made of each item; what was refused before passes as it is."""
    for item in items:
        yield item if isinstance(item, Refused) else made(item)


def cleaned_species(record: RawRecord) -> str | None:
    """The species of a record, None where it has none; a name that `collect` will refuse stays as it is."""
    try:
        return clean_name(record.get("species"))
    except RecordError:
        return str(record["species"])


def note_once(notes: list[str], note: str) -> None:
    """Add a remark unless an earlier reading of the same records has made it."""
    if note not in notes:
        notes.append(note)


@dataclass(kw_only=True)
class Source:
    """Specimens as a source has them."""

    name: str
    """What messages and `dataset.json` call it: a path, or what was drawn."""
    records: Records
    """Read once, while iterating; raises SourceError where the source turns out not to be what it claims."""
    root: str = ""
    """Folder that image references are relative to."""
    total: int | None = None
    """Number of records, where it is known beforehand."""
    protocol: str = "clibd"
    """Which of workloads.data.specimens.schema.PROTOCOLS its splits follow."""
    has_splits: bool = False
    """Whether its records carry a published split."""
    synthetic_seed: int | None = None
    """Seed of the synthetic insects; None for real specimens."""
    published: bool = False
    """Whether others compare their numbers on it, so that its barcodes stay as they are."""
    findings: Findings = field(default_factory=Findings)
    """What was noticed of its records; complete when they have been read."""
    notes: list[str] = field(default_factory=list)
    """Remarks for the user, such as impossible lineages; complete when the records have been read."""
