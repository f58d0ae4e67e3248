"""FASTA files of barcodes, plain or gzipped, record by record in bounded memory.

A header is `>id`, `>id|Phylum;Class;Order;Family;Genus;Species` as BarcodeBERT writes it, or, as BOLD does,
`>id|Species name|COI-5P|accession`. Lines that start with `#` or `;` are comments.

Not read with dnaio: its FASTA reader ends at the first byte that is not text and holds sequences of any length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from workloads.data.sources.delimited import bounded_lines
from workloads.data.sources.source import RawRecord, Refused
from workloads.errors import RecordError, SourceError

LONGEST_SEQUENCE = 100_000
"""In letters; the barcode region has 658 bases, a whole mitochondrion some 16,000."""

_LINEAGE = ("phylum", "class", "order", "family", "genus", "species")
_GENUS = re.compile(r"[A-Z][^\W\d_]+")
_OPEN_NAMES = {"sp.", "sp", "spp.", "spp", "gen.", "indet."}


@dataclass(slots=True)
class _Open:
    """A record whose lines are being read."""

    line: int
    header: bytes
    sequence: list[bytes] = field(default_factory=list)
    length: int = 0

    def add(self, line: bytes | None) -> None:
        self.length += LONGEST_SEQUENCE + 1 if line is None else len(line)
        if self.length > LONGEST_SEQUENCE:
            self.sequence.clear()
        elif line is not None:
            self.sequence.append(line)

    def closed(self) -> RawRecord | Refused:
        """The whole record."""
        where = f"line {self.line}"
        try:
            record = _names(self.header)
        except RecordError as error:
            return Refused(where, str(error))
        if self.length > LONGEST_SEQUENCE:
            reason = f"{where}: a sequence of more than {LONGEST_SEQUENCE:,} letters is longer than any barcode"
            return Refused(record["specimen_id"] or where, reason)
        # What is no ASCII is no nucleotide either, and is refused as such when the barcode is cleaned.
        barcode = b"".join(self.sequence).decode("ascii", errors="replace")
        return {**record, "barcode": barcode, "where": where}


def read_fasta(path: Path) -> Iterator[RawRecord | Refused]:
    """Records with specimen_id, barcode, and the ranks that their headers name.

    Raises:
        SourceError: not FASTA, or it breaks off; the message names the line.
    """
    record: _Open | None = None
    for number, line in enumerate(bounded_lines(path), start=1):
        if line is not None and (not line or line.isspace() or line[:1] in (b"#", b";")):
            continue
        if line is not None and line[:1] == b">":
            if record is not None:
                yield record.closed()
            record = _Open(number, line[1:])
        elif record is not None:
            record.add(line)
        else:
            raise SourceError(str(path), f"line {number}", "not FASTA: no '>' at the start of the first record")
    if record is not None:
        yield record.closed()


def _names(header: bytes) -> dict[str, str]:
    """Id and ranks of a header.

    Raises:
        RecordError: it is not text on one line.
    """
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"byte {error.start + 2} of the header is not UTF-8") from error
    if "\r" in text or "\n" in text:
        raise RecordError("a line end of another kind stands within the header")
    first, *others = text.split("|")
    record = {"specimen_id": first.split()[0] if first.strip() else ""}
    taxa = others[0].replace("_", " ") if others else ""
    if taxa.count(";") == len(_LINEAGE) - 1:
        record.update(zip(_LINEAGE, taxa.split(";"), strict=True))
    elif _is_species(taxa):
        record["species"] = taxa
    return record


def _is_species(name: str) -> bool:
    """Whether a name is a genus and something that is not merely a number or a confession not to know."""
    words = name.split()
    if len(words) < 2 or not _GENUS.fullmatch(words[0]) or any(word.isdigit() for word in words):
        return False
    return not (len(words) == 2 and words[1].lower() in _OPEN_NAMES)
