"""What people send, as queries: photographs, sequences and tables, read from memory alone.

Sequences and tables are read by the readers of the import, which take a member of an archive for a file: each upload
is such a member, of an archive that lies in memory.
"""

import gzip
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from workloads.data.files.zip_members import READING_ERRORS
from workloads.data.sources.fasta import read_sequences
from workloads.data.sources.findings import Findings
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.sources.table_files import SEQUENCES, ending_of, open_table
from workloads.errors import ClibdError, UsageError
from workloads.identification.asking import source_queries
from workloads.identification.query import Query

MOST_BYTES = 64 * 2**20
"""Of one request, packed or not: some twenty photographs, or 80,000 barcodes."""
MOST_SPECIMENS = 2_000
"""Of one request; `clibd identify` takes any number."""
PASTED = "pasted"
_TABLES = (".csv", ".tsv", ".tab", ".txt")
_LONGEST_NAME = 200
_WHOLE_LINE = 200
"""Letters from which a line is a barcode of its own; in files shorter ones are pieces of one."""
_GZIP = b"\x1f\x8b"


class TooManyError(UsageError):
    """More specimens than one request may bring."""

    sentence = (
        "one request names at most {0:,} specimens, and this has more: send it in parts, or use "
        "`clibd identify FILES --db DB`, which takes any number."
    )

    def __init__(self, most: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Specimen:
    """What is to be named, and which upload it came from."""

    query: Query
    upload: int | None = None
    """Number of the photograph's upload, None without one."""


def specimens_of(uploads: Sequence[Upload], records: Sequence[RawRecord] = ()) -> list[Specimen]:
    """The specimens of some uploads, in their order, and those of records that came without a file.

    A photograph and a barcode are one specimen where the file is called as the record, such as `S1.jpg` and `>S1`.

    Raises:
        TooManyError: there are more than one request may bring.
    """
    found: list[Specimen] = []
    for specimen in _all(uploads, records):
        if len(found) == MOST_SPECIMENS:
            raise TooManyError(MOST_SPECIMENS)
        found.append(specimen)
    return _joined(found)


def _all(uploads: Sequence[Upload], records: Sequence[RawRecord]) -> Iterator[Specimen]:
    for number, upload in enumerate(uploads):
        name = shown_name(upload.name)
        if (kind := _kind(upload)) == "image":
            yield Specimen(Query(name, image=upload.content, where=name), number)
            continue
        try:
            yield from map(Specimen, _queries(_records(name, kind, upload.content), name))
        except ClibdError as error:  # one file costs itself alone
            yield Specimen(Query(name, where=name, problem=_reason(error)))
    yield from map(Specimen, _queries(records, ""))


def _joined(specimens: Sequence[Specimen]) -> list[Specimen]:
    """Photographs with the barcodes of their names; what is not sure to be meant stays apart."""
    stems = Counter(_stem(one.query) for one in specimens if one.query.image is not None)
    barcodes: dict[str, list[Query]] = {}
    for one in specimens:
        if one.query.barcode is not None:
            barcodes.setdefault(one.query.id, []).append(one.query)
    pairs = {stem: barcodes[stem][0] for stem, count in stems.items() if count == len(barcodes.get(stem, ())) == 1}
    taken = {id(query) for query in pairs.values()}
    joined = []
    for one in specimens:
        if one.query.image is not None and (other := pairs.get(_stem(one.query))) is not None:
            query = replace(one.query, id=other.id, barcode=other.barcode, flags=other.flags)
            joined.append(replace(one, query=query))
        elif id(one.query) not in taken:
            joined.append(one)
    return joined


def _stem(query: Query) -> str:
    return PurePosixPath(query.id).stem


def shown_name(name: str) -> str:
    """The name of a file as answers give it: without folders, printable, of bounded length."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:_LONGEST_NAME].strip() or "file"


def _kind(upload: Upload) -> str:
    """What a file is by its name, or where that says nothing by its first letter; else it has to be an image."""
    name, start = upload.name.lower(), upload.content[:64].lstrip()
    if ending_of(name, SEQUENCES) or start[:1] == b">" or upload.name == PASTED:
        return "sequences"
    return "table" if ending_of(name, (*_TABLES, *(f"{ending}.gz" for ending in _TABLES))) else "image"


def _records(name: str, kind: str, content: bytes) -> Iterable[RawRecord | Refused]:
    content = _inflated(content) if content.startswith(_GZIP) else content
    if not content.strip():
        raise UsageError(f"{name} is empty")
    member = re.sub(r"[^\w.-]", "_", name.removesuffix(".gz"))
    if kind == "table":
        return open_table(_in_memory(member, content), {}, Findings()).records
    if name == PASTED:
        first = content.lstrip()[:1]
        member += ".fastq" if first == b"@" else ".fasta"
        content = (
            content if first in (b">", b"@", b";", b"#") else fasta_of(content.decode("utf-8", "replace")).encode()
        )
    return read_sequences(_in_memory(member, content), Findings())


def fasta_of(text: str) -> str:
    """Barcodes without headers as FASTA: a blank line ends one, and a line of 200 letters and more is one by itself."""
    barcodes: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n").strip()):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        barcodes += lines if all(len(line) >= _WHOLE_LINE for line in lines) else ["".join(lines)]
    return "".join(f">barcode-{number}\n{barcode}\n" for number, barcode in enumerate(barcodes, start=1))


def _in_memory(name: str, content: bytes) -> zipfile.Path:
    """A file that lies in memory, as the readers of the import take it."""
    with zipfile.ZipFile(held := io.BytesIO(), "w") as archive:
        archive.writestr(name, content)
    archive = zipfile.ZipFile(held)
    archive.filename = "sent"  # by which errors call it
    return zipfile.Path(archive, name)


def _inflated(content: bytes) -> bytes:
    try:
        plain = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST_BYTES + 1)
    except READING_ERRORS as error:
        raise UsageError(f"it is no whole gzip file ({error})") from error
    if len(plain) > MOST_BYTES:
        raise UsageError(f"it inflates to more than {MOST_BYTES // 2**20} MB; send it in parts")
    return plain


def _queries(records: Iterable[RawRecord | Refused], name: str) -> Iterator[Query]:
    """Records by the rules of the import; a picture that a table names is on the sender's disk, and is not looked for
    on this one."""
    without = (one if isinstance(one, Refused) else {**one, "image": None} for one in records)
    yield from source_queries(Source(name=name, records=without), name)


def _reason(error: Exception) -> str:
    """What an error says, without the file's name in an archive that nobody made."""
    words = error.args[1:] if len(error.args) > 2 else (str(error),)
    return " ".join(": ".join(str(word) for word in words if word).split())
